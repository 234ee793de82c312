"""BatchJob.resume: however a job ended, one call goes on, and what is answered is kept."""

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from anthropic import APIError, BadRequestError, RateLimitError
from batching_worker import PATH, api_of, created, job_on, request, requests_of

from patterns.batching import RESUMABLE
from patterns.batching.api import BatchGone
from patterns.fake_api import Fault, Replies

HOUR = 3_600


def test_four_outcomes_from_one_job(tmp_path: Path) -> None:
    """Succeeded, errored, expired, canceled; what may succeed is sent again, the rest if asked."""
    api, clock = api_of(30)
    with job_on(api, tmp_path / "j", most_requests=10) as job:
        odd = [request(n, max_tokens="x") if n % 10 == 9 else request(n) for n in range(20)]
        first, _ = job.submit(odd)
        clock.advance(15 * HOUR)
        api.client().messages.batches.cancel(first.batch_id or "")
        outcomes = job.wait().outcomes
        assert set(outcomes) == {"succeeded", "errored", "expired", "canceled"}
        answers = {r.custom_id: r.line for r in job.results() if r.outcome == "succeeded"}
        resumed = job.resume()
        assert resumed.again == {"expired": outcomes["expired"]}
        assert resumed.kept == 20 - outcomes["expired"]
        assert [shard.requests for shard in resumed.shards] == [outcomes["expired"]]
        clock.advance(25 * HOUR)
        assert job.wait().outcomes["canceled"] == outcomes["canceled"]
        assert job.resume({"canceled"}).again == {"canceled": outcomes["canceled"]}
        now = {result.custom_id: result.line for result in job.results()}
        assert answers.items() <= now.items()


def test_transient_errors_are_sent_again_and_invalid_requests_only_if_asked() -> None:
    """The same invalid request would fail again."""
    busy = {"contains": "Question 1", "status": 529, "times": 1}
    api, _ = api_of(replies=Replies.of({"reply": [busy, {"text": "ok"}]}))
    with job_on(api) as job:
        job.submit([request(0, max_tokens="x"), request(1), request(2)])
        job.wait()
        assert [result.outcome for result in job.results()] == ["errored", "errored", "succeeded"]
        assert job.resume().again == {"overloaded_error": 1}
        job.wait()
        ends = [result.outcome for result in job.results()]
        assert ends == ["errored", "succeeded", "succeeded"]
        nothing = job.resume()
        assert (nothing.kept, nothing.again, nothing.shards) == (3, {}, ())
        assert job.resume({"invalid_request_error"}).again == {"invalid_request_error": 1}
    assert created(api) == {"job-0": 2, "job-1": 2, "job-2": 1}


CREDIT = [
    ("billing_error", "no credit"),
    ("invalid_request_error", "Your credit balance is too low to access the Claude API."),
]


@pytest.mark.parametrize(("kind", "message"), CREDIT)
def test_credit_that_was_exhausted_is_a_reason_to_send_it_again(kind: str, message: str) -> None:
    """Whatever the API calls it; what succeeded before is not paid again."""
    api, _ = api_of()
    with job_on(api) as job:
        job.submit(requests_of(4))
        api.add_faults(Fault(broke(kind, message), path=f"{PATH}/msgbatch"))
        assert job.wait().outcomes == {"errored": 2, "succeeded": 2}
        assert job.resume().again == {"billing_error": 2}
    assert sum(created(api).values()) == 6


def broke(kind: str, message: str) -> Any:
    """Damage that makes two of the results errors of that kind."""

    def damage(answer: Any) -> None:
        if not isinstance(answer.body, bytes):
            lines = [json.loads(line) for line in answer.body]
            for line in lines[:2]:
                error = {"type": "error", "error": {"type": kind, "message": message}}
                line["result"] = {"type": "errored", "error": error}
            answer.body = [json.dumps(line).encode() + b"\n" for line in lines]

    return damage


def test_a_half_submitted_job_can_be_cancelled_and_gone_on_with() -> None:
    """What was not sent is not sent; the answers that came are kept, and only the rest is paid."""
    api, _ = api_of()
    api.add_faults(Fault.status(400, path=PATH, requests=4))
    with job_on(api, most_requests=10) as job:
        with pytest.raises(BadRequestError):
            job.submit(requests_of(25))
        api.clock.sleep(HOUR)
        job.cancel()
        assert job.submit() == job.shards  # sends nothing: it is cancelled
        assert job.wait().outcomes == {"canceled": 15, "succeeded": 10}
        unsent = [result for result in job.results() if result.outcome == "canceled"]
        assert {result.batch_id for result in unsent} == {None}
        assert [(r.cost, r.error, r.message) for r in unsent] == [(Decimal(0), None, None)] * 15
        resumed = job.resume({*RESUMABLE, "canceled"})
        assert (resumed.kept, resumed.again) == (10, {"canceled": 15})
        assert job.wait().outcomes == {"succeeded": 25}
    assert set(created(api).values()) == {1}


def test_a_spend_limit_that_was_raised_is_gone_on_from() -> None:
    """The batch is not sent while nobody knows when; submit() later pays for it once."""
    api, _ = api_of()
    api.add_faults(Fault.spend_limit(path=PATH, requests=2))
    with job_on(api) as job:
        with pytest.raises(RateLimitError):
            job.submit(requests_of(5))
        job.submit()
        assert job.wait().outcomes == {"succeeded": 5}
    assert set(created(api).values()) == {1}


UNKNOWN = {
    "it was not made": (Fault.status(500, path=PATH, requests=2), "canceled"),
    "it was made": (Fault.disconnect(path=PATH, requests=2), "succeeded"),
}


@pytest.mark.parametrize(("fault", "outcome"), UNKNOWN.values(), ids=UNKNOWN)
def test_a_create_that_may_have_worked_is_not_sent_again_after_a_cancel(
    fault: Fault, outcome: str
) -> None:
    """Whether its batch exists is found out all the same."""
    api, _ = api_of()
    api.add_faults(fault)
    with job_on(api, patience=0.0) as job:
        with pytest.raises(APIError):
            job.submit(requests_of(5))
        assert job.shards[0].state == "sending"
        assert job.cancel() == ()
        assert job.wait().outcomes == {outcome: 5}
    assert sum(entry.method == "POST" for entry in api.journal) == 1


def test_a_deleted_batch_and_results_no_longer_kept_can_be_sent_again() -> None:
    """If one wants to pay again; what was stored before stays."""
    api, clock = api_of()
    with job_on(api, most_requests=5) as job:
        deleted, _ = job.submit(requests_of(10))
        clock.advance(2 * HOUR)
        api.client().messages.batches.delete(deleted.batch_id or "")
        with pytest.raises(BatchGone, match="the API does not know it"):
            job.wait()
        assert job.resume().again == {}
        assert job.resume({"gone"}).again == {"gone": 5}
        assert job.wait().outcomes == {"succeeded": 10}
    assert Counter(created(api).values()) == {1: 5, 2: 5}
    with job_on(api) as job:
        job.submit(requests_of(5))
        clock.advance(30 * 86_400)
        with pytest.raises(BatchGone, match=r"kept no more \(29 days\); resume"):
            job.wait()
        assert job.resume({"gone"}).again == {"gone": 5}
        assert job.wait().ended == 2
        assert [result.outcome for result in job.results()] == ["succeeded"] * 5


@pytest.mark.parametrize("times", [1, 5])
def test_a_404_right_after_a_create_is_waited_out(times: int) -> None:
    """The API may not show everywhere yet what it has just made."""
    api, _ = api_of()
    with job_on(api) as job:
        job.submit(requests_of(5))
        before = api.clock.now()
        api.add_faults(Fault.status(404, path=f"{PATH}/msgbatch", times=times))
        assert job.wait().outcomes == {"succeeded": 5}
    late = [entry for entry in api.journal if entry.status == 404]
    assert (len(late), late[-1].at - before < 60) == (times, True)


def test_batches_that_are_there_are_not_gone() -> None:
    """Running or ended, they are waited for and not paid again."""
    api, clock = api_of()
    with job_on(api, most_requests=3) as job:
        job.submit(requests_of(6))
        assert job.resume({"gone"}).again == {}
        clock.advance(2 * HOUR)
        assert job.resume({"gone"}).again == {}
        assert job.wait().outcomes == {"succeeded": 6}
    assert set(created(api).values()) == {1}


def test_a_batch_without_results_is_left_alone_while_others_run_on() -> None:
    """It is told at the end, once."""
    api, clock = api_of()
    with job_on(api, most_requests=3) as job:
        first, _ = job.submit(requests_of(6))
        gone = f"{PATH}/{first.batch_id}"
        api.add_faults(Fault.status(404, path=gone))
        with pytest.raises(BatchGone):
            job.wait()
        assert job.status().outcomes == {"succeeded": 3}
    assert clock.elapsed > HOUR


def test_a_strangers_batch_that_was_deleted_is_not_ours() -> None:
    """Its results cannot be read, so ours is sent."""
    api, clock = api_of()
    api.add_faults(Fault.disconnect(path=PATH, requests=2))
    with job_on(api) as job:
        job.submit(requests_of(5))
        (made,) = api.client().messages.batches.list().data
        clock.advance(2 * HOUR)
        api.add_faults(Fault.status(404, path=f"{PATH}/{made.id}"))
        assert job.wait().outcomes == {"succeeded": 5}
    assert set(created(api).values()) == {2}
