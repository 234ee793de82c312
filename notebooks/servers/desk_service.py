"""The desk as a service: tickets come in over HTTP, none is lost and nothing is done twice.

    make desk                                   # or, in notebooks/: python -m servers.desk_service

    POST /tickets        {"id", "text", "waits_h"?}   202, or 200 if it is known
    GET  /tickets/{id}   how far it is, for whoever sent it and for staff
    POST /night          staff: answer in one batch what waits for tonight
    GET  /health         the objective, and what waits
    GET  /metrics        for Prometheus (patterns/monitoring/ops/)

A ticket is a workflow and each of its steps is recorded, so whatever ends the process, the next one
goes on after the last step. Settings are environment variables: ANTHROPIC_API_KEY (the fake API
without it), DATABASE_URL (SQLite without it; several machines share a PostgreSQL), REDIS_URL (the
budgets of several processes), DESK_FOLDER, DESK_PORT, DESK_USD (dollars a day).
"""

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import jwt
import sqlalchemy as sa
import uvicorn
from anthropic import Anthropic, AnthropicError, AsyncAnthropic
from dbos import DBOS
from exercises.desk import parts
from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from patterns.agents.durable import DBOSEngine, InWorkflow
from patterns.batching.api import BatchAPI, ResultsError
from patterns.batching.async_job import AsyncBatchJob
from patterns.batching.fleet import BATCHES
from patterns.batching.results import BatchResult
from patterns.core.durable import UNFINISHED, make_tables, running
from patterns.core.pricing import cost_usd
from patterns.fake_api import FakeAPI
from patterns.fake_api.wire.server import listen, serve, url_of
from patterns.mcp_session import ToolSession, stdio_server
from patterns.monitoring import CallMonitor, EventLog, PrometheusSink
from patterns.monitoring.slo import ErrorBudget
from patterns.policy import (
    AuditLog,
    Limits,
    PIIMiddleware,
    Principal,
    RateLimit,
    acting_for,
    guarded,
)
from patterns.policy.asgi import Denials
from patterns.policy.bearer import verify_token
from patterns.policy.guard import per_principal
from patterns.policy.identity import current_principal
from patterns.policy.rate_limit import Budget, Store
from servers.day import authored
from servers.desk import Desk, Made, Ticket, Work, ended

HERE: Final = Path(__file__).parent
SERVICE, AUDIENCE = "desk", "desk"
NIGHT: Final = Principal("night", frozenset({"staff"}))
FEATURES: Final = ("answer", "triage", "hard", "backlog")
OBJECTIVE: Final = 0.99

_tables = sa.MetaData()
_backlog = sa.Table(
    "desk_backlog",
    _tables,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("ticket", sa.Text, nullable=False),
    sa.Column("night", sa.String),
    sa.Column("made", sa.Text),
)


async def recorded(name: str, work: Work, *arguments: Any) -> Any:
    """Make a step once: after a crash its result is read instead."""
    return await DBOS.run_step_async({"name": name}, work, *arguments)


@DBOS.workflow(name="desk.ticket")
async def on_ticket(service: str, text: str) -> str:
    """One ticket, to one of its ends."""
    desk, ticket = running().services[service], json.loads(text)
    made = await desk.handle(ticket, recorded, InWorkflow())
    if made["state"] == "tonight":
        await recorded("keep", keep, desk.parts.job_id(ticket), text)
    return json.dumps(made)


async def keep(name: str, text: str) -> Made:
    """Put a ticket on tonight's list, once."""
    listed = sa.select(_backlog.c.id).where(_backlog.c.id == name)
    with running().database.begin() as database:
        if database.execute(listed).first() is None:
            database.execute(sa.insert(_backlog).values(id=name, ticket=text))
    return {}


async def close(night: str) -> list[list[str]]:
    """The tickets of a night: all that wait when it begins."""
    mine = sa.select(_backlog.c.id, _backlog.c.ticket).where(_backlog.c.night == night)
    with running().database.begin() as database:
        open_ones = sa.update(_backlog).where(_backlog.c.night.is_(None))
        database.execute(open_ones.values(night=night))
        return [list(row) for row in database.execute(mine.order_by(_backlog.c.id))]


@DBOS.workflow(name="desk.night")
async def on_night(service: str, night: str) -> str:
    """One batch for all that waits; each answer passes the same vote as one by day."""
    desk = running().services[service]
    rows = [(name, json.loads(text)) for name, text in await recorded("close", close, night)]
    try:
        found = await batch(desk, night, rows) if rows else {}
    except (AnthropicError, ResultsError) as error:
        return f"{type(error).__name__}: {error}"  # POST /night goes on with it
    for name, ticket in rows:
        message = found[name].message if name in found else None
        made = await recorded(name, desk.after_batch, ticket, message)
        update = sa.update(_backlog).where(_backlog.c.id == name).values(made=json.dumps(made))
        with running().database.begin() as database:
            database.execute(update)
    return ""


async def batch(desk: Desk, night: str, rows: list[tuple[str, Ticket]]) -> dict[str, BatchResult]:
    """The results of a night by the names of its tickets; what it cost is counted once."""
    engine, ask = running(), desk.parts.request
    asked: list[Any] = [
        {"custom_id": name, "params": ask(desk.handbook, desk.question(ticket))}
        for name, ticket in rows
    ]
    async with AsyncBatchJob(engine.services[BATCHES].client, engine, name=night) as job:
        await job.submit(asked)
        await job.wait()
        found = {one.custom_id: one async for one in job.results()}
    await recorded("count", desk.count, [one.line for one in found.values()])
    return found


class Service:
    """What the routes need."""

    def __init__(self, engine: DBOSEngine, log: EventLog, sink: PrometheusSink) -> None:
        self.engine, self.log, self.sink = engine, log, sink
        self.job_id = engine.services[SERVICE].parts.job_id

    async def post_ticket(self, request: Request) -> Response:
        """Take a ticket; when the answer goes out, it is on disk."""
        caller = current_principal()
        ticket = ticket_of(await request.body(), caller)
        name, text = self.job_id(ticket), json.dumps(ticket, sort_keys=True)
        known = await asyncio.to_thread(self.engine.look, name)
        if known is None:
            await asyncio.to_thread(self.engine.enqueue, "desk.ticket", name, SERVICE, text)
            known = await asyncio.to_thread(self.engine.look, name)
        if known is None or not known.input or known.input["args"][1] != text:
            raise HTTPException(409, f"there is another ticket {ticket['id']!r}; take a new id.")
        return JSONResponse({"id": ticket["id"]}, 202)

    async def get_ticket(self, request: Request) -> Response:
        """How far a ticket is."""
        caller = current_principal()
        name = self.job_id({"id": request.path_params["id"]})
        known = await asyncio.to_thread(self.engine.look, name)
        ticket = json.loads(known.input["args"][1]) if known and known.input else {}
        if known is None or not {"staff", ticket["customer"]} & {*caller.roles, caller.id}:
            raise HTTPException(404, "there is no such ticket of yours.")
        if known.status in UNFINISHED:
            return JSONResponse(ended("working"))
        if known.status != "SUCCESS":
            return JSONResponse(ended("held", why=known.status))
        made = json.loads(str(known.output))
        if made["state"] == "tonight":
            with self.engine.database.connect() as database:
                found = sa.select(_backlog.c.made).where(_backlog.c.id == name)
                made = json.loads(database.execute(found).scalar() or json.dumps(made))
        return JSONResponse(made)

    async def post_night(self, request: Request) -> Response:
        """Begin a night; the same name begins it once."""
        if "staff" not in current_principal().roles:
            raise HTTPException(403, "only staff may begin a night.")
        night = request.query_params.get("name", "night")
        for turn in count(1):
            name = f"desk.night:{night}:{turn}"
            known = await asyncio.to_thread(self.engine.look, name)
            if known is None:
                await asyncio.to_thread(self.engine.enqueue, "desk.night", name, SERVICE, night)
            if known is None or known.status in UNFINISHED or known.output == "":
                break
        return JSONResponse({"night": night}, 202)

    async def health(self, request: Request) -> Response:
        """The objective over all recorded calls, and what waits for tonight."""
        rows = self.log.query("SELECT outcome, count(*) AS n FROM calls GROUP BY outcome")
        budget = ErrorBudget.of({row["outcome"]: row["n"] for row in rows}, objective=OBJECTIVE)
        with self.engine.database.connect() as database:
            waits = sa.select(sa.func.count()).where(_backlog.c.made.is_(None))
            left = {"tonight": database.execute(waits).scalar(), "budget_left": budget.left}
        return JSONResponse({"good": budget.good, "bad": budget.bad, **left})

    async def metrics(self, request: Request) -> Response:
        """What Prometheus scrapes."""
        return Response(generate_latest(self.sink.registry), media_type="text/plain; version=0.0.4")


def ticket_of(body: bytes, caller: Principal) -> Made:
    """The ticket that a customer sends; whose it is the token says, and not the text."""
    try:
        sent = json.loads(body)
        ticket = {"id": sent["id"], "customer": caller.id, "text": sent["text"]}
        waits = sent.get("waits_h")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise HTTPException(400, 'send {"id": "…", "text": "…", "waits_h": hours}.') from None
    texts = all(isinstance(each, str) and each.strip() for each in ticket.values())
    if not texts or len(ticket["id"]) > 100 or len(ticket["text"]) > 20_000:
        raise HTTPException(400, "id has 1 to 100 characters, text 1 to 20,000.")
    if waits is not None and (isinstance(waits, bool) or not isinstance(waits, int | float)):
        raise HTTPException(400, "waits_h is a number of hours, or left out.")
    return {**ticket, "waits_h": waits}


def secret(folder: Path) -> bytes:
    """The key of tokens, pseudonyms and the audit log; made at the first start."""
    path = folder / "key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(secrets.token_bytes(32))
    return path.read_bytes()


def budgets(settings: Mapping[str, str]) -> RateLimit:
    """A customer's requests a minute and the shop's dollars a day, in Redis if there is one."""
    store: Store | None = None
    if url := settings.get("REDIS_URL"):
        from redis.asyncio import Redis

        from patterns.policy.redis_store import RedisStore

        store = RedisStore(Redis.from_url(url, socket_timeout=5))
    day = Limits(usd_per_day=float(settings.get("DESK_USD", "20")))
    each = [Budget(Limits(rpm=60), per_principal), Budget(day, lambda request: "shop")]
    return RateLimit(each, store, price=cost_usd)


def handbook() -> str:
    """What answers come from."""
    return (HERE / "handbook.md").read_text("utf-8")


@asynccontextmanager
async def lifespan(
    app: Starlette, folder: Path, settings: Mapping[str, str]
) -> AsyncIterator[None]:
    """Put the parts together, and take them apart."""
    key, sink, log = secret(folder), PrometheusSink(), EventLog(folder / "calls.sqlite")
    monitor = CallMonitor(sink, log, features=FEATURES, user_key=key)
    options: dict[str, Any] = {**monitor.client_options(), "max_retries": 4}
    audit = AuditLog(folder / "audit.sqlite", key)
    chain: dict[str, Any] = {
        "log": audit,
        "user_key": key,
        "rules": parts().rules(),
        "privacy": PIIMiddleware(),
    }
    orders = str(folder / "orders.sqlite")
    server = stdio_server(sys.executable, "-m", "servers.orders", orders, cwd=HERE.parent)
    async with AsyncExitStack() as stack:
        stack.callback(log.close)
        if not settings.get("ANTHROPIC_API_KEY"):
            options |= {"base_url": stack.enter_context(serve(stand_in())), "api_key": "fake"}
        plain = await stack.enter_async_context(AsyncAnthropic(**options))
        client = guarded(plain, limits=budgets(settings), **chain)
        night = acting_for(guarded(stack.enter_context(Anthropic(**options)), **chain), NIGHT)
        session = ToolSession(server, retry_tools=parts().may_repeat)
        shop = await stack.enter_async_context(session)
        desk = Desk(client, shop, parts(), handbook(), monitor)
        database = settings.get("DATABASE_URL", f"sqlite:///{folder / 'desk.sqlite'}")
        engine = DBOSEngine(database, lease_s=3.0)
        engine.services |= {SERVICE: desk, BATCHES: BatchAPI(night)}
        make_tables(_tables, engine.database)
        stack.push_async_callback(engine.close)
        await engine.serve()
        app.state.service = Service(engine, log, sink)
        yield


def stand_in() -> FakeAPI:
    """The fake API in place of the real one: what it answers is authored."""
    api = FakeAPI(batch_seconds=5.0)
    api.enqueue(*[authored] * 100_000)
    return api


def _route(path: str, method: str, name: str) -> Route:
    async def endpoint(request: Request) -> Response:
        return await getattr(request.app.state.service, name)(request)  # type: ignore[no-any-return]

    return Route(path, endpoint, methods=[method])


def application(folder: Path, settings: Mapping[str, str]) -> Starlette:
    """The service as an ASGI application, with its files in a folder."""
    routes = [
        _route("/tickets", "POST", "post_ticket"),
        _route("/tickets/{id:path}", "GET", "get_ticket"),
        _route("/night", "POST", "post_night"),
        _route("/health", "GET", "health"),
        _route("/metrics", "GET", "metrics"),
    ]
    app = Starlette(routes=routes, lifespan=partial(lifespan, folder=folder, settings=settings))
    app.add_middleware(
        Denials, authenticate=partial(verify_token, key=secret(folder), audience=AUDIENCE)
    )
    return app


def token_for(key: bytes, name: str, *roles: str) -> str:
    """A bearer token for a day, as your login would make it."""
    claims = {"sub": name, "roles": list(roles), "aud": AUDIENCE, "exp": time.time() + 86_400}
    return jwt.encode(claims, key, algorithm="HS256")


def main() -> None:
    """Serve on a loopback port until interrupted."""
    folder = Path(os.environ.get("DESK_FOLDER", "desk"))
    folder.mkdir(parents=True, exist_ok=True)
    listener = listen(int(os.environ.get("DESK_PORT", "8009")))
    listener.listen()  # who comes before the service is ready waits
    url, key = url_of(listener), secret(folder)
    sys.stdout.write(f"{url}\n")
    for name, role in (("c-204", "customer"), ("eve", "staff")):
        sys.stdout.write(f"{role} {name}: {token_for(key, name, role)}\n")
    sys.stdout.flush()
    config = uvicorn.Config(application(folder, os.environ), log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
