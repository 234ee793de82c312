"""The fake API itself: takes a request, decides, keeps the journal.

    api = FakeAPI(replies=Path("replies/05_prompting.toml"))
    client = api.client()                       # the real anthropic.Anthropic
    api.enqueue("Paris.", Error(529), Reply(refusal="bio"))
    api.journal[-1].body["messages"]

Taught in chapter 00.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import httpx2
from anthropic import Anthropic, AsyncAnthropic
from anthropic._base_client import get_platform

from patterns.fake_api.batches.answers import BatchAnswers
from patterns.fake_api.batches.routes import BatchRoutes
from patterns.fake_api.batches.store import Batches
from patterns.fake_api.build import make_id
from patterns.fake_api.cache import PromptCache
from patterns.fake_api.catalogue import get_model, list_models
from patterns.fake_api.clock import Clock, RealClock
from patterns.fake_api.federation import ORGANIZATION, FederationRule
from patterns.fake_api.files import Files
from patterns.fake_api.journal import SECRET_HEADERS, Entry, Packed
from patterns.fake_api.latency import Latency
from patterns.fake_api.limits import Limiter, RateLimits
from patterns.fake_api.messages import Messages
from patterns.fake_api.scripting.chooser import Chooser
from patterns.fake_api.scripting.faults import Fault, FaultScript, first_error
from patterns.fake_api.scripting.replies import Answering
from patterns.fake_api.scripting.scripts import Replies
from patterns.fake_api.sign_in import Access, SignIn, without_secrets
from patterns.fake_api.wire.answers import error_answer, json_answer
from patterns.fake_api.wire.errors import APIError
from patterns.fake_api.wire.http import Answer, Request
from patterns.fake_api.wire.routes import TOKENS, Call, identify, route
from patterns.fake_api.wire.transport import FakeTransport

NO_SKILLS: Final = {"data": [], "has_more": False, "next_page": None}
CREDENTIALS: Final = frozenset(("api_key", "auth_token", "credentials", "config", "profile"))


class FakeAPI:
    """A Messages API of your own.

    Args:
        replies: a script, or the file that holds one; without it every answer is the echo.
        clock: `RealClock()` by default; a `VirtualClock` makes waiting free.
        limits: rate limits; by default none are enforced, and the headers say so much is left.
        latency: how long answers take; at once by default.
        faults: what goes wrong.
        seed: changes ids, jitter and the order of batch results.
        strict: answer a request that no entry of the script fits with a 400, not with the echo.
        keys: credentials that are accepted, or a mapping from them to their workspaces; every
            non-empty one by default.
        federation: rules under which identity tokens are exchanged for access tokens.
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
        federation: Collection[FederationRule] = (),
        batch_seconds: float | Callable[[int], float] = 600.0,
        batch_cache_hits: float = 0.6,
    ) -> None:
        self.clock: Clock = clock or RealClock()
        self.journal: list[Entry] = []
        self.transport = FakeTransport(self)
        script = Replies.load(replies) if isinstance(replies, Path | str) else replies
        self._chooser = Chooser(script.entries if script else (), strict=strict)
        cache = PromptCache()
        self._limiter = Limiter(limits)
        self._files = Files(seed)
        self._messages = Messages(self._chooser, cache, self._files, self._limiter, latency, seed)
        answers = BatchAnswers(self._chooser, cache, hits=batch_cache_hits, seed=seed)
        self._batches = BatchRoutes(Batches(batch_seconds, seed), answers)
        self._actions: dict[str, Callable[[Call, str], Answer]] = {
            "message": self._messages.create,
            "count_tokens": self._messages.count_tokens,
            "models": self._models,
            "model": self._model,
            "skills": lambda call, _: json_answer(NO_SKILLS),
            **self._files.handlers(),
            **self._batches.handlers(),
        }
        self._faults = FaultScript(list(faults))
        self._seed = seed
        self._access = Access(keys, federation, seed)
        self._ordinals: dict[bytes, int] = {}
        self._lock = threading.RLock()

    def client(self, **options: Any) -> Anthropic:
        """The SDK's client, talking to this API in process; takes the SDK's own options."""
        if not CREDENTIALS & options.keys():
            options["api_key"] = "fake"
        http_client = httpx2.Client(transport=self.transport)
        return Anthropic(http_client=http_client, **options)

    def async_client(self, **options: Any) -> AsyncAnthropic:
        """The SDK's async client, talking to this API in process."""
        if not CREDENTIALS & options.keys():
            options["api_key"] = "fake"
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

    @property
    def sign_ins(self) -> Sequence[SignIn]:
        """The authentication history: attempts to exchange an identity token under a rule."""
        return self._access.sign_ins

    def revoke(self, credential: str) -> None:
        """Accept a key, an access token, or tokens under a rule's id, no longer."""
        with self._lock:
            self._access.revoked.add(credential)

    def handle(self, request: Request) -> Answer:
        """Answer one request; what the transport and the server call."""
        with self._lock:
            return self._handle(request)

    def _handle(self, request: Request) -> Answer:
        digest = blake2b(request.body, digest_size=16, key=_key(request)).digest()
        ordinal = self._ordinals[digest] = self._ordinals.get(digest, 0) + 1
        request_id = make_id("req", self._seed, digest, ordinal)
        call = Call(request, digest, ordinal, self.clock.now())
        unreadable = call.decode()
        faults = self._faults.for_request(request.path, call.lenient_body)
        try:
            if (error := first_error(faults)) is not None:
                raise error.as_api_error()
            if unreadable is not None:
                raise unreadable
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
        if call.workspace:
            answer.headers["anthropic-workspace-id"] = call.workspace
        self.journal.append(_entry(call, answer, request_id))
        return answer

    def _answer(self, call: Call) -> Answer:
        handler, argument = route(call.request)
        if handler == "token":
            return self._access.exchange(call)
        call.workspace = identify(call, self._access, handler)
        if handler != "message":
            self._admit_other(handler, call.at)
        return self._actions[handler](call, argument)

    def _models(self, call: Call, _: str) -> Answer:
        return json_answer(list_models(call.request.query, call.at, call.betas))

    def _model(self, call: Call, model: str) -> Answer:
        return json_answer(get_model(model, call.at, call.betas))

    def _admit_other(self, handler: str, now: float) -> None:
        if handler == "count_tokens" or handler.startswith("batch"):
            kind = "count_tokens" if handler == "count_tokens" else "batches"
            self._limiter.admit_other(kind, now)


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
        call.packed if request.path != TOKENS else Packed.of(without_secrets(request.body)),
    )
