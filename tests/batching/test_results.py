"""patterns.batching.results: what a line says, whatever it looks like."""

import json
from typing import Any

import pytest
from batching_worker import PATH, api_of, job_on, request
from hypothesis import given
from hypothesis import strategies as st

from patterns.batching.results import BatchResult, Line, lines_of, parse
from patterns.batching.status import cost_of
from patterns.core.messages import text_of
from patterns.core.models import SONNET
from patterns.core.pricing import cost_usd
from patterns.fake_api import Fault, Replies


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


USAGES: list[Any] = [None, {}, "text", {"input_tokens": "many"}, {"input_tokens": -1}, [1]]


@pytest.mark.parametrize("usage", USAGES, ids=str)
def test_a_usage_that_cannot_be_read_is_unpriced_and_loses_nothing_else(usage: Any) -> None:
    """The answer is there, and the others of the job have their price."""
    api, _ = api_of()

    def strange(answer: Any) -> None:
        if not isinstance(answer.body, bytes):
            lines = [json.loads(line) for line in answer.body]
            lines[0]["result"]["message"]["usage"] = usage
            answer.body = [json.dumps(line).encode() + b"\n" for line in lines]

    with job_on(api) as job:
        job.submit([request(0), request(1)])
        api.add_faults(Fault(strange, path=f"{PATH}/msgbatch"))
        job.wait()
        texts = [text_of(each.message) for each in job.results() if each.message]
        assert len(texts) == 2
        assert (job.cost().unpriced, len(job.cost().by_tier)) == (1, 1)
        assert job.cost().usd > 0


def test_standard_is_what_a_result_without_a_tier_was_billed_as() -> None:
    """Its price is the full one."""
    message = {"model": SONNET, "content": [], "usage": {"input_tokens": 10, "output_tokens": 10}}
    line = json.dumps({"custom_id": "a", "result": {"type": "succeeded", "message": message}})
    result = BatchResult(0, "a", "succeeded", "msgbatch_1", line.encode())
    assert cost_of([result]).by_tier == {"standard": cost_usd(SONNET, message["usage"])}
