"""The fake API itself: takes a request, decides, keeps the journal.

    api = FakeAPI(replies=Path("replies/05_prompting.toml"))
    client = api.client()                       # the real anthropic.Anthropic
    api.enqueue("Paris.", Error(529), Reply(refusal="bio"))
    api.journal[-1].body["messages"]

Taught in chapter 00.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import httpx2
from anthropic import Anthropic, AsyncAnthropic
from anthropic._base_client import get_platform

from patterns.fake_api.batches.answers import BatchAnswers
from patterns.fake_api.batches.routes import BatchRoutes
from patterns.fake_api.batches.store import Batches
from patterns.fake_api.build import Built, Input, build, make_id
from patterns.fake_api.cache import Plan, PromptCache
from patterns.fake_api.catalogue import get_model, list_models
from patterns.fake_api.clock import Clock, RealClock
from patterns.fake_api.journal import SECRET_HEADERS, Entry
from patterns.fake_api.latency import NO_TIME, Latency, Timing
from patterns.fake_api.limits import Limiter, RateLimits
from patterns.fake_api.scripting.chooser import Chooser
from patterns.fake_api.scripting.faults import Fault, FaultScript, first_error
from patterns.fake_api.scripting.matching import see
from patterns.fake_api.scripting.replies import Answering, Error, Reply
from patterns.fake_api.scripting.scripts import Replies
from patterns.fake_api.tokens import input_tokens
from patterns.fake_api.validation.request import check_request
from patterns.fake_api.wire.answers import error_answer, json_answer, message_answer
from patterns.fake_api.wire.errors import APIError
from patterns.fake_api.wire.http import Answer, Request
from patterns.fake_api.wire.routes import Call, identify, parse, route
from patterns.fake_api.wire.transport import FakeTransport

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
        script = Replies.load(replies) if isinstance(replies, Path | str) else replies
        self._chooser = Chooser(script.entries if script else (), strict=strict)
        self._cache = PromptCache()
        self._limiter = None if limits is None else Limiter(limits)
        self._latency = latency
        answers = BatchAnswers(self._chooser, self._cache, hits=batch_cache_hits, seed=seed)
        self._batches = BatchRoutes(Batches(batch_seconds, seed), answers)
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
        client = AsyncAnthropic(http_client=http_client, **options)
        # The SDK would look it up in a thread, and virtual time would run on meanwhile.
        client._platform = get_platform()
        return client

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
        faults = self._faults.for_request(request.path, call.lenient_body)
        try:
            if (error := first_error(faults)) is not None:
                raise error.as_api_error()
            answer = self._answer(call)
        except APIError as error:
            answer = error_answer(error, request_id)
        except RecursionError:
            answer = error_answer(APIError(400, "the body is nested too deeply"), request_id)
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
            **self._batches.handlers(),
        }
        if self._limiter is not None and handler != "message":
            self._admit_other(handler, call.at)
        return actions[handler](call, argument)

    def _models(self, call: Call, _: str) -> Answer:
        return json_answer(list_models(call.request.query, call.at))

    def _model(self, call: Call, model: str) -> Answer:
        return json_answer(get_model(model, call.at))

    def _count_tokens(self, call: Call, _: str) -> Answer:
        body = parse(call.request)
        check_request(body, now=call.at, beta=call.beta, counting=True)
        return json_answer({"input_tokens": input_tokens(body)})

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
        answer = message_answer(built, timing, name, streamed=body.get("stream") is True)
        if self._limiter is not None:
            self._limiter.produced(facts.id, built.output_tokens, call.at)
            answer.headers.update(self._limiter.headers(facts.id, call.at))
        return answer

    def _plan(self, call: Call, body: Mapping[str, Any], minimum: int) -> Plan | None:
        """What the cache means for the request; None where it asks for neither."""
        if not call.may_cache and "diagnostics" not in body:
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

    def _scripted_error(self, error: Error, name: str, call: Call) -> Answer:
        request_id = make_id("req", self._seed, call.digest, call.ordinal)
        answer = error_answer(error.as_api_error(), request_id)
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
