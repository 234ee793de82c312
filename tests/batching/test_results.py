"""patterns.batching.results: every id once, whatever the stream does; the good first."""

import json
from pathlib import Path
from typing import Any

import pytest
from batching_worker import PATH, job_on, request, requests_of
from hypothesis import given
from hypothesis import strategies as st

from patterns.batching import (
    BatchGone,
    BatchJob,
    MalformedResults,
    ResultsIncomplete,
)
from patterns.batching.results import lines_of, parse
from patterns.fake_api import FakeAPI, Fault, Replies, VirtualClock
from patterns.fake_api.wire.http import Answer

RESULTS = f"{PATH}/msgbatch"


def ended(api: FakeAPI, journal: Path | str = "", count: int = 50) -> BatchJob:
    """A job whose batches have ended."""
    job = job_on(api, journal)
    job.submit(requests_of(count))
    job.wait()
    return job


def on_lines(fault: Fault) -> Fault:
    """A fault that only concerns streams; `wait` reads the same paths."""

    def damage(answer: Answer) -> None:
        if not isinstance(answer.body, bytes) and fault.damage is not None:
            fault.damage(answer)

    return Fault(damage, path=RESULTS)


@given(st.lists(st.text(st.characters(exclude_characters="\n"), max_size=8)), st.integers(1, 7))
def test_lines_are_split_at_newlines_only_wherever_the_pieces_end(
    lines: list[str], size: int
) -> None:
    """U+2028, U+0085 and the like are text."""
    kept = [line.encode("utf-8", "replace") for line in lines]
    data = b"\n".join(kept)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert list(lines_of(pieces)) == [line.strip() for line in kept if line.strip()]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[1]",
        b"null",
        b'{"custom_id": "a"}',
        b'{"custom_id": 1, "result": {"type": "expired"}}',
        b'{"custom_id": "a", "result": {"type": "lost"}}',
        b'{"custom_id": "a", "result": {"type": "errored"}}',
        b'{"custom_id": "a", "result": {"type": "succeeded", "message": 1}}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_no_result_is_told_apart(line: bytes) -> None:
    """And raises nothing."""
    assert parse(line) is None


def test_every_id_comes_once_in_the_order_of_the_requests() -> None:
    """Under shuffled results, duplicated lines and small pieces."""
    api = FakeAPI(clock=VirtualClock())
    job = ended(api)
    api.add_faults(on_lines(Fault.duplicated(every=3)), on_lines(Fault.chunked(7)))
    (report,) = job.collect()
    assert (report.stored, report.duplicates, report.passes, report.lines) == (50, 16, 1, 66)
    results = list(job.results())
    assert [result.custom_id for result in results] == [f"job-{n}" for n in range(50)]
    assert [result.index for result in results] == list(range(50))
    job.close()


def test_a_cut_connection_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was stored is kept; lines that come again are no duplicates, in chunks of any size."""
    monkeypatch.setattr("patterns.batching.results.CHUNK", 2_000)
    api = FakeAPI(clock=VirtualClock())
    job = ended(api, tmp_path / "j")
    api.add_faults(Fault.disconnect(after=30, path=RESULTS, requests=2))
    (report,) = job.collect()
    assert (report.stored, report.duplicates, report.passes) == (50, 0, 2)
    job.close()


def test_a_stream_that_always_breaks_off_is_given_up() -> None:
    """Without a new result five times in a row."""
    api = FakeAPI(clock=VirtualClock())
    job = ended(api)
    api.add_faults(on_lines(Fault.disconnect(after=30)))
    with pytest.raises(ResultsIncomplete, match="no result for 'job-") as caught:
        job.collect()
    assert len(list(job.stored())) == 30
    assert len(caught.value.missing) == 3
    job.close()


def test_a_stream_that_ends_early_is_not_complete() -> None:
    """Two readings that are whole and bring nothing new are enough."""
    api = FakeAPI(clock=VirtualClock())
    job = ended(api)

    def short(answer: Answer) -> None:
        if not isinstance(answer.body, bytes):
            answer.body = list(answer.body)[:20]

    api.add_faults(Fault(short, path=RESULTS))
    with pytest.raises(ResultsIncomplete):
        job.collect()
    assert len(list(job.stored())) == 20
    job.close()


def test_malformed_lines_are_told_after_everything_good_is_stored() -> None:
    """With their number and beginning; the first results of another batch count as well."""
    api = FakeAPI(clock=VirtualClock())
    job = ended(api)

    def damage(answer: Answer) -> None:
        if not isinstance(answer.body, bytes):
            first, _, *rest = answer.body
            assert isinstance(first, bytes)
            stranger = first.replace(b'"custom_id":"job-', b'"custom_id":"who-')
            answer.body = [stranger, b'{"custom_id": "jo', b"\n", *rest]

    api.add_faults(Fault(damage, path=RESULTS, times=2))
    with pytest.raises(MalformedResults, match=r"2 malformed line\(s\)") as caught:
        job.collect()
    assert {text[:17] for _, text in caught.value.lines} == {
        '{"custom_id": "jo',
        '{"custom_id":"who',
    }
    assert len(list(job.stored())) == 48
    assert len(list(job.results())) == 50
    job.close()


def test_many_malformed_lines_are_counted_and_some_shown() -> None:
    """The message stays short."""
    api = FakeAPI(clock=VirtualClock())
    job = ended(api)

    def garbage(answer: Answer) -> None:
        if not isinstance(answer.body, bytes):
            answer.body = [b"nonsense\n"] * 40

    api.add_faults(Fault(garbage, path=RESULTS))
    with pytest.raises(MalformedResults, match=r"40 malformed line\(s\), first line 1") as caught:
        job.collect()
    assert len(caught.value.lines) == 10
    job.close()


def test_a_deleted_batch_and_results_no_longer_kept_are_told_apart_from_others(
    tmp_path: Path,
) -> None:
    """And can be sent again, if one wants to pay again."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock)
    job = ended(api, tmp_path / "j", 5)
    first = job.shards[0].batch_id or ""
    clock.advance(30 * 86_400)
    with pytest.raises(BatchGone, match=r"kept no more \(29 days\); resubmit"):
        job.collect()
    api.client().messages.batches.delete(first)
    with pytest.raises(BatchGone, match="the API does not know it"):
        job.collect()
    job.resubmit(first)
    job.submit()
    job.wait()
    assert len(list(job.results())) == 5
    job.close()


def test_a_crash_after_the_last_result_loses_and_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resubmitting a batch of which everything is stored has nothing left to send."""
    api = FakeAPI(clock=VirtualClock())
    job = ended(api, tmp_path / "j", 5)
    with monkeypatch.context() as patched:
        patched.setattr("patterns.batching.journal.Journal.mark_collected", _die)
        with pytest.raises(KeyboardInterrupt):
            job.collect()
    job.resubmit(job.shards[0].batch_id or "")
    assert [shard.state for shard in job.submit()] == ["collected"]
    assert len(list(job.results())) == 5
    job.close()


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_errors_of_the_api_while_reading_pass() -> None:
    """429, 5xx and a disconnect before the first byte."""
    api = FakeAPI(clock=VirtualClock())
    job = ended(api)
    api.add_faults(
        Fault.status(429, path=RESULTS, requests=1, retry_after=3),
        Fault.status(500, path=RESULTS, requests=3),
        Fault.disconnect(path=RESULTS, requests=5),
    )
    assert len(list(job.results())) == 50
    job.close()


def test_other_errors_of_the_api_are_raised_as_they_are() -> None:
    """A key without the permission, for one."""
    from anthropic import PermissionDeniedError

    api = FakeAPI(clock=VirtualClock())
    job = ended(api)
    api.add_faults(Fault.status(403, path=RESULTS))
    with pytest.raises(PermissionDeniedError):
        job.collect()
    job.close()


def test_a_result_gives_its_message_error_usage_and_cost() -> None:
    """Parsed when asked for; what did not succeed costs nothing."""
    wrong: Any = request(2, max_tokens="many")
    job = job_on(FakeAPI(clock=VirtualClock()), "")
    job.submit([request(0), request(1, model="claude-none"), wrong])
    job.wait()
    good, unknown, bad = job.results()
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
    assert bad.error.request_id is not None
    assert unknown.error is not None
    assert "line" not in repr(good)
    job.close()


def test_text_with_line_separators_of_all_kinds_survives() -> None:
    """An answer may hold U+2028."""
    text = "one\u2028two\x85three\nfour"
    replies = Replies.of({"reply": [{"text": text}]})
    job = ended(FakeAPI(clock=VirtualClock(), replies=replies), count=1)
    (result,) = job.results()
    assert result.message is not None
    assert json.loads(result.message.content[0].to_json())["text"] == text
    job.close()
