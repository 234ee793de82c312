"""Bodies of answers as a recording keeps them: readable in a diff, the same to the SDK in replay.

Streams are split by the SDK's own decoder, so a recording holds what the SDK saw, whatever a
gateway does to line ends, spaces or content types.

Taught in chapter 00.
"""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any, Final

import httpx2
from anthropic import Stream

Json = dict[str, Any]

BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(r"\r\n|\r|\n")  # str.splitlines() would split inside JSON too
_EVENT_FIELD: Final = re.compile(rb"\s*(event|data|id|retry)?:")


def parse_body(content_type: str, content: bytes) -> Json:
    """A body as one of `json`, `events`, `lines`, `text` or `base64`.

    The content type decides; where it is missing or says something else, the content does.
    """
    content, kind = content.removeprefix(BOM), content_type.lower()
    streamed = kind.startswith("text/event-stream")
    if events := list(_events(content)) if streamed or _EVENT_FIELD.match(content) else []:
        return {"events": events}
    try:
        text = content.decode("utf-8", "replace" if streamed else "strict")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode("ascii")}
    lines = [json_or_text(line) for line in _LINE_END.split(text) if line.strip()]
    if "jsonl" in kind or (len(lines) > 1 and all(isinstance(line, dict) for line in lines)):
        return {"lines": lines}
    parsed = json_or_text(text)
    if not isinstance(parsed, str):
        return {"json": parsed}
    return {"events": []} if streamed else {"text": text}


def _events(content: bytes) -> Iterator[Json]:
    # An interrupted stream may end within a character; its last, unfinished event is not given out.
    whole = content.decode("utf-8", "replace").encode()
    for event in Stream.raw_events(httpx2.Response(200, content=whole)):
        if event.event or event.data:
            yield {"event": event.event or "", "data": json_or_text(event.data)}


def render_body(body: Json) -> list[bytes]:
    """The chunks in which a recorded body is sent again: one an event, line or whole body."""
    if "events" in body:
        return [_event(each["event"], dump(each["data"])) for each in body["events"]]
    if "lines" in body:
        return [_encode(f"{dump(line)}\n") for line in body["lines"]]
    if "base64" in body:
        return [base64.b64decode(body["base64"])]
    return [_encode(dump(body["json"] if "json" in body else body.get("text", "")))]


def _event(name: str, data: str) -> bytes:
    lines = [f"event: {name}", *(f"data: {line}" for line in data.split("\n"))]
    return _encode("\n".join(lines) + "\n\n")


def json_or_text(text: str) -> Any:
    """Parsed JSON, or the text itself where it is none, or only a string."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(parsed, str) else parsed


def dump(value: Any) -> str:
    """What `json_or_text` parsed, as text again."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # half a surrogate pair becomes its JSON escape


def is_whole(body: Json, *, ended: bool) -> bool:
    """Whether a body has its end: for a stream that is `message_stop`, whatever came after it."""
    if "events" not in body:
        return ended
    return any(each["event"] == "message_stop" for each in body["events"])


def usage_in(body: Json) -> Iterator[tuple[str, Any]]:
    """Find model and usage of each message in a recorded body; "" for a model that is not named."""
    if "events" in body:
        found = [_accumulated(each["data"] for each in body["events"])]
    else:
        found = [_message_in(each) for each in body.get("lines", [body.get("json")])]
    for message in found:
        if message.get("usage"):
            yield str(message.get("model") or ""), message["usage"]


def _accumulated(events: Iterator[Any]) -> Json:
    message: Json = {}
    for data in map(_mapping, events):
        if data.get("type") == "message_start":
            message = dict(_mapping(data.get("message")))
        if data.get("type") == "message_delta" and data.get("usage"):
            counted = {k: v for k, v in _mapping(data["usage"]).items() if v is not None}
            message["usage"] = {**_mapping(message.get("usage")), **counted}
    return message


def _message_in(value: Any) -> Json:
    """The message itself, or the one in a line of a batch's results."""
    outer = _mapping(value)
    return _mapping(_mapping(outer.get("result")).get("message")) or outer


def _mapping(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
