"""patterns.batching.submission: each batch is created once, whatever becomes of the answer."""

import socket
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from anthropic import (
    Anthropic,
    APIConnectionError,
    BadRequestError,
    ConflictError,
    InternalServerError,
    RateLimitError,
)
from batching_worker import PATH, api_of, created, job_on, own_id, request, requests_of

from patterns.batching import BatchJob
from patterns.fake_api import FakeAPI, Fault, VirtualClock
from patterns.fake_api.wire.http import Answer


def is_create(body: Any) -> bool:
    """Creates have a body; lists and looks have none."""
    return body is not None


def creates(fault: Fault, times: int | None = 1) -> Fault:
    """The same for creates only."""
    return Fault(fault.damage, fault.error, is_create, PATH, times)


def api_with(*faults: Fault) -> FakeAPI:
    """A fake API in virtual time, with faults of its creates."""
    api, _ = api_of()
    api.add_faults(*faults)
    return api


def posts(api: FakeAPI) -> list[int]:
    """The status of each create."""
    return [e.status for e in api.journal if (e.method, e.path) == ("POST", PATH)]


def answered(status: int, body: bytes, kind: str = "application/json") -> Fault:
    """The batch is made, and its answer is replaced."""

    def replace(answer: Answer) -> None:
        answer.status, answer.body = status, body
        answer.headers["content-type"] = kind

    return creates(Fault(replace))


ERROR = b'{"type":"error","error":{"type":"api_error"}}'
LOST = {
    "disconnect": creates(Fault.disconnect()),
    "hang": creates(Fault.hang()),
    "500 after it was made": answered(500, ERROR),
    "409 after it was made": answered(409, ERROR),
    "499 after it was made": answered(499, ERROR),
    "half the answer": creates(Fault.truncated_json()),
    "an empty answer": answered(200, b"{}"),
    "no object": answered(200, b'["yes"]'),
    "a page of HTML": answered(200, b"<html>Sign in</html>", "text/html"),
    "a page that is said to be JSON": answered(200, b"<html>Sign in</html>"),
}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST)
def test_a_lost_answer_does_not_make_a_second_batch(fault: Fault, tmp_path: Path) -> None:
    """The question stays open until the batch has ended and its results say whose it is."""
    api = api_with(fault)
    with job_on(api, tmp_path / "j") as job:
        (shard,) = job.submit(requests_of(5))
        assert (shard.state, shard.batch_id) == ("sending", None)
        assert job.wait().outcomes == {"succeeded": 5}
        assert job.shards[0].batch_id is not None
    assert len(posts(api)) == 1
    assert [entry for entry in api.journal if entry.path.endswith("/cancel")] == []


def test_submitting_again_settles_what_is_open() -> None:
    """Without waiting for anything, once the batch has ended."""
    api = api_with(creates(Fault.disconnect()))
    with job_on(api) as job:
        job.submit(requests_of(5))
        job._api.sleep(2 * 3_600)
        assert [shard.state for shard in job.submit()] == ["submitted"]
    assert len(posts(api)) == 1


def test_the_other_batches_go_on_while_one_is_open() -> None:
    """An answer that got lost holds up nothing else."""
    api = api_with(creates(Fault.disconnect()))
    with job_on(api, most_requests=2) as job:
        assert [s.state for s in job.submit(requests_of(5))] == ["sending", *["submitted"] * 2]
        assert job.wait().outcomes == {"succeeded": 5}
    assert set(created(api).values()) == {1}


def test_an_error_before_the_batch_was_made_sends_it_again_after_settling() -> None:
    """Only when the list has shown nothing for long enough."""
    api = api_with(creates(Fault.status(529)))
    with job_on(api, settle=60) as job:
        (shard,) = job.submit(requests_of(5))
    first, second = (entry for entry in api.journal if entry.method == "POST")
    assert (first.status, second.status, shard.state) == (529, 200, "submitted")
    assert second.at - first.at >= 60


def test_a_batch_that_shows_late_is_found_while_settling() -> None:
    """The API may still be working on the create of a process that has died."""
    api = api_with(creates(Fault.disconnect()))
    hidden = Fault(_empty_list, path=PATH, requests={3, 4, 5})
    api.add_faults(hidden)
    with job_on(api, settle=60, every=5) as job:
        (shard,) = job.submit(requests_of(5))
        assert shard.state == "sending"
        assert job.wait().outcomes == {"succeeded": 5}
    assert len(posts(api)) == 1


def _empty_list(answer: Answer) -> None:
    answer.body = b'{"data":[],"has_more":false,"first_id":null,"last_id":null}'


def test_a_first_look_into_results_that_breaks_off_decides_nothing() -> None:
    """Neither that the batch is ours nor that it is not."""
    api = api_with(creates(Fault.disconnect()))

    def cut(answer: Answer) -> None:
        if not isinstance(answer.body, bytes) and not cuts.count(1) > 2:
            cuts.append(1)
            answer.body = []

    cuts: list[int] = []
    api.add_faults(Fault(cut, path=f"{PATH}/msgbatch"))
    with job_on(api) as job:
        job.submit(requests_of(5))
        assert job.wait().outcomes == {"succeeded": 5}
    assert (len(cuts), len(posts(api))) == (3, 1)


def theirs(count: int) -> list[Any]:
    """Requests of somebody else with the same ids."""
    return [request(n, system="theirs") for n in range(count)]


def test_batches_that_cannot_be_ours_are_not_waited_for() -> None:
    """Older ones, and those of another size."""
    api, _ = api_of(10)
    create = api.client().messages.batches.create
    create(requests=theirs(5))

    def meanwhile(body: Any) -> bool:
        if body is None or made:
            return False
        made.append(1)
        return bool(create(requests=theirs(4)))

    made: list[int] = []

    api.add_faults(Fault(error=Fault.status(500).error, path=PATH, requests=meanwhile, times=1))
    with job_on(api) as job:
        assert job.submit(requests_of(5))[0].state == "submitted"


def test_a_strangers_batch_of_the_same_size_and_moment_is_let_go() -> None:
    """It is looked at when it has ended; then ours is sent, and theirs was not touched."""
    api, clock = api_of(1)
    made: list[str] = []

    def meanwhile(body: Any) -> bool:
        if body is None or made:
            return False
        made.append("")
        made[0] = api.client().messages.batches.create(requests=theirs(5)).id
        return True

    api.add_faults(Fault(error=Fault.status(500).error, path=PATH, requests=meanwhile, times=1))
    with job_on(api) as job:
        assert job.submit(requests_of(5))[0].state == "sending"
        assert job.cancel() == ()
        job.resume()
        assert job.wait().outcomes == {"succeeded": 5}
        texts = [result.message.content[0].to_json() for result in job.results() if result.message]
        assert job.shards[0].batch_id != made[0]
    assert not any("theirs" in text for text in texts)
    assert 3_600 < clock.elapsed < 3 * 3_600


def test_a_429_sends_it_again_at_once_and_as_late_as_asked() -> None:
    """It was refused for certain: there is nothing to look for."""
    api = api_with(creates(Fault.status(429, retry_after=20), times=2))
    with job_on(api) as job:
        job.submit(requests_of(5))
    assert posts(api) == [429, 429, 200]
    first, _, last = (entry.at for entry in api.journal if entry.method == "POST")
    assert 40 <= last - first < 45


REFUSED = {
    "400": (Fault.status(400), BadRequestError),
    "spend limit": (Fault.spend_limit(), RateLimitError),
}


@pytest.mark.parametrize(("fault", "error"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_raised_and_the_batch_stays_planned(fault: Fault, error: Any) -> None:
    """Nothing is retried that cannot succeed; what is repaired goes on."""
    api = api_with(creates(fault))
    with job_on(api, most_requests=3) as job:
        with pytest.raises(error):
            job.submit(requests_of(5))
        assert [shard.state for shard in job.shards] == ["planned", "planned"]
        assert [shard.state for shard in job.submit()] == ["submitted", "submitted"]


@pytest.mark.parametrize(("status", "error"), [(500, InternalServerError), (409, ConflictError)])
def test_an_api_that_stays_down_is_given_up_and_the_question_stays_open(
    status: int, error: Any
) -> None:
    """The next run settles it."""
    api = api_with(creates(Fault.status(status), times=None))
    with job_on(api, patience=300.0) as job:
        with pytest.raises(error):
            job.submit(requests_of(5))
        assert job.shards[0].state == "sending"
        assert 300 <= api.clock.now() - api.journal[0].at < 400


def test_a_connection_that_was_never_made_leaves_nothing_open() -> None:
    """No byte of the create went out."""
    clock = VirtualClock()
    client = Anthropic(api_key="x", base_url=f"http://127.0.0.1:{_closed_port()}")
    with BatchJob(client, "", clock=clock.now, sleep=clock.sleep, patience=5.0) as job:
        with pytest.raises(APIConnectionError):
            job.submit(requests_of(2))
        assert job.shards[0].state == "planned"
    client.close()


def _closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_the_body_is_streamed_with_its_exact_length_and_our_ids_on_it() -> None:
    """So that memory stays flat, and a create that was cut off is no batch."""
    api, _ = api_of()
    with job_on(api) as job:
        (shard,) = job.submit(requests_of(2_000))
        (post,) = (entry for entry in api.journal if entry.method == "POST")
        assert post.headers["content-length"] == str(shard.size)
        assert "transfer-encoding" not in post.headers
        sent = post.body["requests"]
        assert all(each["custom_id"].startswith(f"{job.nonce}-1-") for each in sent)
    assert [{**each, "custom_id": own_id(each["custom_id"])} for each in sent] == list(
        requests_of(2_000)
    )


def test_a_clock_that_is_set_forward_does_not_end_the_looking_early() -> None:
    """A minute is a minute of pauses: the batch that shows after half of it is found."""
    api = api_with(creates(Fault.disconnect()))
    api.add_faults(Fault(_empty_list, path=PATH, requests=range(3, 9)))
    clock = api.clock
    ahead = [0.0]

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        ahead[0] += 7_200

    with BatchJob(api.client(), "", clock=lambda: clock.now() + ahead[0], sleep=sleep) as job:
        job.submit(requests_of(5))
        assert job.wait().outcomes == {"succeeded": 5}
    assert len(posts(api)) == 1


def test_a_worker_that_slept_through_its_lease_stops_the_batch_that_it_made_in_vain(
    tmp_path: Path,
) -> None:
    """Another one had taken over and sent the shard: of two batches one is stopped."""
    api, clock = api_of()
    url = f"sqlite:///{tmp_path / 'jobs'}"
    timed: Any = {"clock": clock.now, "sleep": clock.sleep}
    taken: list[str | None] = []

    def asleep(call: Any, call_next: Any) -> Any:
        if call.method == "post" and not taken:
            taken.append(None)
            with BatchJob(api.client(), url, **timed) as second:
                taken[0] = second.submit()[0].batch_id
        return call_next(call)

    with BatchJob(api.client(middleware=[asleep]), url, **timed) as job:
        job.submit(requests_of(5))
        assert job.wait().outcomes == {"succeeded": 5}
        assert [shard.batch_id for shard in job.shards] == taken
    made = list(api.client().messages.batches.list())
    assert len(made) == 2
    assert [batch.id for batch in made if batch.cancel_initiated_at is None] == taken


def test_refusals_that_name_no_time_are_tried_again_after_doubling_pauses() -> None:
    """Half a second at first, less the jitter; counted anew for each batch."""
    api = api_with(creates(Fault.status(429), times=3))
    with job_on(api, draw=lambda: 0.0) as job:
        job.submit(requests_of(5))
    at = [entry.at for entry in api.journal if entry.method == "POST"]
    assert [b - a for a, b in pairwise(at)] == pytest.approx([0.25, 0.5, 1.0])


@pytest.mark.parametrize("left", ["canceled", "expired"])
def test_a_lost_batch_is_known_by_its_size_however_its_requests_ended(left: str) -> None:
    """Succeeded, errored, canceled and expired ones count alike; those under way as well."""
    api, clock = api_of(30)
    api.add_faults(creates(Fault.disconnect()))
    odd = [request(n, max_tokens="x") if n % 10 == 9 else request(n) for n in range(20)]
    with job_on(api) as job:
        assert job.submit(odd)[0].state == "sending"
        clock.advance(15 * 3_600)
        if left == "canceled":
            (batch,) = api.client().messages.batches.list()
            api.client().messages.batches.cancel(batch.id)
        outcomes = job.wait().outcomes
    assert set(outcomes) == {"succeeded", "errored", left}
    assert sum(outcomes.values()) == 20
    assert len(posts(api)) == 1
