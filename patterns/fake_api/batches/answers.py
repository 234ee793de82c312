"""What each request of a batch gets: decided when the batch is made, built when it is read."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, TypeAlias

from patterns.fake_api.batches.requests import check_batched
from patterns.fake_api.binding import bound
from patterns.fake_api.build import Input, build, make_id
from patterns.fake_api.cache import Plan, PromptCache
from patterns.fake_api.scripting.chooser import Chooser
from patterns.fake_api.scripting.echo import echo_of
from patterns.fake_api.scripting.matching import see
from patterns.fake_api.scripting.replies import Error, Reply
from patterns.fake_api.tokens import input_tokens
from patterns.fake_api.validation.model_rules import check_window
from patterns.fake_api.validation.request import check_request
from patterns.fake_api.wire.errors import APIError
from patterns.fake_api.wire.jsons import to_bytes
from patterns.fake_api.wire.routes import BATCHES, Call

Outcome: TypeAlias = "APIError | tuple[Reply | None, Input | None]"
"""An error, or a reply (None for the echo) and its input tokens (None where not cached)."""


class BatchAnswers:
    """Decides on and builds the results of batches.

    Args:
        chooser: where replies come from.
        cache: the prompt cache that requests of batches share with the others.
        hits: chance (0 to 1) that a request runs where the cache can be seen.
        seed: decides which ones do.
    """

    def __init__(self, chooser: Chooser, cache: PromptCache, *, hits: float, seed: int) -> None:
        self._chooser = chooser
        self._cache = cache
        self._hits = hits
        self._seed = seed

    def decide(self, call: Call, params: Any, n: int) -> Outcome:
        """What the n-th request of a batch will get."""
        try:
            facts = check_request(
                params, now=call.at, betas=call.betas, place="batch", version=call.version
            )
            check_batched(params)
            digest = blake2b(to_bytes(params), digest_size=16).digest()
            params, _ = bound(params, facts, call.betas, batched=True)
            check_window(input_tokens(params), facts)
            plan = self._plan(call, params, facts.min_cacheable_tokens, n)
            reply, _ = self._chooser.find(see(BATCHES, params, digest))
        except APIError as error:
            return error
        if isinstance(reply, Error):
            return reply.as_api_error()
        if plan is None:
            return reply, None
        self._cache.store(plan, call.at, call.at)
        return reply, plan.tokens

    def _plan(self, call: Call, params: Mapping[str, Any], minimum: int, n: int) -> Plan | None:
        """Cache hits in batches are best effort: some requests run where the entry is not."""
        if not call.may_cache:
            return None
        seed = f"{self._seed}|{call.ordinal}|{n}".encode()
        draw = int.from_bytes(blake2b(call.digest, digest_size=4, key=seed).digest(), "big") / 2**32
        cache = self._cache if draw < self._hits else PromptCache()
        return cache.plan(params, minimum, call.workspace, call.at)

    def render(self, batch_id: str, params: Any, n: int, outcome: Outcome) -> dict[str, Any]:
        """The `result` of a line."""
        if isinstance(outcome, APIError):
            return {"type": "errored", "error": outcome.as_dict(make_id("req", batch_id, n))}
        reply, tokens = outcome
        if reply is None:
            reply = echo_of(params, see(BATCHES, params, b"").last_text)
        message_id = make_id("msg", batch_id, n)
        built = build(
            params, reply, message_id, tokens or Input(input_tokens(params)), tier="batch"
        )
        return {"type": "succeeded", "message": built.message}
