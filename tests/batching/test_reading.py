"""patterns.batching.reading: every id once, whatever the stream does; the good first."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batching_worker import PATH, api_of, job_on, requests_of

from patterns.batching import BatchJob
from patterns.batching.reading import PASSES, ResultsIncomplete
from patterns.batching.results import parse
from patterns.fake_api import FakeAPI, Fault
from patterns.fake_api.wire.http import Answer

RESULTS = f"{PATH}/msgbatch"


def submitted(api: FakeAPI, journal: Path | str = "", count: int = 50) -> BatchJob:
    """A job whose batch has ended and was not looked at yet."""
    job = job_on(api, journal)
    job.submit(requests_of(count))
    api.clock.sleep(3_600)
    return job


def on_lines(damage: Callable[[Answer], None] | None, times: int | None = None) -> Fault:
    """Damage that only concerns streams; looks at the batch have the same paths."""
    left = [times]

    def maybe(answer: Answer) -> None:
        if not isinstance(answer.body, bytes) and damage is not None and left[0] != 0:
            left[0] = left[0] and left[0] - 1
            damage(answer)

    return Fault(maybe, path=RESULTS)


def with_lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Answer], None]:
    """Damage that replaces the lines."""

    def damage(answer: Answer) -> None:
        assert not isinstance(answer.body, bytes)
        answer.body = change([bytes(line) for line in answer.body if isinstance(line, bytes)])

    return damage


def page(answer: Answer) -> None:
    """A proxy's page in place of the results."""
    answer.body = b"<html><body>\nSign in\n</body></html>"
    answer.headers["content-type"] = "text/html; charset=utf-8"


def unlabelled_page(answer: Answer) -> None:
    """The same, said to be JSON lines."""
    answer.body = b"<html><body>\nSign in\n</body></html>"


ONCE = {
    "lines twice": (Fault.duplicated(every=3).damage, 1),
    "small pieces": (Fault.chunked(7).damage, 1),
    "a byte order mark": (with_lines(lambda lines: [b"\xef\xbb\xbf" + lines[0], *lines[1:]]), 1),
    "blank lines": (with_lines(lambda lines: [b"\n", *lines, b"\r\n"]), 1),
    "a broken connection": (Fault.disconnect(after=30).damage, 2),
    "a clean end": (with_lines(lambda lines: lines[:20]), 2),
    "a clean end in the middle of a line": (with_lines(lambda ls: [*ls[:20], ls[20][:40]]), 2),
    "a page of HTML": (page, 1),  # the call itself is made again
    "a page of HTML that is said to be lines": (unlabelled_page, 2),
    "a line of rubbish for one of ours": (with_lines(lambda lines: [b"{]\n", *lines[1:]]), 2),
    "nothing at all": (with_lines(lambda lines: []), 2),
}


@pytest.mark.parametrize(("damage", "passes"), ONCE.values(), ids=ONCE)
def test_what_happens_to_a_stream_once_is_got_over(damage: Any, passes: int) -> None:
    """Every id once, in the order of the requests, as often read as need be."""
    api, _ = api_of()
    job = submitted(api)
    api.add_faults(on_lines(damage, times=1))
    assert job.wait().outcomes == {"succeeded": 50}
    assert [result.custom_id for result in job.results()] == [f"job-{n}" for n in range(50)]
    assert [result.index for result in job.results()] == list(range(50))
    assert job.readings[1].passes == passes
    assert job.readings[1].stored == 50
    job.close()


def test_lines_that_come_again_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored is kept, in chunks of any size."""
    monkeypatch.setattr("patterns.batching.reading.CHUNK", 2_000)
    api, _ = api_of()
    job = submitted(api, tmp_path / "j")
    api.add_faults(on_lines(Fault.duplicated(every=3).damage, times=1))
    job.wait()
    report = job.readings[1]
    assert (report.stored, report.repeated, report.passes, report.examples) == (50, 16, 1, [])
    job.close()


def test_a_cut_stream_is_read_again_from_its_start_and_goes_on_where_it_was(
    tmp_path: Path,
) -> None:
    """Also in another process, after any number of cuts."""
    api, _ = api_of()
    job = submitted(api, tmp_path / "j")
    api.add_faults(on_lines(Fault.disconnect(after=30).damage))
    with pytest.raises(ResultsIncomplete):
        job.wait()
    assert job.readings[1].passes == 1 + PASSES
    assert len(list(job.results())) == 30
    job.close()
    with job_on(api, tmp_path / "j") as again, pytest.raises(ResultsIncomplete) as caught:
        again.wait()
    assert len(caught.value.missing) == 3
    assert "and 19 others." in str(caught.value)


def test_malformed_lines_are_told_after_everything_good_is_stored() -> None:
    """With their number and beginning; the first results of another batch count as well."""
    api, _ = api_of()
    job = submitted(api)

    def damage(lines: list[bytes]) -> list[bytes]:
        stranger = json.loads(lines[0])
        stranger["custom_id"] = "who-1"
        return [json.dumps(stranger).encode() + b"\n", b'{"custom_id": "jo\n', *lines[2:]]

    api.add_faults(on_lines(with_lines(damage), times=6))
    with pytest.raises(ResultsIncomplete, match="Line 1 is malformed") as caught:
        job.wait()
    assert [number for number, _ in caught.value.malformed] == [1, 2]
    assert "who-1" in caught.value.malformed[0][1]
    assert len(list(job.results())) == 48
    assert job.wait().outcomes == {"succeeded": 50}
    job.close()


def test_of_many_malformed_lines_the_first_are_shown() -> None:
    """The message stays short, and nothing is waited for longer than five readings."""
    api, clock = api_of()
    job = submitted(api)
    before = clock.elapsed
    api.add_faults(on_lines(with_lines(lambda lines: [b"nonsense" * 20 + b"\n"] * 40)))
    with pytest.raises(ResultsIncomplete, match="no result for 'job-0' and 49 others") as caught:
        job.wait()
    assert len(caught.value.malformed) == 10
    assert job.readings[1].examples == [(n, "nonsense" * 10) for n in range(1, 11)]
    assert clock.elapsed - before == pytest.approx(1 + 2 + 4 + 8 + 16, abs=1)
    job.close()


def test_a_crash_after_the_last_result_loses_and_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run sees that everything is there."""
    api, _ = api_of()
    job = submitted(api, tmp_path / "j", 5)
    with monkeypatch.context() as patched:
        patched.setattr("patterns.batching.store.JobStore.mark_collected", _die)
        with pytest.raises(KeyboardInterrupt):
            job.wait()
    assert job.wait().outcomes == {"succeeded": 5}
    assert job.readings[1].passes == 0
    job.close()


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_errors_of_the_api_while_reading_pass() -> None:
    """429, 5xx and a disconnect before the first byte."""
    api, _ = api_of()
    job = submitted(api)
    api.add_faults(
        Fault.status(429, path=RESULTS, requests=1, retry_after=3),
        Fault.status(500, path=RESULTS, requests=3),
        Fault.disconnect(path=RESULTS, requests=5),
    )
    assert job.wait().outcomes == {"succeeded": 50}
    job.close()


def test_what_was_read_before_the_process_died_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the last piece: no more than that is in memory at once."""
    monkeypatch.setattr("patterns.batching.reading.CHUNK", 2_000)
    api, _ = api_of()
    job = submitted(api)
    parsed: list[bytes] = []

    def mortal(text: bytes) -> Any:
        parsed.append(text)
        if len(parsed) == 40:
            raise KeyboardInterrupt
        return parse(text)

    with monkeypatch.context() as patched:
        patched.setattr("patterns.batching.reading.parse", mortal)
        with pytest.raises(KeyboardInterrupt):
            job.wait()
    unsaved = 39 - len(list(job.results()))
    assert sum(map(len, parsed[39 - unsaved : 39])) < 2_000
    assert job.wait().outcomes == {"succeeded": 50}
    job.close()
