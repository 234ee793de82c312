"""The fake API itself: takes a request, decides, keeps the journal.

    api = FakeAPI(replies=Path("replies/05_prompting.toml"))
    client = api.client()                       # the real anthropic.Anthropic
    api.enqueue("Paris.", Error(529), Reply(refusal="bio"))
    api.journal[-1].body["messages"]

Take along: the folder patterns/fake_api, patterns/models.py. Taught in chapter 00.
"""

import json
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import httpx2
from anthropic import Anthropic, AsyncAnthropic

from patterns.fake_api.batch_requests import check_batched
from patterns.fake_api.batches import Batch, Batches
from patterns.fake_api.build import Built, Input, build, echo_of, make_id, start_of
from patterns.fake_api.cache import Plan, PromptCache
from patterns.fake_api.catalogue import get_model, list_models
from patterns.fake_api.clock import Clock, RealClock
from patterns.fake_api.errors import APIError
from patterns.fake_api.faults import Fault, FaultScript, first_error
from patterns.fake_api.journal import SECRET_HEADERS, Entry
from patterns.fake_api.latency import NO_TIME, Latency, Timing
from patterns.fake_api.limits import Limiter, RateLimits
from patterns.fake_api.replies import Answering, Error, Reply, answer_of
from patterns.fake_api.routes import Call, identify, parse, route
from patterns.fake_api.scripts import Replies, Scripted, Seen, see
from patterns.fake_api.sse import encode, events_of
from patterns.fake_api.tokens import BYTES_PER_TOKEN, input_tokens
from patterns.fake_api.transport import FakeTransport
from patterns.fake_api.validate import check_request
from patterns.fake_api.wire import Answer, Request, Step

ORGANIZATION: Final = "00000000-0000-4000-8000-00000000fa4e"
"""The organisation that every response names."""


class FakeAPI:
    """A Messages API of your own.

    Args:
        replies: a script, or the file that holds one; without it every answer is the echo.
        clock: `RealClock()` by default; a `VirtualClock` makes waiting free.
        limits: rate limits; none by default, and then no rate limit headers either.
        latency: how long answers take; at once by default.
        faults: what goes wrong.
        seed: changes ids, jitter and the order of batch results.
        strict: answer a request that no entry of the script fits with a 400, not with the echo.
        keys: credentials that are accepted; every non-empty one by default.
        batch_seconds: how long a batch takes, or a function from its size to that.
        batch_cache_hits: chance (0 to 1) that a request of a batch sees the prompt cache.
    """

    def __init__(
        self,
        *,
        replies: Replies | Path | str | None = None,
        clock: Clock | None = None,
        limits: RateLimits | None = None,
        latency: Latency | None = None,
        faults: Sequence[Fault] = (),
        seed: int = 0,
        strict: bool = False,
        keys: Collection[str] | None = None,
        batch_seconds: float | Callable[[int], float] = 600.0,
        batch_cache_hits: float = 0.6,
    ) -> None:
        self.clock: Clock = clock or RealClock()
        self.journal: list[Entry] = []
        self.transport = FakeTransport(self)
        self._script = Replies.load(replies) if isinstance(replies, Path | str) else replies
        self._chooser = _Chooser(self._script.entries if self._script else (), strict)
        self._cache = PromptCache()
        self._limiter = None if limits is None else Limiter(limits)
        self._latency = latency
        self._batches = Batches(batch_seconds, seed)
        self._batch_cache_hits = batch_cache_hits
        self._faults = FaultScript(list(faults))
        self._seed = seed
        self._keys = None if keys is None else frozenset(keys)
        self._ordinals: dict[bytes, int] = {}
        self._lock = threading.RLock()

    def client(self, **options: Any) -> Anthropic:
        """The SDK's client, talking to this API in process; takes the SDK's own options."""
        options.setdefault("api_key", "fake")
        http_client = httpx2.Client(transport=self.transport)
        return Anthropic(http_client=http_client, **options)

    def async_client(self, **options: Any) -> AsyncAnthropic:
        """The SDK's async client, talking to this API in process."""
        options.setdefault("api_key", "fake")
        http_client = httpx2.AsyncClient(transport=self.transport)
        return AsyncAnthropic(http_client=http_client, **options)

    def enqueue(self, *replies: Answering) -> None:
        """Answer the next requests for a message with these, first in, first out.

        The queue goes before the script. A string is a `Reply` of that text; a function is
        called with the request's body.
        """
        with self._lock:
            self._chooser.queue.extend(replies)

    def add_faults(self, *faults: Fault) -> None:
        """Let more go wrong from now on."""
        with self._lock:
            self._faults.faults.extend(faults)

    def handle(self, request: Request) -> Answer:
        """Answer one request; what the transport and the server call."""
        with self._lock:
            return self._handle(request)

    def _handle(self, request: Request) -> Answer:
        digest = blake2b(request.body, digest_size=16, key=_key(request)).digest()
        ordinal = self._ordinals[digest] = self._ordinals.get(digest, 0) + 1
        request_id = make_id("req", self._seed, digest, ordinal)
        call = Call(request, digest, ordinal, self.clock.now())
        faults = self._faults.for_request(request.path, call.lenient_body) if self._faults else []
        try:
            if (error := first_error(faults)) is not None:
                raise error.as_api_error()
            answer = self._answer(call)
        except APIError as error:
            answer = _error_answer(error, request_id)
        for fault in faults:
            if fault.damage is not None:
                fault.damage(answer)
        answer.headers["request-id"] = request_id
        answer.headers["anthropic-organization-id"] = ORGANIZATION
        self.journal.append(_entry(call, answer, request_id))
        return answer

    def _answer(self, call: Call) -> Answer:
        handler, argument = route(call.request)
        call.workspace = identify(call.request, self._keys)
        actions: dict[str, Callable[[Call, str], Answer]] = {
            "message": self._message,
            "count_tokens": self._count_tokens,
            "models": self._models,
            "model": self._model,
            "batch_create": self._batch_create,
            "batch_list": self._batch_list,
            "batch": self._batch_get,
            "batch_cancel": self._batch_cancel,
            "batch_delete": self._batch_delete,
            "batch_results": self._batch_results,
        }
        if self._limiter is not None and handler != "message":
            self._admit_other(handler, call.at)
        return actions[handler](call, argument)

    def _models(self, call: Call, _: str) -> Answer:
        return _json_answer(list_models(call.request.query, call.at))

    def _model(self, call: Call, model: str) -> Answer:
        return _json_answer(get_model(model, call.at))

    def _count_tokens(self, call: Call, _: str) -> Answer:
        body = parse(call.request)
        check_request(body, now=call.at, beta=call.beta, counting=True)
        return _json_answer({"input_tokens": input_tokens(body)})

    def _admit_other(self, handler: str, now: float) -> None:
        assert self._limiter is not None
        if handler == "count_tokens" or handler.startswith("batch"):
            kind = "count_tokens" if handler == "count_tokens" else "batches"
            self._limiter.admit_other(kind, now)

    def _message(self, call: Call, _: str) -> Answer:
        body = parse(call.request)
        facts = check_request(body, now=call.at, beta=call.beta)
        plan = self._plan(call, body, facts.min_cacheable_tokens)
        tokens = Input(input_tokens(body)) if plan is None else plan.tokens
        if self._limiter is not None:
            self._limiter.admit(facts.id, tokens.uncached + tokens.written, call.at)
        reply, name = self._chooser.choose(see(call.request.path, body, call.digest))
        if isinstance(reply, Error):
            return self._scripted_error(reply, name, call)
        message_id = make_id("msg", self._seed, call.digest, call.ordinal)
        diagnostics = self._diagnose(call, body, plan, message_id)
        built = build(body, reply, message_id, tokens, diagnostics=diagnostics)
        timing = self._timing(call, reply, tokens, built)
        if plan is not None:
            self._cache.store(plan, call.at, call.at + timing.first)
        answer = _message_answer(body, built, timing, name)
        if self._limiter is not None:
            self._limiter.produced(facts.id, built.output_tokens, call.at)
            answer.headers.update(self._limiter.headers(facts.id, call.at))
        return answer

    def _plan(self, call: Call, body: Mapping[str, Any], minimum: int) -> Plan | None:
        """What the cache means for the request; None where it asks for neither."""
        if b"cache_control" not in call.request.body and "diagnostics" not in body:
            return None
        return self._cache.plan(body, minimum, call.workspace, call.at)

    def _diagnose(
        self, call: Call, body: Mapping[str, Any], plan: Plan | None, message_id: str
    ) -> dict[str, Any] | None:
        asked = body.get("diagnostics")
        if asked is None or plan is None:
            return None
        self._cache.remember(call.workspace, message_id, plan)
        return self._cache.diagnose(call.workspace, asked.get("previous_message_id"), plan)

    def _batch_create(self, call: Call, _: str) -> Answer:
        body = parse(call.request)
        ordinal = (call.digest, call.ordinal)
        batch = self._batches.create(
            call.packed,
            body,
            call.workspace,
            ordinal,
            call.at,
            lambda params, n: self._decide(call, params, n),
        )
        return self._show(batch, call)

    def _decide(self, call: Call, params: Any, n: int) -> tuple[Any, bool]:
        """What one request of a batch will get: an error, or a reply and its token count."""
        try:
            facts = check_request(params, now=call.at, beta=call.beta)
            check_batched(params)
            seen = see(call.request.path, params, _digest(params))
            plan = self._batch_plan(call, params, facts.min_cacheable_tokens, n)
            reply, _ = self._chooser.find(seen)
        except APIError as error:
            return error, False
        if isinstance(reply, Error):
            return reply.as_api_error(), False
        if plan is not None:
            self._cache.store(plan, call.at, call.at)
        return (reply, None if plan is None else plan.tokens), True

    def _batch_plan(
        self, call: Call, params: Mapping[str, Any], minimum: int, n: int
    ) -> Plan | None:
        """Cache hits in batches are best effort: some requests run where the entry is not."""
        if b"cache_control" not in call.request.body:
            return None
        seed = f"{self._seed}|{call.ordinal}|{n}".encode()
        draw = int.from_bytes(blake2b(call.digest, digest_size=4, key=seed).digest(), "big") / 2**32
        cache = self._cache if draw < self._batch_cache_hits else PromptCache()
        return cache.plan(params, minimum, call.workspace, call.at)

    def _render(self, batch_id: str, params: Any, n: int, outcome: Any) -> dict[str, Any]:
        """The `result` of one line."""
        if isinstance(outcome, APIError):
            request_id = make_id("req", batch_id, n)
            return {"type": "errored", "error": outcome.as_dict(request_id)}
        reply, tokens = outcome
        if reply is None:
            reply = echo_of(params, see("", params, b"").last_text)
        message_id = make_id("msg", batch_id, n)
        tokens = tokens or Input(input_tokens(params))
        built = build(params, reply, message_id, tokens, tier="batch")
        return {"type": "succeeded", "message": built.message}

    def _show(self, batch: Batch, call: Call) -> Answer:
        return _json_answer(batch.as_dict(call.at, call.request.base_url))

    def _batch_list(self, call: Call, _: str) -> Answer:
        request = call.request
        return _json_answer(
            self._batches.list(request.query, call.workspace, call.at, request.base_url)
        )

    def _batch_get(self, call: Call, batch_id: str) -> Answer:
        return self._show(self._batches.get(batch_id, call.workspace), call)

    def _batch_cancel(self, call: Call, batch_id: str) -> Answer:
        batch = self._batches.get(batch_id, call.workspace)
        self._batches.cancel(batch, call.at)
        return self._show(batch, call)

    def _batch_delete(self, call: Call, batch_id: str) -> Answer:
        self._batches.delete(self._batches.get(batch_id, call.workspace), call.at)
        return _json_answer({"id": batch_id, "type": "message_batch_deleted"})

    def _batch_results(self, call: Call, batch_id: str) -> Answer:
        batch = self._batches.get(batch_id, call.workspace)
        lines = self._batches.results(
            batch, call.at, lambda params, n, outcome: self._render(batch_id, params, n, outcome)
        )
        return Answer(200, {"content-type": "application/x-jsonl"}, lines)

    def _scripted_error(self, error: Error, name: str, call: Call) -> Answer:
        request_id = make_id("req", self._seed, call.digest, call.ordinal)
        answer = _error_answer(error.as_api_error(), request_id)
        answer.wait, answer.reply = error.seconds or 0.0, name
        return answer

    def _timing(self, call: Call, reply: Reply, tokens: Input, built: Built) -> Timing:
        if reply.seconds is not None:
            per_token = 0.75 * reply.seconds / max(1, built.output_tokens)
            return Timing(reply.seconds - per_token * built.output_tokens, per_token)
        if self._latency is None:
            return NO_TIME
        seed = f"{self._seed}|{call.ordinal}".encode()
        draw = blake2b(call.digest, digest_size=8, key=seed).digest()
        return self._latency.timing(draw, tokens.uncached + tokens.written)


class _Chooser:
    """Which reply comes next: the queue, then the script, then the echo."""

    def __init__(self, entries: tuple[Scripted, ...], strict: bool) -> None:
        self.entries = entries
        self.strict = strict
        self.queue: deque[Answering] = deque()
        self.used: dict[int, int] = {}
        self.turns: dict[tuple[int, bytes], int] = {}

    def choose(self, seen: Seen) -> tuple[Reply | Error, str]:
        """A reply and its name, the echo where nothing fits."""
        reply, name = self.find(seen)
        return reply or echo_of(seen.body, seen.last_text), name

    def find(self, seen: Seen) -> tuple[Reply | Error | None, str]:
        """A reply and its name; None for the echo."""
        if self.queue:
            return answer_of(self.queue.popleft(), seen.body), "queue"
        for n, entry in enumerate(self.entries):
            spent = entry.times is not None and self.used.get(n, 0) >= entry.times
            if not spent and entry.fits(seen):
                self.used[n] = self.used.get(n, 0) + 1
                return self._turn(n, entry, seen), entry.name
        if self.strict:
            raise APIError(
                400,
                f"no scripted reply fits the request that starts {start_of(seen.last_text)!r}; "
                "add a [[reply]] for it to the chapter's replies.",
            )
        return None, "echo"

    def _turn(self, n: int, entry: Scripted, seen: Seen) -> Reply | Error:
        if len(entry.answers) == 1:
            return entry.answers[0]
        turn = self.turns.get((n, seen.digest), 0)
        self.turns[n, seen.digest] = turn + 1
        return entry.answers[turn % len(entry.answers)]


def _digest(params: Any) -> bytes:
    """A hash of a batched request, by which equal ones are told."""
    return blake2b(json.dumps(params, sort_keys=True).encode(), digest_size=16).digest()


def _key(request: Request) -> bytes:
    """Method and path, so that equal bodies to different paths differ."""
    text = f"{request.method} {request.path}"
    return text.encode("utf-8", "replace")[:64]


def _entry(call: Call, answer: Answer, request_id: str) -> Entry:
    request = call.request
    headers = {name: value for name, value in request.headers.items() if name not in SECRET_HEADERS}
    return Entry(
        request.method,
        request.path,
        headers,
        0 if answer.cut is not None else answer.status,
        call.at,
        request_id,
        answer.usage,
        answer.reply,
        request.query,
        call.packed,
    )


def _json_answer(value: Mapping[str, Any]) -> Answer:
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    return Answer(200, {"content-type": "application/json"}, body)


def _error_answer(error: APIError, request_id: str) -> Answer:
    headers = {"content-type": "application/json", **error.headers}
    return Answer(error.status, headers, error.as_json(request_id))


def _message_answer(body: Mapping[str, Any], built: Built, timing: Timing, name: str) -> Answer:
    """The message in one piece or as a stream."""
    usage = built.message["usage"]
    streamed = bool(body.get("stream"))
    wait = timing.first if streamed else timing.total(built.output_tokens)
    if streamed:
        headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        answer = Answer(200, headers, _steps(built, timing), wait)
    else:
        answer = _json_answer(built.message)
        answer.wait = wait
    answer.headers["x-envoy-upstream-service-time"] = str(round(wait * 1000))
    answer.usage, answer.reply = usage, name
    return answer


def _steps(built: Built, timing: Timing) -> Iterator[Step]:
    """The events of a stream, with the time that writing takes between them."""
    for event, size in events_of(built.message):
        if size and timing.per_token:
            yield size / BYTES_PER_TOKEN * timing.per_token
        yield encode(event)
