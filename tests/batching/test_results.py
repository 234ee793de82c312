"""patterns.batching.results: what a line says, whatever it looks like."""

import json
from typing import Any

import pytest
from batching_worker import api_of, job_on, request
from hypothesis import given
from hypothesis import strategies as st

from patterns.batching.results import Line, lines_of, parse
from patterns.fake_api import Replies


@given(st.lists(st.text(st.characters(exclude_characters="\n"), max_size=8)), st.integers(1, 7))
def test_lines_are_split_at_newlines_only_wherever_the_pieces_end(
    lines: list[str], size: int
) -> None:
    """U+2028, U+0085 and the like are text."""
    kept = [line.encode("utf-8", "replace") for line in lines]
    data = b"\n".join(kept)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    bare = [line.removeprefix(b"\xef\xbb\xbf").strip() for line in kept]
    assert list(lines_of(pieces)) == [line for line in bare if line]


def test_a_byte_order_mark_is_no_part_of_a_line() -> None:
    """Proxies and editors put one before the first."""
    assert list(lines_of([b"\xef\xbb", b"\xbf{}\n", b"[]"])) == [b"{}", b"[]"]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[1]",
        b"null",
        b'{"custom_id": "a"}',
        b'{"custom_id": 1, "result": {"type": "expired"}}',
        b'{"custom_id": "a", "result": {"type": 5}}',
        b'{"custom_id": "a", "result": {"type": "succeeded"}}',
        b'{"custom_id": "a", "result": {"type": "succeeded", "message": 1}}',
        b"<html><body>Sign in</body></html>",
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_no_result_is_told_apart(line: bytes) -> None:
    """And raises nothing."""
    assert parse(line) is None


REASONS: list[tuple[Any, str, str]] = [
    ({"type": "expired"}, "expired", "expired"),
    ({"type": "lost_in_space"}, "lost_in_space", "lost_in_space"),
    ({"type": "errored"}, "errored", "unknown_error"),
    ({"type": "errored", "error": None}, "errored", "unknown_error"),
    ({"type": "errored", "error": {"error": None}}, "errored", "unknown_error"),
    ({"type": "errored", "error": {"error": {}}}, "errored", "unknown_error"),
    ({"type": "errored", "error": {"error": {"type": "api_error"}}}, "errored", "api_error"),
    ({"type": "succeeded", "message": {}}, "succeeded", "succeeded"),
    ({"type": "new\x00\ud800"}, r"'new\x00\ud800'", r"'new\x00\ud800'"),
    ({"type": "errored", "error": {"error": {"type": "\ud800"}}}, "errored", r"'\ud800'"),
]


@pytest.mark.parametrize(("result", "outcome", "reason"), REASONS)
def test_what_a_later_api_may_send_is_a_result_too(result: Any, outcome: str, reason: str) -> None:
    """Unknown types keep their name, and an error without its inside has a name as well."""
    text = json.dumps({"custom_id": "a", "result": result}).encode()
    assert parse(text) == Line("a", outcome, reason)


def test_a_result_gives_its_message_error_usage_and_cost() -> None:
    """Parsed when asked for; what did not succeed costs nothing."""
    wrong: Any = request(2, max_tokens="many")
    api, _ = api_of()
    with job_on(api) as job:
        job.submit([request(0), request(1, model="claude-none"), wrong])
        job.wait()
        good, unknown, bad = job.results()
        batch_id = job.shards[0].batch_id
    assert (good.index, good.custom_id, good.outcome) == (0, "job-0", "succeeded")
    assert good.batch_id == batch_id
    assert good.message is not None
    assert good.message.content[0].type == "text"
    assert good.usage is not None
    assert good.usage.service_tier == "batch"
    assert good.cost is not None
    assert 0 < good.cost < 0.001
    assert (good.error, bad.message, bad.usage) == (None, None, None)
    assert bad.cost == 0
    assert bad.error is not None
    assert bad.error.type == "invalid_request_error"
    assert "max_tokens" in bad.error.message
    assert bad.error.request_id is not None
    assert unknown.error is not None
    assert "line" not in repr(good)


def test_text_with_line_separators_of_all_kinds_survives() -> None:
    """An answer may hold U+2028."""
    text = "one\u2028two\x85three\nfour"
    api, _ = api_of(replies=Replies.of({"reply": [{"text": text}]}))
    with job_on(api) as job:
        job.submit([request(0)])
        job.wait()
        (result,) = job.results()
        assert result.message is not None
        assert json.loads(result.message.content[0].to_json())["text"] == text
