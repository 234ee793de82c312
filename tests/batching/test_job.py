"""patterns.batching.job: submit, wait, resume, cancel, price; again after anything."""

import math
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from anthropic import PermissionDeniedError
from anthropic.types import Usage
from batching_worker import PATH, api_of, job_on, request, requests_of

from patterns.batching import BatchJob, JobStatus, StillRunning
from patterns.batching.api import BatchGone
from patterns.batching.job import NotSubmitted
from patterns.core.models import SONNET
from patterns.core.pricing import cost_usd
from patterns.fake_api import FakeAPI, Fault

HOUR = 3_600
POLLS = f"{PATH}/msgbatch"


def test_waiting_looks_less_and_less_often_and_tells_the_time() -> None:
    """Counts stay zero until the end, so the status speaks of time."""
    api, clock = api_of(1)
    seen: list[JobStatus] = []

    with job_on(api) as job:
        job.submit(requests_of(5))
        job.wait(progress=seen.append)
    assert seen[-1].ended == 1
    polls = [entry for entry in api.journal if entry.path.startswith(POLLS)][:-2]
    gaps = [b.at - a.at for a, b in pairwise(polls)]
    assert gaps[:3] == pytest.approx([5, 7.5, 11.25])
    assert max(gaps) == pytest.approx(60)
    assert len(gaps) < 75
    assert seen[20].elapsed == pytest.approx(polls[20].at - clock.start)
    assert seen[20].left == pytest.approx(24 * HOUR - seen[20].elapsed)
    assert seen[20].share == pytest.approx(seen[20].elapsed / (24 * HOUR))
    assert (seen[0].shards, seen[0].submitted, seen[0].ended) == (1, 1, 0)
    assert (seen[0].elapsed, seen[-1].elapsed, seen[-1].left) == (0, 0, 0)


def test_waiting_survives_an_outage() -> None:
    """429, 5xx and disconnects are waited out."""
    api, _ = api_of()
    with job_on(api) as job:
        job.submit(requests_of(5))
        api.add_faults(
            Fault.status(429, path=POLLS, requests=2, retry_after=90),
            Fault.status(503, path=POLLS, requests={3, 4}),
            Fault.disconnect(path=POLLS, requests=5),
        )
        assert job.wait().ended == 1


def test_waiting_can_end_before_the_batch_and_go_on() -> None:
    """With the status in the error, and not later than asked."""
    api, clock = api_of(2)
    with job_on(api) as job:
        job.submit(requests_of(5))
        with pytest.raises(StillRunning, match="1 of 1 batches still run after 3,600") as caught:
            job.wait(timeout=HOUR)
        assert caught.value.status.requests == 5
        assert clock.elapsed == pytest.approx(HOUR)
        assert job.wait().ended == 1


def test_an_outage_does_not_outlast_the_time_to_wait() -> None:
    """The API may be patient for an hour; the caller gave a minute."""
    api, clock = api_of()
    with job_on(api) as job:
        job.submit(requests_of(5))
        api.add_faults(Fault.status(503, path=POLLS))
        with pytest.raises(StillRunning):
            job.wait(timeout=60)
        assert clock.elapsed <= 61


def test_what_the_api_refuses_is_raised_also_while_time_is_short() -> None:
    """A key without the permission does not come right by itself."""
    api, _ = api_of()
    with job_on(api) as job:
        job.submit(requests_of(5))
        api.add_faults(Fault.status(403, path=POLLS, times=2))
        for timeout in (60, math.inf):
            with pytest.raises(PermissionDeniedError):
                job.wait(timeout=timeout)
        assert job.wait().ended == 1


def test_waiting_for_what_is_not_submitted_is_an_error() -> None:
    """It would never end."""
    api, _ = api_of()
    with job_on(api) as job:
        with pytest.raises(NotSubmitted, match=r"0 batch\(es\) are not submitted"):
            job.wait()
        job.plan(requests_of(5))
        with pytest.raises(NotSubmitted, match=r"1 batch\(es\) are not submitted"):
            job.wait()
    assert not api.journal


def test_waiting_sends_what_a_crash_left_unsent(tmp_path: Path) -> None:
    """The second batch was never sent: it is, by whoever waits."""
    api, _ = api_of()
    api.add_faults(Fault.status(403, path=PATH, requests=4))
    with job_on(api, tmp_path / "j", most_requests=3) as job:
        with pytest.raises(PermissionDeniedError):
            job.submit(requests_of(5))
        assert [shard.state for shard in job.shards] == ["submitted", "planned"]
    with job_on(api, tmp_path / "j") as job:
        assert job.wait().outcomes == {"succeeded": 5}


def test_cost_is_summed_by_service_tier() -> None:
    """Half of what plain calls would have cost; without a price it is counted, not zero."""
    api, _ = api_of()
    with job_on(api) as job:
        job.submit([*requests_of(3), request(3, max_tokens="x")])
        job.wait()
        usages = [result.usage for result in job.results() if result.usage]
        cost = job.cost()
        plain = [each.model_copy(update={"service_tier": "standard"}) for each in usages]
        assert cost.usd == sum(cost_usd(SONNET, each) or Decimal(0) for each in plain) / 2
        assert cost.by_tier == {"batch": cost.usd}
        assert cost.unpriced == 0


def test_a_model_without_a_price_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never as zero dollars."""
    api, _ = api_of()
    monkeypatch.setattr("patterns.batching.results.cost_usd", lambda model, usage: None)
    with job_on(api) as job:
        job.submit(requests_of(2))
        job.wait()
        assert job.cost().unpriced == 2
        assert job.cost().usd == 0
        assert isinstance(next(job.results()).usage, Usage)


def test_each_step_can_be_taken_by_another_process(tmp_path: Path) -> None:
    """The file is all that is needed."""
    api, _ = api_of()
    steps: tuple[Callable[[BatchJob], Any], ...] = (
        lambda job: job.plan(requests_of(25)),
        lambda job: job.submit(),
        lambda job: job.wait(),
        lambda job: job.results(),
    )
    nonces = set()
    for step in steps:
        with job_on(api, tmp_path / "j", most_requests=10) as job:
            step(job)
            nonces.add(job.nonce)
    with job_on(api, tmp_path / "j") as job:
        assert [result.index for result in job.results()] == list(range(25))
        assert job.status().share == 1.0
    assert len(nonces) == 1
    assert sum(each.method == "POST" for each in api.journal) == 3


def test_a_problem_with_one_batch_does_not_lose_the_others() -> None:
    """They are stored before it is raised."""
    api, clock = api_of()
    with job_on(api, most_requests=10) as job:
        first, _ = job.submit(requests_of(20))
        clock.advance(2 * HOUR)
        api.client().messages.batches.delete(first.batch_id or "")
        with pytest.raises(BatchGone, match="the API does not know it; resume"):
            job.wait()
        assert [result.index for result in job.results()] == list(range(10, 20))


def test_the_clock_of_the_machine_is_the_default(tmp_path: Path) -> None:
    """Outside of tests nobody passes one."""
    with BatchJob(FakeAPI(batch_seconds=0).client(), tmp_path / "j") as job:
        job.submit(requests_of(2))
        job.wait()
        assert len(list(job.results())) == 2


def test_a_status_says_the_time_and_the_batches() -> None:
    """Never a share of requests, which nobody knows."""
    api, _ = api_of(6)
    with job_on(api) as job:
        job.plan(requests_of(2))
        said = [str(job.status())]
        job.submit()
        job.wait(progress=lambda status: said.append(str(status)))
    planned, *running, ended = said
    assert planned == "0 of 1 batches ended"
    assert running[0] == "0 of 1 batches ended, 0% of the time is over, 24:00 h are left"
    assert "0 of 1 batches ended, 12% of the time is over, 21:00 h are left" in running
    assert ended == "1 of 1 batches ended"


@pytest.mark.parametrize("wrong_by", [-2 * HOUR, 2 * HOUR, 30 * HOUR])
def test_a_clock_that_goes_wrong_only_changes_what_is_shown(wrong_by: float) -> None:
    """Set back or forward in the middle of the job: between 0 and 100 %, and the same answers."""
    api, clock = api_of(1)
    now = [0.0]
    timed: Any = {"clock": lambda: clock.now() + now[0], "sleep": clock.sleep}
    seen: list[JobStatus] = []
    with BatchJob(api.client(), "", **timed) as job:
        job.submit(requests_of(3))
        now[0] = wrong_by
        assert job.wait(progress=seen.append).outcomes == {"succeeded": 3}
    assert all(status.elapsed >= 0 and status.left >= 0 for status in seen)
    assert all(0 <= status.share <= 1 for status in seen)
    assert (seen[0].elapsed == 0) == (wrong_by < 0)
    assert (seen[0].left == 0) == (wrong_by > 24 * HOUR)
    assert sum(entry.method == "POST" for entry in api.journal) == 1


NONSENSE: list[dict[str, Any]] = [
    {"patience": float("nan")},
    {"patience": -1.0},
    {"settle": float("nan")},
    {"settle": -0.1},
    {"every": 0.0},
    {"every": float("nan")},
    {"nonce": "mine"},
    {"nonce": "0123456789ABCDEF"},
    {"nonce": "0123456789abcdef0"},
]


@pytest.mark.parametrize("options", NONSENSE, ids=str)
def test_options_that_make_no_sense_are_refused(options: Any, tmp_path: Path) -> None:
    """Before a file is made; with the value and what is allowed."""
    (name,) = options
    with pytest.raises(ValueError, match=rf"{name} is|{name} -?[n0-9]"):
        BatchJob(FakeAPI().client(), tmp_path / "j", **options)
    assert not (tmp_path / "j").exists()


def test_a_wait_that_is_no_number_is_refused_and_one_that_is_over_looks_once() -> None:
    """Not a number would be never."""
    api, clock = api_of()
    with job_on(api) as job:
        job.submit(requests_of(3))
        with pytest.raises(ValueError, match="timeout is nan"):
            job.wait(timeout=float("nan"))
        for over in (0, -5):
            with pytest.raises(StillRunning):
                job.wait(timeout=over)
            api.add_faults(Fault.status(503, path=POLLS, times=1))
            with pytest.raises(StillRunning):
                job.wait(timeout=over)
        assert clock.elapsed == 0
        clock.advance(HOUR)
        assert job.wait(timeout=0).outcomes == {"succeeded": 3}


def test_an_async_client_is_told_apart_at_once() -> None:
    """Its calls would be no answers, for an hour."""
    with pytest.raises(TypeError, match=r"takes Anthropic\(\), also in async code"):
        BatchJob(FakeAPI().async_client(), "")  # type: ignore[arg-type]


def test_cancelling_stops_what_runs_and_keeps_what_is_done() -> None:
    """A batch that ends at that very moment is no error."""
    api, clock = api_of(1)
    with job_on(api, most_requests=10) as job:
        job.submit(requests_of(20))
        clock.advance(HOUR / 2)
        api.add_faults(Fault.status(400, path=f"{PATH}/{job.shards[0].batch_id}/cancel"))
        assert job.cancel() == tuple(shard.batch_id for shard in job.shards)
        job.wait()
        outcomes = Counter(result.outcome for result in job.results())
        assert outcomes == {"succeeded": 15, "canceled": 5} == job.status().outcomes
        assert job.cancel() == ()


def test_a_batch_that_is_gone_does_not_keep_the_others_from_being_cancelled() -> None:
    """Somebody has deleted it: there is nothing to stop."""
    api, clock = api_of(1)
    with job_on(api, most_requests=2) as job:
        first, second = job.submit(requests_of(4))
        api.add_faults(Fault.status(404, path=f"{PATH}/{first.batch_id}/cancel"))
        assert job.cancel() == (first.batch_id, second.batch_id)
        asked = [entry.path for entry in api.journal if entry.path.endswith("/cancel")]
        assert asked[-1] == f"{PATH}/{second.batch_id}/cancel"
        assert clock.elapsed < 120
