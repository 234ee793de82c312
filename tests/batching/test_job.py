"""patterns.batching.job: submit, wait, collect, retry, cancel, price; again after anything."""

import io
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import Usage
from batching_worker import PATH, job_on, request, requests_of

from patterns.batching import (
    BadRequest,
    BatchGone,
    BatchJob,
    NotSubmitted,
    StillRunning,
    TimeBar,
)
from patterns.batching.job import JobStatus
from patterns.core.models import SONNET
from patterns.core.pricing import cost_usd
from patterns.fake_api import FakeAPI, Fault, Replies, VirtualClock

HOUR = 3_600


def api_of(hours: float = 1.0, **options: Any) -> tuple[FakeAPI, VirtualClock]:
    """A fake API whose batches take that long."""
    clock = VirtualClock()
    return FakeAPI(clock=clock, batch_seconds=hours * HOUR, **options), clock


def test_waiting_looks_less_and_less_often_and_tells_the_time() -> None:
    """Counts stay zero until the end, so the status speaks of time."""
    api, clock = api_of(1)
    seen: list[JobStatus] = []

    class Notes:
        def show(self, status: JobStatus) -> None:
            seen.append(status)

        def close(self) -> None:
            assert seen[-1].ended == 1

    with job_on(api, "") as job:
        job.submit(requests_of(5))
        job.wait(progress=Notes())
    gaps = [b.at - a.at for a, b in zip(api.journal[1:-1], api.journal[2:], strict=True)]
    assert gaps[:3] == pytest.approx([5, 7.5, 11.25])
    assert max(gaps) == pytest.approx(60)
    assert len(gaps) < 75
    assert seen[20].elapsed == pytest.approx(api.journal[21].at - clock.start)
    assert seen[20].share == pytest.approx(seen[20].elapsed / (24 * HOUR))


def test_waiting_survives_an_outage() -> None:
    """429, 5xx and disconnects are waited out."""
    api, _ = api_of()
    with job_on(api, "") as job:
        job.submit(requests_of(5))
        polls = f"{PATH}/msgbatch"
        api.add_faults(
            Fault.status(429, path=polls, requests=2, retry_after=90),
            Fault.status(503, path=polls, requests={3, 4}),
            Fault.disconnect(path=polls, requests=5),
        )
        assert job.wait().ended == 1


def test_waiting_can_end_before_the_batch_and_go_on() -> None:
    """With the status in the error."""
    api, _ = api_of(2)
    with job_on(api, "") as job:
        job.submit(requests_of(5))
        with pytest.raises(StillRunning, match="1 of 1 batches still run after 3,6") as caught:
            job.wait(timeout=HOUR)
        assert caught.value.status.requests == 5
        assert job.wait().ended == 1


def test_waiting_for_what_is_not_submitted_is_an_error() -> None:
    """It would never end."""
    api, _ = api_of()
    with job_on(api, "") as job:
        job.plan(requests_of(5))
        with pytest.raises(NotSubmitted, match=r"1 batch\(es\) are not submitted"):
            job.wait()


def test_a_batch_deleted_on_the_server_is_told_while_waiting() -> None:
    """With the way on; another id is refused."""
    api, clock = api_of()
    with job_on(api, "") as job:
        (shard,) = job.submit(requests_of(5))
        clock.advance(2 * HOUR)
        api.client().messages.batches.delete(shard.batch_id or "")
        with pytest.raises(BatchGone, match="the API does not know it; resubmit"):
            job.wait()
        with pytest.raises(BadRequest, match="no running or ended batch of this job is 'other'"):
            job.resubmit("other")
        job.resubmit(shard.batch_id or "")
        assert [s.state for s in job.submit()] == ["collected", "submitted"]


def test_four_outcomes_from_one_job(tmp_path: Path) -> None:
    """Succeeded, errored, expired, canceled; retries take what may succeed."""
    api, clock = api_of(30)
    with job_on(api, tmp_path / "j", most_requests=10) as job:
        odd = [request(n, max_tokens="x") if n % 10 == 9 else request(n) for n in range(20)]
        first, _ = job.submit(odd)
        clock.advance(15 * HOUR)
        api.client().messages.batches.cancel(first.batch_id or "")
        job.wait()
        outcomes = Counter(result.outcome for result in job.results())
        assert set(outcomes) == {"succeeded", "errored", "expired", "canceled"}
        assert job.status().outcomes == outcomes
        assert job.retry_failed() == outcomes["expired"]
        clock.advance(25 * HOUR)
        job.wait()
        job.collect()
        assert job.status().outcomes["canceled"] == outcomes["canceled"]
        assert job.retry_failed(canceled=True) >= outcomes["canceled"]


def test_retries_take_transient_errors_and_never_invalid_requests_unless_asked() -> None:
    """The same invalid request would fail again."""
    busy = {"contains": "Question 1", "status": 529, "times": 1}
    replies = Replies.of({"reply": [busy, {"text": "ok"}]})
    api, _ = api_of(replies=replies)
    with job_on(api, "") as job:
        job.submit([request(0, max_tokens="x"), request(1), request(2)])
        job.wait()
        assert [result.outcome for result in job.results()] == ["errored", "errored", "succeeded"]
        assert job.retry_failed() == 1
        job.wait()
        assert [result.outcome for result in job.results()] == [
            "errored",
            "succeeded",
            "succeeded",
        ]
        assert job.retry_failed() == 0
        assert job.retry_failed(errors={"invalid_request_error"}) == 1
    sent = [each.body["requests"] for each in api.journal if each.method == "POST"]
    assert [[each["custom_id"] for each in batch] for batch in sent] == [
        ["job-0", "job-1", "job-2"],
        ["job-1"],
        ["job-0"],
    ]


def test_cancelling_stops_what_runs_and_keeps_what_is_done() -> None:
    """A batch that ends at that very moment is no error."""
    api, clock = api_of(1)
    with job_on(api, "", most_requests=10) as job:
        job.submit(requests_of(20))
        clock.advance(HOUR / 2)
        api.add_faults(Fault.status(400, path=f"{PATH}/{job.shards[0].batch_id}/cancel"))
        assert len(job.cancel()) == 2
        job.wait()
        outcomes = Counter(result.outcome for result in job.results())
        assert outcomes == {"succeeded": 15, "canceled": 5}
        assert job.cancel() == ()


def test_cost_is_summed_by_service_tier() -> None:
    """Half of what plain calls would have cost; without a price it is counted, not zero."""
    api, _ = api_of()
    with job_on(api, "") as job:
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
    with job_on(api, "") as job:
        job.submit(requests_of(2))
        job.wait()
        job.collect()
        assert job.cost().unpriced == 2
        assert job.cost().usd == 0
        assert isinstance(next(job.stored()).usage, Usage)


def test_each_step_can_be_taken_by_another_process(tmp_path: Path) -> None:
    """The journal is all that is needed."""
    api, _ = api_of()
    steps: tuple[Callable[[BatchJob], Any], ...] = (
        lambda job: job.plan(requests_of(25)),
        lambda job: job.submit(),
        lambda job: job.wait(),
        lambda job: job.collect(),
        lambda job: job.results(),
    )
    for step in steps:
        with job_on(api, tmp_path / "j", most_requests=10) as job:
            step(job)
    with job_on(api, tmp_path / "j") as job:
        assert len(list(job.stored())) == 25
        assert job.status().share == 1.0
    assert sum(each.method == "POST" for each in api.journal) == 3


def test_a_problem_with_one_batch_does_not_lose_the_others() -> None:
    """They are stored before it is raised."""
    api, clock = api_of()
    with job_on(api, "", most_requests=10) as job:
        first, _ = job.submit(requests_of(20))
        clock.advance(2 * HOUR)
        job.wait()
        api.client().messages.batches.delete(first.batch_id or "")
        with pytest.raises(BatchGone):
            job.results()
        assert len(list(job.stored())) == 10


def test_the_clock_of_the_machine_is_the_default(tmp_path: Path) -> None:
    """Outside of tests nobody passes one."""
    with BatchJob(FakeAPI(batch_seconds=0).client(), tmp_path / "j") as job:
        job.submit(requests_of(2))
        job.wait()
        assert len(list(job.results())) == 2


def test_the_bar_shows_time_and_batches() -> None:
    """Never a share of requests, which nobody knows."""
    api, _ = api_of(6)
    out = io.StringIO()
    with job_on(api, "") as job:
        job.submit(requests_of(2))
        job.wait(progress=TimeBar(file=out, mininterval=0))
    assert "12% of 24 h" in out.getvalue()
    assert "0 of 1 batches ended, expires in 20:" in out.getvalue()
    assert out.getvalue().rstrip().endswith("1 of 1 batches ended")
