"""patterns.batching.submission: each batch is created once, whatever becomes of the answer."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anthropic import (
    Anthropic,
    APIConnectionError,
    BadRequestError,
    InternalServerError,
    Middleware,
    RateLimitError,
)
from batching_worker import PATH, created, job_on, request, requests_of

from patterns.batching import BatchJob, Window
from patterns.fake_api import FakeAPI, Fault, VirtualClock
from patterns.fake_api.wire.http import Answer


def api_with(*faults: Fault) -> FakeAPI:
    """A fake API in virtual time."""
    return FakeAPI(clock=VirtualClock(), faults=faults)


def posts(api: FakeAPI) -> list[int]:
    """The status of each create."""
    return [e.status for e in api.journal if (e.method, e.path) == ("POST", PATH)]


def lost(status: int) -> Fault:
    """The batch is made, and its answer is replaced by an error of a proxy."""

    def replace(answer: Answer) -> None:
        answer.status, answer.body = status, b'{"type":"error","error":{"type":"api_error"}}'

    return Fault(replace, path=PATH, requests=1)


def garbled(body: bytes) -> Fault:
    """The batch is made, and its answer cannot be read."""

    def replace(answer: Answer) -> None:
        answer.body = body

    return Fault(replace, path=PATH, requests=1)


LOST = {
    "disconnect": Fault.disconnect(path=PATH, requests=1),
    "hang": Fault.hang(path=PATH, requests=1),
    "500 after it was made": lost(500),
    "half the answer": Fault.truncated_json(path=PATH, requests=1),
    "an empty answer": garbled(b"{}"),
}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST)
def test_a_lost_answer_does_not_make_a_second_batch(fault: Fault, tmp_path: Path) -> None:
    """The list of batches shows the one that was made; its results prove that it is ours."""
    api = api_with(fault)
    with job_on(api, tmp_path / "j") as job:
        (shard,) = job.submit(requests_of(5))
        assert (shard.state, shard.sure) == ("submitted", False)
        job.wait()
        assert len(list(job.results())) == 5
        assert job.shards[0].sure
    assert len(posts(api)) == 1


def test_an_error_before_the_batch_was_made_sends_it_again_after_settling() -> None:
    """Only when the list has shown nothing for long enough."""
    api = api_with(Fault.status(529, path=PATH, requests=1))
    with job_on(api, "", window=Window(settle=60)) as job:
        (shard,) = job.submit(requests_of(5))
    assert posts(api) == [529, 200]
    assert api.journal[-1].at - api.journal[0].at >= 60
    assert shard.sure


def test_a_batch_that_shows_late_is_found_while_settling() -> None:
    """The API may still be working on the create of a process that has died."""
    api = api_with(Fault.disconnect(path=PATH, requests=1))
    hidden = Fault(_empty_list, path=PATH, requests={2, 3, 4})
    api.add_faults(hidden)
    with job_on(api, "", window=Window(settle=60, every=5)) as job:
        (shard,) = job.submit(requests_of(5))
    assert shard.batch_id is not None
    assert len(posts(api)) == 1
    assert len(api.journal) == 5


def _empty_list(answer: Answer) -> None:
    answer.body = b'{"data":[],"has_more":false,"first_id":null,"last_id":null}'


def test_a_process_that_died_while_sending_is_settled_by_the_next_one(tmp_path: Path) -> None:
    """The journal knows that a create went out, and since when."""
    api = api_with()

    class Dies(Middleware):
        def handle(self, request: Any, call_next: Callable[[Any], Any]) -> Any:
            call_next(request)
            raise KeyboardInterrupt

    clock: Any = api.clock
    options = {"clock": clock.now, "sleep": clock.sleep, "most_requests": 3}
    client = api.client(middleware=[Dies()])
    with BatchJob(client, tmp_path / "j", **options) as job, pytest.raises(KeyboardInterrupt):
        job.submit(requests_of(5))
    with job_on(api, tmp_path / "j", most_requests=3) as job:
        assert [shard.state for shard in job.shards] == ["sending", "planned"]
        assert [shard.sure for shard in job.submit(requests_of(5))] == [False, True]
    assert set(created(api).values()) == {1}
    assert len(created(api)) == 5


def test_somebody_elses_batch_of_the_same_size_is_released_when_it_is_read(
    tmp_path: Path,
) -> None:
    """Its ids are not ours: the search goes on, and the shard is sent again."""
    api = api_with(Fault.status(500, path=PATH, requests=2))
    theirs: list[Any] = [{**request(n), "custom_id": f"theirs-{n}"} for n in range(5)]
    with job_on(api, tmp_path / "theirs") as other, job_on(api, tmp_path / "ours") as job:
        (stranger,) = other.submit(theirs)
        (shard,) = job.submit(requests_of(5))
        assert (shard.batch_id, shard.sure) == (stranger.batch_id, False)
        assert job.cancel() == ()
        job.wait()
        assert [result.custom_id for result in job.results()] == [f"job-{n}" for n in range(5)]
        other.wait()
        assert len(list(other.results())) == 5
    assert posts(api) == [200, 500, 200]


def test_the_nearest_candidate_in_time_comes_first_and_old_or_other_ones_never() -> None:
    """By size, by age, and by whom they belong to."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock)
    client = api.client()
    client.messages.batches.create(requests=requests_of(5))
    clock.advance(400)
    client.messages.batches.create(requests=requests_of(5))
    client.messages.batches.create(requests=requests_of(4))
    clock.advance(100)
    api.add_faults(Fault.disconnect(path=PATH, requests=1))
    with job_on(api, "") as job:
        (shard,) = job.submit(requests_of(5))
        assert shard.created_at == shard.since


def test_a_429_sends_it_again_at_once_and_as_late_as_asked() -> None:
    """It was refused for certain: there is nothing to look for."""
    api = api_with(Fault.status(429, path=PATH, times=2, retry_after=20))
    with job_on(api, "") as job:
        job.submit(requests_of(5))
    assert posts(api) == [429, 429, 200]
    assert api.journal[-1].at - api.journal[0].at >= 40


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Fault.status(400), BadRequestError), (Fault.spend_limit(), RateLimitError)],
)
def test_a_refusal_is_raised_and_the_shard_stays_planned(fault: Fault, error: Any) -> None:
    """Nothing is retried that cannot succeed; what is repaired goes on."""
    api = FakeAPI(clock=VirtualClock(), faults=[Fault(**{**vars(fault), "times": 1})])
    with job_on(api, "", most_requests=3) as job:
        with pytest.raises(error):
            job.submit(requests_of(5))
        assert [shard.state for shard in job.shards] == ["planned", "planned"]
        assert [shard.state for shard in job.submit()] == ["submitted", "submitted"]


def test_an_api_that_stays_down_is_given_up_and_the_question_stays_open() -> None:
    """The next run settles it."""
    api = api_with(Fault.status(500, path=PATH, requests=lambda body: body is not None))
    with job_on(api, "", patience=300.0) as job:
        with pytest.raises(InternalServerError):
            job.submit(requests_of(5))
        assert job.shards[0].state == "sending"


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


def test_the_body_is_streamed_with_its_exact_length() -> None:
    """So that memory stays flat, and a create that was cut off is no batch."""
    api = api_with()
    with job_on(api, "") as job:
        (shard,) = job.submit(requests_of(2_000))
    assert api.journal[0].headers["content-length"] == str(shard.size)
    assert "transfer-encoding" not in api.journal[0].headers
    assert api.journal[0].body == {"requests": list(requests_of(2_000))}
