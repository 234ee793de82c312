"""patterns.batching.api: patient, and sure of what came."""

from pathlib import Path
from typing import Any

import pytest
from anthropic import APIConnectionError, BadRequestError, InternalServerError
from batching_worker import PATH, api_of, request, requests_of

from patterns.batching import BatchJob
from patterns.batching.api import BatchAPI, BatchGone, NoBatch
from patterns.fake_api import FakeAPI, Fault, VirtualClock
from patterns.fake_api.wire.http import Answer
from patterns.policy import (
    AuditLog,
    PIIMiddleware,
    PolicyDenied,
    Principal,
    Rule,
    acting_for,
    guarded,
)


def calls(**options: Any) -> tuple[FakeAPI, BatchAPI, VirtualClock, str]:
    """A fake API, the calls to it, its clock, and a batch that it has."""
    api, clock = api_of()
    batch = api.client().messages.batches.create(requests=requests_of(3))
    options = {"clock": clock.now, "sleep": clock.sleep, "draw": lambda: 0.0, **options}
    return api, BatchAPI(api.client(), **options), clock, batch.id


def test_pauses_double_and_the_apis_wish_wins() -> None:
    """Half a second at first, half a minute at most, or what `retry-after` says."""
    api, batches, clock, batch_id = calls()
    asked = Fault.status(429, path=PATH, requests=1, retry_after=30)
    api.add_faults(asked, Fault.status(500, path=PATH, requests={2, 3, 4}))
    assert batches.batch(batch_id).id == batch_id
    assert clock.elapsed == pytest.approx(30 + 0.5 + 1 + 2)


def test_an_outage_is_given_up_when_patience_is_over_and_not_later() -> None:
    """Although the last pause would have been longer."""
    api, batches, clock, batch_id = calls(patience=100.0)
    api.add_faults(Fault.status(500, path=PATH))
    with pytest.raises(InternalServerError):
        batches.batch(batch_id)
    assert clock.elapsed == pytest.approx(100)


def test_a_404_is_believed_after_settling() -> None:
    """Asked every five seconds for a minute."""
    api, batches, clock, _ = calls()
    with pytest.raises(BatchGone):
        batches.batch("msgbatch_none")
    assert clock.elapsed == pytest.approx(60)
    assert sum(entry.status == 404 for entry in api.journal) == 13


def test_an_error_that_comes_back_the_same_is_raised_at_once() -> None:
    """Waiting would change nothing."""
    api, batches, clock, batch_id = calls()
    api.add_faults(Fault.status(400, path=PATH))
    with pytest.raises(BadRequestError):
        batches.batch(batch_id)
    assert clock.elapsed == 0


def replaced(body: bytes, kind: str = "application/json") -> Fault:
    """An answer with status 200 that is something else."""

    def damage(answer: Answer) -> None:
        answer.body = body
        answer.headers["content-type"] = kind

    return Fault(damage, path=PATH, times=1)


OTHERS = {
    "a page": replaced(b"<html></html>", "text/html"),
    "a text": replaced(b"try later", "text/plain; charset=utf-8"),
    "an empty object": replaced(b"{}"),
    "a list": replaced(b"[]"),
    "no JSON": replaced(b"<html></html>"),
    "null": replaced(b"null"),
    "a batch without its times": replaced(b'{"id": "msgbatch_1", "processing_status": "ended"}'),
    "a batch with half of them": replaced(
        b'{"id": "msgbatch_1", "created_at": "2026-11-27T07:00:00Z", "expires_at": "later"}'
    ),
}


@pytest.mark.parametrize("fault", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("call", ["batch", "newest", "since", "results"])
def test_what_is_no_answer_is_asked_for_again(fault: Fault, call: str) -> None:
    """A batch, the list of batches, and their results: nothing else is taken for them."""
    api, batches, clock, batch_id = calls()
    clock.sleep(3_600)
    api.add_faults(fault)
    if call == "batch":
        assert batches.batch(batch_id).id == batch_id
    elif call == "newest":
        assert batches.newest() in (batch_id, None)
    elif call == "since":
        assert [each.id for each in batches.since(None)] in ([batch_id], [])
    else:
        lines = list(batches.results(batch_id).http_response.iter_lines())
        assert len(lines) == 3


def test_results_are_asked_for_again_when_the_sdks_own_look_got_no_answer() -> None:
    """It retrieves the batch once more."""
    api, batches, clock, batch_id = calls()
    clock.sleep(3_600)
    api.add_faults(Fault(replaced(b"{}").damage, path=PATH, requests=2))
    assert len(list(batches.results(batch_id).http_response.iter_lines())) == 3


def test_what_stays_no_answer_is_told() -> None:
    """With the beginning of what came."""
    api, batches, _, batch_id = calls(patience=0.0)
    api.add_faults(replaced(b"{}"))
    with pytest.raises(NoBatch, match="the API's answer is no batch"):
        batches.batch(batch_id)
    api.add_faults(replaced(b"[]"))
    with pytest.raises(NoBatch, match="no list of batches"):
        batches.newest()
    api.add_faults(replaced(b"<p>", "text/html"))
    with pytest.raises(APIConnectionError, match="text/html came with status 200, perhaps"):
        batches.batch(batch_id)


def test_batches_are_listed_until_the_one_that_is_known() -> None:
    """Newest first, over pages."""
    api, batches, _, first = calls()
    assert batches.newest() == first
    made = [api.client().messages.batches.create(requests=requests_of(1)).id for _ in range(120)]
    assert batches.newest() == made[-1]
    assert [batch.id for batch in batches.since(first)] == made[::-1]
    assert len(batches.since(None)) == 121


def test_a_guarded_client_makes_batches_that_its_policies_have_read(tmp_path: Path) -> None:
    """Permission, screening and redaction see every request of the batch."""
    api, clock = api_of()
    log = AuditLog(tmp_path / "audit.db", b"k" * 32)
    rules = [Rule("staff", "messages.batches.*", max_tokens=8192)]
    client = guarded(
        api.client(), log=log, user_key=b"u" * 32, rules=rules, privacy=PIIMiddleware()
    )
    mail = [{"role": "user", "content": "Write to ada@example.com"}]
    own = acting_for(client, Principal("night", frozenset({"staff"})))
    with BatchJob(own, tmp_path / "job.db", clock=clock.now, sleep=clock.sleep) as job:
        job.submit([request(0, messages=mail), request(1)])
        job.wait()
        assert [result.outcome for result in job.results()] == ["succeeded"] * 2
    [created] = [entry for entry in api.journal if entry.method == "POST"]
    assert "ada@example.com" not in str(created.body)
    other = acting_for(client, Principal("ada", frozenset({"customer"})))
    with BatchJob(other, tmp_path / "other.db") as job, pytest.raises(PolicyDenied):
        job.submit([request(0)])
