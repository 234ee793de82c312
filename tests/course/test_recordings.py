"""The recordings of the chapters, and the format they are kept in."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent
from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)
from anthropic.types.messages import (
    DeletedMessageBatch,
    MessageBatch,
    MessageBatchIndividualResponse,
)
from anthropic.types.messages.batch_create_params import BatchCreateParams
from pydantic import ConfigDict, TypeAdapter

from patterns.course.bodies import parse_body, render_body
from patterns.course.recordings import (
    Exchange,
    Recording,
    RecordingUnreadable,
    Source,
    kept_headers,
)

FOLDER = Path(__file__).parents[2] / "notebooks" / "recordings"
RECORDINGS = sorted(FOLDER.glob("*.json"))

FORBIDDEN = {
    "API key": r"sk-ant-(?!…)[\w-]{6,}",
    "bearer token": r"(?i)bearer [\w.-]{8,}",
    "e-mail address": r"[\w.+-]+@(?!example\.)[\w-]+\.[a-z]{2,}",
    "organisation id": r"(?i)anthropic-organization-id|\borg_[\w-]{8,}",
    "cookie": r"(?i)\bset-cookie|\bcookie\"",
    "JSON web token": r"\beyJ[\w-]{10,}\.[\w-]{10,}",
    "path of a machine": r"/(home|root|Users|tmp|work)/\w",
}


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_holds_nothing_private(path: Path) -> None:
    """No credential, address, organisation, cookie or path of the machine that made it."""
    text = path.read_text("utf-8")
    found = {name: re.findall(rule, text)[:3] for name, rule in FORBIDDEN.items()}
    assert {name: hits for name, hits in found.items() if hits} == {}


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_says_where_it_comes_from(path: Path) -> None:
    """Source, day, SDK and upstream, and for authored ones a sentence that says so."""
    data = json.loads(path.read_text("utf-8"))
    assert data["chapter"] == path.stem
    source = Recording.load(path).source
    assert (source.kind == "authored") == (source.upstream == "fake_api")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", source.recorded)
    assert "no model was asked" in data["note"] or source.kind == "live"


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_every_exchange_has_the_shape_that_the_sdk_promises(path: Path) -> None:
    """Requests fit the SDK's parameter types and answers its response types, strictly."""
    for number, exchange in enumerate(Recording.load(path).exchanges):
        check_shape(exchange, f"{path.stem}[{number}]")


RESPONSES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/messages"): Message,
    ("POST", "/v1/messages?beta=true"): BetaMessage,
    ("POST", "/v1/messages/count_tokens"): MessageTokensCount,
    ("POST", "/v1/messages/batches"): MessageBatch,
    ("GET", "/v1/messages/batches/{id}"): MessageBatch,
    ("POST", "/v1/messages/batches/{id}/cancel"): MessageBatch,
    ("DELETE", "/v1/messages/batches/{id}"): DeletedMessageBatch,
}
LINES: dict[tuple[str, str], Any] = {
    ("GET", "/v1/messages/batches/{id}/results"): MessageBatchIndividualResponse
}
STRICT = ConfigDict(strict=False, extra="forbid")


def check_shape(exchange: Exchange, where: str) -> None:
    """Fail with `where` if an exchange does not fit the SDK's types."""
    place = (exchange.method, re.sub(r"msgbatch_\w+", "{id}", exchange.path))
    if exchange.status >= 400:
        if "json" in exchange.body:
            assert exchange.body["json"]["error"]["message"], where
        return
    check_request(place, exchange, where)
    if "events" in exchange.body:
        beta = "beta" in place[1]
        event: Any = BetaRawMessageStreamEvent if beta else RawMessageStreamEvent
        adapter = adapter_of(event)
        for each in exchange.body["events"]:
            if each["event"] != "ping":
                adapter.validate_json(json.dumps(each["data"]), strict=True)
    elif "lines" in exchange.body:
        for line in exchange.body["lines"]:
            LINES[place].model_validate_json(json.dumps(line), strict=True)
    elif "json" in exchange.body and place in RESPONSES:
        RESPONSES[place].model_validate_json(json.dumps(exchange.body["json"]), strict=True)
    else:
        assert place[0] == "GET", f"{where}: nothing is known of the shape of {place}"


def check_request(place: tuple[str, str], exchange: Exchange, where: str) -> None:
    """Fail if a request's body does not fit the SDK's parameter types or names an unknown field."""
    body = exchange.request
    params: Any = {
        "/v1/messages/count_tokens": MessageCountTokensParams,
        "/v1/messages/batches": BatchCreateParams,
    }.get(place[1])
    if place[1] == "/v1/messages":
        stream = bool(body.get("stream"))
        params = MessageCreateParamsStreaming if stream else MessageCreateParamsNonStreaming
    if params is None:
        return
    unknown = set(body) - set(params.__annotations__) - inherited(params)
    assert not unknown, f"{where}: the SDK has no parameter {unknown}"
    adapter_of(params).validate_json(json.dumps(body))


@cache
def adapter_of(kind: Any) -> TypeAdapter[Any]:
    """The validator of a type: slow to build, and the same for every exchange."""
    return TypeAdapter(kind)


def inherited(params: Any) -> set[str]:
    """All keys of a TypedDict, bases included."""
    return set(params.__required_keys__) | set(params.__optional_keys__)


def exchange_of(**changes: Any) -> Exchange:
    values: dict[str, Any] = {
        "method": "POST",
        "path": "/v1/messages",
        "request": {"model": "m"},
        "status": 200,
        "headers": {"content-type": "application/json"},
        "body": {"json": {"a": 1}},
        "elapsed_ms": 5,
    }
    return Exchange(**{**values, **changes})


def test_a_recording_survives_the_way_to_disk_and_back(tmp_path: Path) -> None:
    """Every kind of body, with and without timings."""
    exchanges = (
        exchange_of(),
        exchange_of(method="GET", request=None, body={"lines": [{"x": 1}]}),
        exchange_of(body={"events": [{"event": "e", "data": {}}], "cut": True}, first_event_ms=2),
    )
    source = Source("authored", "2026-11-21", "2.12.0", "fake_api")
    Recording(tmp_path / "01_x.json", source, exchanges).save()
    again = Recording.load(tmp_path / "01_x.json")
    assert (again.source, again.exchanges) == (source, exchanges)
    assert list(tmp_path.iterdir()) == [tmp_path / "01_x.json"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "not valid JSON"),
        ('{"format": 1, "exchanges": [', "not valid JSON"),
        ("[]", "format 1"),
        ('{"format": 9}', "format 1"),
        ('{"format": 1, "source": "authored"}', "missing or misplaced"),
        (
            '{"format":1,"source":"live","recorded":"","sdk":"","upstream":"","exchanges":[3]}',
            "missing or misplaced",
        ),
    ],
)
def test_a_damaged_recording_is_named_with_what_is_wrong(
    tmp_path: Path, content: str, why: str
) -> None:
    """The message names the file and how to make it again."""
    path = tmp_path / "01_x.json"
    path.write_text(content, "utf-8")
    with pytest.raises(RecordingUnreadable, match=why) as caught:
        Recording.load(path)
    assert "01_x.json" in str(caught.value)
    assert "make record CHAPTER=01_x" in str(caught.value)


def test_an_absent_or_unreadable_recording_is_named(tmp_path: Path) -> None:
    """A folder in the file's place is as bad as no file."""
    with pytest.raises(RecordingUnreadable, match="no such file"):
        Recording.load(tmp_path / "none.json")
    with pytest.raises(RecordingUnreadable, match=r"directory|denied"):
        Recording.load(tmp_path)


def test_a_failed_save_leaves_the_old_file_alone(tmp_path: Path) -> None:
    """Nothing half-written: the draft goes, the old file stays."""
    path = tmp_path / "01_x.json"
    source = Source("authored", "2026-11-21", "2.12.0", "fake_api")
    Recording(path, source, (exchange_of(),)).save()
    before = path.read_text("utf-8")
    with pytest.raises(TypeError):
        Recording(path, source, (exchange_of(body={"json": object()}),)).save()
    assert path.read_text("utf-8") == before
    assert list(tmp_path.iterdir()) == [path]


def test_only_a_live_recording_of_the_real_api_counts_as_measured() -> None:
    """A compatible local server is not a model of Anthropic's."""
    assert Source("live", "", "", "api.anthropic.com").measured
    assert not Source("live", "", "", "localhost").measured
    assert not Source("authored", "", "", "fake_api").measured


def test_headers_are_kept_by_allow_list() -> None:
    """Cookies and organisation ids never get in."""
    headers = {
        "Content-Type": "application/json",
        "Set-Cookie": "secret",
        "anthropic-organization-id": "org",
        "anthropic-ratelimit-requests-remaining": "3",
        "request-id": "req_1",
    }
    assert list(kept_headers(headers)) == [
        "anthropic-ratelimit-requests-remaining",
        "content-type",
        "request-id",
    ]


@pytest.mark.parametrize(
    ("content_type", "content", "body"),
    [
        ("application/json", b'{"a":"\xe2\x80\xa8"}', {"json": {"a": "\u2028"}}),
        ("application/json", b'{"a"', {"text": '{"a"'}),
        ("application/x-jsonl", b'{"a":1}\n{"b"\n', {"lines": [{"a": 1}, '{"b"']}),
        (
            "text/event-stream; charset=utf-8",
            'event: x\r\ndata: {"t": "\u2028"}\r\n\r\n: note\n\ndata: raw\n\n'.encode(),
            {
                "events": [
                    {"event": "x", "data": {"t": "\u2028"}},
                    {"event": "", "data": "raw"},
                ]
            },
        ),
        ("application/octet-stream", b"\xff\xfe", {"base64": "//4="}),
    ],
)
def test_bodies_are_kept_readable(content_type: str, content: bytes, body: dict[str, Any]) -> None:
    """JSON as JSON, streams as events, and whatever is broken as it came."""
    assert parse_body(content_type, content) == body


def test_binary_bodies_come_back_byte_for_byte() -> None:
    """What cannot be text is kept as base64."""
    assert render_body(parse_body("image/png", b"\xff\xfe")) == [b"\xff\xfe"]


def test_usage_is_found_in_every_kind_of_body() -> None:
    """Plain, streamed and batched answers; nothing where there is none."""
    usage = {"input_tokens": 2, "output_tokens": 1}
    message = {"model": "m", "usage": usage}
    start = {"type": "message_start", "message": message}
    delta = {"type": "message_delta", "usage": {"output_tokens": 9}}
    stream = [{"event": "", "data": each} for each in (start, delta, "text", {"type": "ping"})]
    assert exchange_of(body={"json": message}).usage() == [("m", usage)]
    assert exchange_of(body={"events": stream}).usage() == [
        ("m", {"input_tokens": 2, "output_tokens": 9})
    ]
    lines = [{"result": {"message": message}}, {"result": {}}, "broken"]
    assert exchange_of(body={"lines": lines}).usage() == [("m", usage)]
    assert exchange_of(body={"text": "x"}).usage() == []
    assert exchange_of(body={"json": [1]}).usage() == []
