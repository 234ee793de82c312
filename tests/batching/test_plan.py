"""patterns.batching.plan: lazily, by count and true bytes, ids checked on disk."""

import io
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from anthropic.types import Container, TextBlock
from batching_worker import job_on, request, requests_of
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.batching import BadRequest, plan_batches
from patterns.batching.plan import (
    CUSTOM_ID,
    NothingToSend,
    PlanChanged,
    fill,
)
from patterns.batching.store import BatchShard, JobStore
from patterns.fake_api import FakeAPI, VirtualClock


def changed(**fields: Any) -> Any:
    """A request that is not quite one."""
    return {**request(1), **fields}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


ids = st.text("abc-_09", min_size=1, max_size=64)


@settings(max_examples=40, deadline=None)
@given(asked=st.dictionaries(ids, texts, min_size=1, max_size=20), most=st.integers(1, 6))
def test_shards_hold_every_request_once_and_say_their_true_size(
    asked: dict[str, str], most: int
) -> None:
    """What is sent is JSON of exactly that many bytes, in order, and its ids are legal."""
    given_: list[Any] = [
        {**request(0, system=text), "custom_id": key} for key, text in asked.items()
    ]
    longest = max(len(json.dumps(each, ensure_ascii=False).encode()) for each in given_) + 64
    plan, store = JobStore(), JobStore()
    list(fill(plan, given_, most, 2 * longest))
    assert store.begin(plan, "0123456789abcdef")
    shards = store.shards()
    bodies = [b"".join(store.body(shard)) for shard in shards]
    assert [len(body) for body in bodies] == [shard.size for shard in shards]
    assert max(shard.size for shard in shards) <= 2 * longest
    sent = [json.loads(body)["requests"] for body in bodies]
    assert [len(each) for each in sent] == [shard.requests for shard in shards]
    assert max(shard.requests for shard in shards) <= most
    flat = [each for requests in sent for each in requests]
    assert [each["params"] for each in flat] == [each["params"] for each in given_]
    assert all(CUSTOM_ID.match(each["custom_id"]) for each in flat)
    assert len({each["custom_id"] for each in flat}) == len(given_)
    plan.close()
    store.close()


def test_the_size_of_a_shard_is_that_of_its_body() -> None:
    """To the byte: it is sent as the length."""
    with closing(JobStore()) as plan, closing(JobStore()) as store:
        list(fill(plan, requests_of(12), 11, 10_000))
        assert store.begin(plan, "0123456789abcdef")
        bodies = [b"".join(store.body(shard)) for shard in store.shards()]
        assert [len(body) for body in bodies] == [shard.size for shard in store.shards()]


def test_plan_is_lazy_and_sends_nothing() -> None:
    """A shard comes as soon as it is full, from an endless iterator too."""
    taken = 0

    def endless() -> Iterator[Any]:
        nonlocal taken
        while True:
            taken += 1
            yield request(taken)

    shards = plan_batches(endless(), most_requests=10)
    assert next(shards).requests == 10
    second = next(shards)
    assert second == BatchShard(2, 10, second.size)
    assert taken == 21
    shards.close()  # type: ignore[attr-defined]  # it is a generator


def test_bytes_decide_where_the_count_does_not() -> None:
    """A large request closes the shard before it."""
    asked = [request(1), request(2, system="x" * 5_000), request(3)]
    assert [shard.requests for shard in plan_batches(asked, most_bytes=5_400)] == [2, 1]
    assert [shard.requests for shard in plan_batches(asked, most_bytes=5_200)] == [1, 1, 1]


@pytest.mark.parametrize("custom_id", ["", "a b", "ü", "x" * 65, "a\n", None, 7])
def test_ids_that_the_api_refuses_are_refused_before_anything_is_sent(custom_id: Any) -> None:
    """With the place in the input."""
    with pytest.raises(BadRequest, match="request 1: custom_id is") as caught:
        list(plan_batches([request(0), changed(custom_id=custom_id)]))
    assert caught.value.position == 1


@pytest.mark.parametrize("wrong", [None, "text", 5])
def test_what_is_no_request_is_refused(wrong: Any) -> None:
    """Neither is one without an id."""
    with pytest.raises(BadRequest, match="custom_id is None"):
        list(plan_batches([wrong]))


def test_an_id_that_comes_twice_is_refused_also_in_another_shard() -> None:
    """Results of the whole job are joined on it."""
    asked = [*requests_of(25), request(3)]
    with pytest.raises(BadRequest, match="'job-3' comes twice") as caught:
        list(plan_batches(asked, most_requests=10))
    assert caught.value.position == 25


def test_a_request_larger_than_a_batch_is_refused() -> None:
    """It would fit nowhere."""
    with pytest.raises(BadRequest, match=r"a batch of 2,\d+ bytes; shorten it to at most 1,000"):
        list(plan_batches([request(1, system="x" * 2_000)], most_bytes=1_000))


@pytest.mark.parametrize("slack", [0, 1])
def test_a_batch_may_have_as_many_bytes_as_are_allowed_and_not_one_more(slack: int) -> None:
    """By what is really sent: all in one where they fit, one less of them where they do not."""
    asked = list(requests_of(12))
    (whole,) = plan_batches(asked)
    cut = [shard.requests for shard in plan_batches(asked, most_bytes=whole.size - slack)]
    assert cut == ([12] if slack == 0 else [11, 1])
    alone = request(1, system="x" * 2_000)
    (single,) = plan_batches([alone])
    if slack == 0:
        assert list(plan_batches([alone, alone | {"custom_id": "b"}], most_bytes=single.size))
    else:
        with pytest.raises(BadRequest, match="shorten it"):
            list(plan_batches([alone], most_bytes=single.size - 1))


@pytest.mark.parametrize("most", [0, -1, 100_001])
def test_numbers_of_requests_that_no_batch_holds_are_refused(most: int) -> None:
    """Before a request is taken, and nothing is planned."""
    with pytest.raises(ValueError, match="a batch holds 1 to 100,000"):
        list(plan_batches(requests_of(3), most_requests=most))
    with job_on(FakeAPI(clock=VirtualClock()), most_requests=most) as job:
        with pytest.raises(ValueError, match=f"most_requests is {most}"):
            job.submit(requests_of(3))
        assert job.shards == ()


def test_nothing_to_send_is_an_error() -> None:
    """An empty batch is a 400 at the API."""
    with pytest.raises(NothingToSend):
        list(plan_batches([]))


DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"params": None}, "params of type NoneType"),
        ({"priority": 1}, "the field 'priority'"),
        ({"params": {"stream": True}}, "asks for a stream"),
        ({"params": {"max_tokens": 0}}, "cannot warm the cache"),
        ({"params": {"speed": "fast"}}, "fast mode; batches have none"),
        ({"params": {"x": b"PNG"}}, "bytes is not JSON"),
        ({"params": {"x": [io.BytesIO(b"PNG")]}}, "bytes is not JSON"),
        ({"params": {"x": memoryview(b"PNG")}}, "memoryview is not JSON"),
        ({"params": {"x": DEEP}}, "as JSON"),
        ({"params": {"x": float("nan")}}, "cannot be sent as JSON"),
        ({"params": {"x": object()}}, "object is not JSON"),
        ({"params": {"x": "\ud800"}}, "cannot be sent as JSON"),
    ],
)
def test_what_the_api_surely_refuses_is_refused_at_once(change: Any, problem: str) -> None:
    """Otherwise it would come back as errored after an hour."""
    with pytest.raises(BadRequest, match=problem):
        list(plan_batches([changed(**change)]))


def test_blocks_of_an_earlier_answer_can_be_sent_back() -> None:
    """As the SDK itself allows; other mappings and iterables as well."""
    block = TextBlock(type="text", text="Hello", citations=None)
    turn = {"role": "assistant", "content": (each for each in [block])}
    kept = Container(id="c", expires_at=datetime(2026, 11, 27, 8, tzinfo=UTC))
    store = JobStore()
    asked = request(1, messages=[turn], metadata=MappingProxyType({"user_id": "7"}), container=kept)
    (shard,) = fill(store, [asked], 10, 10_000)
    (sent,) = json.loads(b"".join(store.body(shard)))["requests"]
    assert sent["params"]["messages"][0]["content"][0]["text"] == "Hello"
    assert sent["params"]["metadata"] == {"user_id": "7"}
    assert sent["params"]["container"] == {"id": "c", "expires_at": "2026-11-27T08:00:00Z"}
    store.close()


def test_a_bad_request_plans_nothing_and_a_good_list_can_follow(tmp_path: Path) -> None:
    """All or none."""
    api = FakeAPI(clock=VirtualClock())
    with job_on(api, tmp_path / "j") as job:
        with pytest.raises(BadRequest, match="comes twice"):
            job.submit([request(1), request(2), request(1)])
        assert (job.shards, api.journal) == ((), [])
        assert [shard.requests for shard in job.submit(requests_of(3))] == [3]


def test_the_same_requests_go_on_and_others_are_refused(tmp_path: Path) -> None:
    """A script that is run again must not mix two jobs."""
    api = FakeAPI(clock=VirtualClock())
    with job_on(api, tmp_path / "j") as job:
        job.submit(requests_of(3))
        assert job.submit(requests_of(3)) == job.submit() == job.shards
        with pytest.raises(PlanChanged, match="'job-1' is not what the job has"):
            job.submit([request(0), request(1, max_tokens=9), request(2)])
        with pytest.raises(PlanChanged, match="only 2 requests come again, the job has 3"):
            job.submit(requests_of(2))
        with pytest.raises(PlanChanged, match="job-3"):
            job.submit(requests_of(4))
    assert sum(entry.method == "POST" for entry in api.journal) == 1
