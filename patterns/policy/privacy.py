"""Keep identifiers out of prompts, answers and streams: redact, mask, hash or block them.

For text that may hold e-mail addresses, numbers and keys of people who did not agree to send
them. Patterns find identifiers, not identities: a name or a street stays where it is. What does
find those is a language model, such as Presidio's (see `presidio`), or Claude, which means
sending it what you wanted to keep.

Taught in chapter 01.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from anthropic import (
    APIRequest,
    APIResponse,
    AsyncAPIResponse,
    AsyncCallNext,
    CallNext,
    Middleware,
)

from patterns.policy.detectors import ALL_TYPES, Match, PIIType, Strictness, find_pii
from patterns.policy.redaction import (
    Cleaner,
    Finder,
    PIIFound,
    Redacted,
    Strategy,
    redact,
    report,
)
from patterns.policy.redaction_stream import CleanEvents, CleanLines
from patterns.policy.responses import (
    Reply,
    http_of,
    is_open,
    json_of,
    must_read,
    through,
    with_json,
)
from patterns.policy.wire import RESULTS, Path, bodies_of, edited, endpoint_of, with_body

__all__ = ["ALL_TYPES", "Match", "PIIFound", "PIIMiddleware", "Redacted", "find_pii", "redact"]


class PIIMiddleware(Middleware):
    """Clean what goes to the API and what comes back: messages, batches, streams, results.

    Args:
        on_input: strategy for prompts, systems, tools and history; None lets them pass.
        on_output: strategy for answers; None lets them pass.
        types, strictness: as for `find_pii`.
        key: at least 32 bytes, for the strategy `hash`.
        find: another detector with the same result, such as `presidio(...)`.
    """

    def __init__(
        self,
        on_input: Strategy | None = "redact",
        on_output: Strategy | None = "redact",
        *,
        types: Collection[PIIType] = ALL_TYPES,
        strictness: Strictness = "balanced",
        key: bytes | None = None,
        find: Finder | None = None,
    ) -> None:
        def by_patterns(text: str) -> list[Match]:
            return find_pii(text, types=types, strictness=strictness)

        finder = find or by_patterns
        self._input = Cleaner(finder, on_input, key, "input") if on_input else None
        self._output = Cleaner(finder, on_output, key, "output") if on_output else None
        self._names = f"{on_input} in, {on_output} out"

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        response = call_next(self._sent(request))
        if self._output and must_read(response):
            response.read()
        return self._received(request, response)

    async def handle_async(
        self, request: APIRequest, call_next: AsyncCallNext
    ) -> AsyncAPIResponse[Any]:
        response = await call_next(self._sent(request))
        if self._output and must_read(response):
            await response.read()
        return self._received(request, response)

    def _sent(self, request: APIRequest) -> APIRequest:
        # On every attempt: each starts again from the caller's own body.
        if self._input is None:
            return request
        edits: dict[Path, Any] = {}
        seen: Counter[str] = Counter()
        for base, body in bodies_of(request):
            for path, text in self._input.edits(body, seen).items():
                edits[(*base, *path)] = text
        report("input", seen)
        if not edits:
            return request
        assert isinstance(request.json, Mapping)  # bodies_of has refused anything else
        return with_body(request, edited(request.json, edits))

    def _received(self, request: APIRequest, response: Reply) -> Reply:
        if self._output is None or not http_of(response).is_success:
            return response
        if endpoint_of(request) == RESULTS:
            return through(response, CleanLines(self._output))
        if is_open(request, response):
            return through(response, CleanEvents(self._output))
        return self._answered(response, self._output)

    def _answered(self, response: Reply, cleaner: Cleaner) -> Reply:
        payload = json_of(response)
        if payload is None or "content" not in payload:
            return response
        seen: Counter[str] = Counter()
        edits = cleaner.edits({"content": payload["content"]}, seen, payload.get("usage"))
        report("output", seen)
        return with_json(response, edited(payload, edits)) if edits else response

    def __repr__(self) -> str:
        return f"PIIMiddleware({self._names})"


def presidio(analyzer: Any, *, language: str = "en", threshold: float = 0.5) -> Finder:
    """Use a Presidio `AnalyzerEngine` as the detector: with a language model it finds names too.

    It brings about fifty packages and loads a model at start; only its `analyze` is called here.
    """

    def find(text: str) -> list[Match]:
        results = analyzer.analyze(text=text, language=language, score_threshold=threshold)
        found: list[Match] = []
        for one in sorted(results, key=lambda one: (one.start, -one.end)):
            if not found or one.start >= found[-1].end:
                found.append(Match(one.start, one.end, one.entity_type.lower()))
        return found

    return find
