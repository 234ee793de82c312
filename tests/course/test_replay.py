"""patterns.course.replay: answers from a recording, through the real SDK."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic

from patterns.core.messages import iter_text, iter_text_async, text_of
from patterns.course.recordings import Exchange, Recording, Source
from patterns.course.replay import RecordingMissing, ReplayLog, ReplayTransport, first_difference

SOURCE = Source("authored", "2026-11-21", "2.12.0", "fake_api")
ASK: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "Hi"}],
}
JSON = {"content-type": "application/json"}


def answer(text: str, stop_reason: str = "end_turn") -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": text}],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def exchange(text: str = "Hello", **changes: Any) -> Exchange:
    values: dict[str, Any] = {
        "method": "POST",
        "path": "/v1/messages",
        "request": ASK,
        "status": 200,
        "headers": JSON,
        "body": {"json": answer(text)},
        "elapsed_ms": 900,
    }
    return Exchange(**{**values, **changes})


def failure(status: int, **headers: str) -> Exchange:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    return exchange(status=status, headers={**JSON, **headers}, body={"json": error})


def streamed(*texts: str, cut: bool = False) -> Exchange:
    def delta(text: str) -> dict[str, Any]:
        kind = {"type": "text_delta", "text": text}
        return {"type": "content_block_delta", "index": 0, "delta": kind}

    block = {"type": "text", "text": ""}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**answer(""), "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *(delta(text) for text in texts),
    ]
    if not cut:
        end = {"stop_reason": "end_turn", "stop_sequence": None}
        events += [
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": end, "usage": {"output_tokens": 2}},
            {"type": "message_stop"},
        ]
    body: dict[str, Any] = {"events": [{"event": each["type"], "data": each} for each in events]}
    if cut:
        body["cut"] = True
    return exchange(
        request={**ASK, "stream": True}, headers={"content-type": "text/event-stream"}, body=body
    )


def transport(*exchanges: Exchange, **options: Any) -> ReplayTransport:
    return ReplayTransport(Recording(Path("01_x.json"), SOURCE, exchanges), **options)


def client(*exchanges: Exchange, **options: Any) -> Anthropic:
    http = httpx2.Client(transport=transport(*exchanges, **options))
    return Anthropic(api_key="replay", http_client=http)


def async_client(*exchanges: Exchange) -> AsyncAnthropic:
    http = httpx2.AsyncClient(transport=transport(*exchanges))
    return AsyncAnthropic(api_key="replay", http_client=http)


def test_the_order_of_keys_does_not_matter() -> None:
    """Bodies are compared by what they say."""
    turned = dict(reversed(ASK.items()))
    assert text_of(client(exchange(request=turned)).messages.create(**ASK)) == "Hello"


def test_equal_requests_are_answered_in_file_order_and_then_from_the_start() -> None:
    """N samples stay N samples, and a cell can be run twice."""
    sampler = client(exchange("a"), exchange("b"))
    texts = [text_of(sampler.messages.create(**ASK)) for _ in range(5)]
    assert texts == ["a", "b", "a", "b", "a"]


def test_threads_share_the_answers_without_losing_one() -> None:
    """Each of the recorded answers is given out once."""
    sampler = client(*(exchange(str(n)) for n in range(16)))
    seen: list[str] = []
    threads = [
        threading.Thread(target=lambda: seen.append(text_of(sampler.messages.create(**ASK))))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen, key=int) == [str(n) for n in range(16)]


def test_retries_replay_as_recorded_without_waiting() -> None:
    """529, then 429 with a wait of 1,000 seconds, then an answer: the SDK's own loop runs."""
    patient = client(failure(529), failure(429, **{"retry-after": "1000"}), exchange("third"))
    raw = patient.messages.with_raw_response.create(**ASK)
    assert text_of(raw.parse()) == "third"
    assert raw.retries_taken == 2


def test_the_recorded_wait_stays_readable() -> None:
    """Only the retry loop is hastened."""
    with pytest.raises(anthropic.RateLimitError) as caught:
        client(failure(429, **{"retry-after": "20"})).with_options(max_retries=0).messages.create(
            **ASK
        )
    assert caught.value.response.headers["retry-after"] == "20"


def test_streams_replay_piece_by_piece_in_both_forms() -> None:
    """`create(stream=True)` and `messages.stream()` see the same recording."""
    replaying = client(streamed("a\u2028", "b"))
    assert list(iter_text(replaying.messages.create(**ASK, stream=True))) == ["a\u2028", "b"]
    with replaying.messages.stream(**ASK) as stream:
        assert list(iter_text(stream)) == ["a\u2028", "b"]
        assert stream.get_final_message().usage.output_tokens == 2


def test_a_broken_stream_breaks_again_at_the_same_place() -> None:
    """A recorded disconnect is a disconnect."""
    seen = []
    with pytest.raises(httpx2.RemoteProtocolError):
        for piece in iter_text(client(streamed("a", cut=True)).messages.create(**ASK, stream=True)):
            seen.append(piece)  # what came before the break is the point
    assert seen == ["a"]


def test_async_clients_replay_too() -> None:
    """Plain and streamed."""

    async def main() -> tuple[str, list[str]]:
        replaying = async_client(exchange(), streamed("a", "b"))
        text = text_of(await replaying.messages.create(**ASK))
        stream = await replaying.messages.create(**ASK, stream=True)
        return text, [piece async for piece in iter_text_async(stream)]

    assert asyncio.run(main()) == ("Hello", ["a", "b"])


def test_batch_results_replay_as_lines() -> None:
    """`results()` retrieves the batch and then reads its JSONL, wherever its URL points to."""
    batch = {
        "id": "msgbatch_1",
        "type": "message_batch",
        "processing_status": "ended",
        "request_counts": dict.fromkeys(
            ("processing", "succeeded", "errored", "canceled", "expired"), 0
        ),
        "created_at": "2026-11-01T00:00:00Z",
        "expires_at": "2026-11-02T00:00:00Z",
        "results_url": "https://elsewhere.example/v1/messages/batches/msgbatch_1/results",
    }
    line = {"custom_id": "a", "result": {"type": "succeeded", "message": answer("x")}}
    where = "/v1/messages/batches/msgbatch_1"
    replaying = client(
        exchange(method="GET", path=where, request=None, body={"json": batch}),
        exchange(
            method="GET",
            path=f"{where}/results",
            request=None,
            headers={"content-type": "application/x-jsonl"},
            body={"lines": [line, line]},
        ),
    )
    assert [r.custom_id for r in replaying.messages.batches.results("msgbatch_1")] == ["a", "a"]


def test_a_missing_recording_surfaces_at_once_and_says_what_differs() -> None:
    """The SDK does not retry it; the message names file, difference and the two ways on."""
    log: list[int | None] = []
    replaying = client(exchange(), log=log.append, price=lambda path, body: " (about $0.01)")
    with pytest.raises(RecordingMissing) as caught:
        replaying.messages.create(**{**ASK, "max_tokens": 10})
    message = str(caught.value)
    assert "max_tokens was 9, this request has 10" in caught.value.difference
    for part in ("01_x.json", "Set the cell back", "PATTERNS_MODE=live", "about $0.01"):
        assert part in message
    assert log == [None]


def test_the_log_hears_which_exchange_was_used() -> None:
    """So that unused ones can be found."""
    log: list[int | None] = []
    replaying = client(failure(529), exchange(), log=log.append)
    replaying.messages.create(**ASK)
    assert log == [0, 1]


LONG = "The quick brown fox jumps over the lazy dog, again and again, until "


@pytest.mark.parametrize(
    ("here", "recorded", "said"),
    [
        ({"a": 1}, [], "Nothing is recorded for this path."),
        ({"a": 1, "b": 2}, [{"a": 1}], "b was absent, this request has 2"),
        ({"a": 1}, [{"a": 1, "b": [True]}], "b[0] was true, this request has absent"),
        ({"a": "x", "b": 1}, [{"a": "y", "b": 2}, {"a": "y", "b": 1}], "a was 'y'"),
        (None, [{"a": 1}], "body was absent, this request has null"),
        (
            {"a": LONG + "dawn"},
            [{"a": LONG + "dusk"}],
            "'…n and again, until dusk', this request has '…n and again, until dawn'",
        ),
        ({"a": LONG}, [{"a": "T"}], "was 'T', this request has 'The quick"),
        ({"b": 1, "a": 1}, [{"a": 1, "b": 1}], "the same values in another structure"),
    ],
)
def test_the_first_difference_is_shown_from_the_nearest(
    here: Any, recorded: list[Any], said: str
) -> None:
    """Only the surroundings of the difference, however long the prompt."""
    assert said in first_difference(here, recorded)


def test_the_source_is_at_hand() -> None:
    """Figures take their note from it."""
    assert transport().source is SOURCE


def test_the_replay_log_appends_to_a_file_of_its_own(tmp_path: Path) -> None:
    """Several processes can write to one folder."""
    log = ReplayLog(tmp_path, "01_x")
    log(3)
    log(None)
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("01_x.")
    assert file.read_text("utf-8") == "3\nmiss\n"
