"""The HTTP responses that messages, errors and plain values become."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from patterns.fake_api.build import Built
from patterns.fake_api.latency import Timing
from patterns.fake_api.tokens import BYTES_PER_TOKEN
from patterns.fake_api.wire.errors import APIError
from patterns.fake_api.wire.http import Answer, Step
from patterns.fake_api.wire.jsons import quick_bytes, to_bytes
from patterns.fake_api.wire.sse import encode, events_of

STREAM_HEADERS: Final[Mapping[str, str]] = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
}


def json_answer(value: Mapping[str, Any]) -> Answer:
    """A value as the body of a 200."""
    return Answer(200, {"content-type": "application/json"}, quick_bytes(value))


def error_answer(error: APIError, request_id: str) -> Answer:
    """An error in the API's shape."""
    headers = {"content-type": "application/json", **error.headers}
    return Answer(error.status, headers, to_bytes(error.as_dict(request_id)))


def message_answer(built: Built, timing: Timing, name: str, *, streamed: bool) -> Answer:
    """A message in one piece or as a stream."""
    if streamed:
        answer = Answer(200, dict(STREAM_HEADERS), _steps(built, timing), timing.first)
    else:
        answer = json_answer(built.message)
        answer.wait = timing.total(built.output_tokens)
    answer.headers["x-envoy-upstream-service-time"] = str(round(answer.wait * 1000))
    answer.usage, answer.reply = built.message["usage"], name
    return answer


def _steps(built: Built, timing: Timing) -> Iterator[Step]:
    """The events of a stream, with the time that writing takes between them."""
    for event, size in events_of(built.message):
        if size and timing.per_token:
            yield size / BYTES_PER_TOKEN * timing.per_token
        yield encode(event)
