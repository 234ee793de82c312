"""`/v1/messages` and `/v1/messages/count_tokens`: from a checked request to its answer."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

from patterns.core.models import MODELS, ModelFacts
from patterns.fake_api.binding import CONTROLS, bound
from patterns.fake_api.build import Built, Input, build, make_id
from patterns.fake_api.cache import Plan, PromptCache
from patterns.fake_api.extras import COMPACTING, extras_of, iterations_of
from patterns.fake_api.fallbacks import Declined, attempts, mark
from patterns.fake_api.files import Files
from patterns.fake_api.latency import NO_TIME, Latency, Timing
from patterns.fake_api.limits import Limiter
from patterns.fake_api.scripting.chooser import Chooser
from patterns.fake_api.scripting.matching import see
from patterns.fake_api.scripting.replies import Error, Reply
from patterns.fake_api.threads import Threads
from patterns.fake_api.tokens import input_tokens
from patterns.fake_api.validation.model_rules import check_window
from patterns.fake_api.validation.request import check_body, check_request
from patterns.fake_api.wire.answers import error_answer, json_answer, message_answer
from patterns.fake_api.wire.errors import APIError
from patterns.fake_api.wire.http import Answer
from patterns.fake_api.wire.routes import Call, parse

PROFILE: Final = "anthropic-user-profile-id"


def _bills_customer(body: Mapping[str, Any]) -> bool:
    return (body.get("billing_policy") or {}).get("bill_to") == "user_profile"


class Messages:
    """The answers of one fake API.

    Args:
        chooser: where replies come from.
        cache: the prompt cache.
        files: the files that requests may name.
        limiter: rate limits.
        latency: how long answers take, or None for at once.
        seed: changes ids and jitter.
    """

    def __init__(
        self,
        chooser: Chooser,
        cache: PromptCache,
        files: Files,
        limiter: Limiter,
        latency: Latency | None,
        seed: int,
    ) -> None:
        self._chooser = chooser
        self._cache = cache
        self._files = files
        self._limiter = limiter
        self._latency = latency
        self._seed = seed
        self._threads = Threads()

    def count_tokens(self, call: Call, _: str) -> Answer:
        """How many input tokens a request has."""
        body = parse(call.request)
        check_request(
            body, now=call.at, betas=call.betas, place="count_tokens", version=call.version
        )
        self._files.check(body, call.workspace)
        read, _dropped = bound(body, MODELS[body["model"]], call.betas)
        return json_answer({"input_tokens": input_tokens(read)})

    def create(self, call: Call, _: str) -> Answer:
        """A message, in one piece or as a stream."""
        sent, facts = self._checked(call)
        body, dropped = bound(sent, facts, call.betas)
        plan = self._plan(call, body, facts.min_cacheable_tokens)
        tokens = Input(input_tokens(body)) if plan is None else plan.tokens
        check_window(tokens.total, facts)
        self._limiter.admit(facts.id, tokens.uncached + tokens.written, call.at)
        reply, name = self._chooser.choose(see(call.request.path, body, call.digest))
        if isinstance(reply, Error):
            return self._scripted_error(reply, name, call)
        declined: list[Declined] = []
        for other in attempts(body, facts):
            if reply.refusal is None:
                break
            after, of = self._chooser.choose(see(call.request.path, other, call.digest))
            if isinstance(after, Error):
                break  # and the refusal before it is the answer
            declined.append(Declined(body["model"], reply))
            body, reply, name = other, after, of
        built = self._build(call, sent, body, reply, tokens, plan)
        if declined:
            mark(built.message, declined)
        if CONTROLS in call.betas:
            built.message["input_transformations"] = dropped
        timing = self._timing(call, reply, tokens, built)
        if plan is not None:
            self._cache.store(plan, call.at, call.at + timing.first)
        answer = message_answer(built, timing, name, streamed=body.get("stream") is True)
        self._limiter.produced(facts.id, built.output_tokens, call.at)
        answer.headers.update(self._limiter.headers(facts.id, call.at))
        if built.message["usage"].get("speed") == "fast":
            answer.headers.update(self._limiter.fast_headers(facts.id, call.at))
        return answer

    def _checked(self, call: Call) -> tuple[Mapping[str, Any], ModelFacts]:
        """The request as a whole, its thread's turns included, and the model's row."""
        body = parse(call.request)
        if isinstance(body, dict) and "thread" in body:
            check_body(body, call.betas)
            body = self._threads.whole(body, call.workspace)
        facts = check_request(body, now=call.at, betas=call.betas, version=call.version)
        self._files.check(body, call.workspace)
        if _bills_customer(body) and not call.request.headers.get(PROFILE):
            raise APIError(
                400,
                f"billing_policy.bill_to is 'user_profile': name the user profile in `{PROFILE}`",
                error_code="user_profile_required",
            )
        return body, facts

    def _build(
        self,
        call: Call,
        sent: Mapping[str, Any],
        body: Mapping[str, Any],
        reply: Reply,
        tokens: Input,
        plan: Plan | None,
    ) -> Built:
        message_id = make_id("msg", self._seed, call.digest, call.ordinal)
        extras = extras_of(body, call.betas, reply.content, call.at)
        if "diagnostics" in body:
            extras["diagnostics"] = self._diagnose(call, body, plan, message_id)
        built = build(body, reply, message_id, tokens, extras=extras, at=call.at, sent=sent)
        if COMPACTING in call.betas:
            built.message["usage"]["iterations"] = iterations_of(built.message["usage"])
        self._threads.hold(sent, call.workspace, built.message)
        return built

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
