"""Batches: made at once, ended by the clock, read in another order."""

import json
import random
import tracemalloc
from typing import Any

import anthropic
import pytest
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse
from pydantic import TypeAdapter

from patterns.core.models import SONNET
from patterns.fake_api import Error, FakeAPI, Fault, Reply, VirtualClock
from patterns.fake_api.wire import routes
from patterns.fake_api.wire.http import Request

DAY = 86_400


def params(text: str = "hi", **options: Any) -> dict[str, Any]:
    """The parameters of one request."""
    return {
        "model": SONNET,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": text}],
        **options,
    }


def requests(count: int, **options: Any) -> Any:
    """So many requests."""
    return [{"custom_id": f"r{n}", "params": params(f"ask {n}", **options)} for n in range(count)]


def fake(**options: Any) -> tuple[FakeAPI, anthropic.Anthropic]:
    """A fake on virtual time whose batches take 1,000 seconds."""
    api = FakeAPI(clock=VirtualClock(), **{"batch_seconds": 1000.0, **options})
    return api, api.client(max_retries=0)


def counts(batch: MessageBatch) -> tuple[int, ...]:
    """Processing, succeeded, errored, canceled, expired."""
    c = batch.request_counts
    return (c.processing, c.succeeded, c.errored, c.canceled, c.expired)


def test_life_of_a_batch() -> None:
    """All counts but processing are zero until the end; then there are results."""
    api, client = fake()
    batch = client.messages.batches.create(requests=requests(10))
    assert (batch.processing_status, counts(batch)) == ("in_progress", (10, 0, 0, 0, 0))
    assert (batch.expires_at - batch.created_at).total_seconds() == DAY
    api.clock.sleep(999)
    later = client.messages.batches.retrieve(batch.id)
    assert (later.processing_status, counts(later), later.results_url) == (
        "in_progress",
        (10, 0, 0, 0, 0),
        None,
    )
    api.clock.sleep(1)
    ended = client.messages.batches.retrieve(batch.id)
    assert (ended.processing_status, counts(ended)) == ("ended", (0, 10, 0, 0, 0))
    assert ended.ended_at is not None


def test_results_come_in_another_order_the_same_every_time() -> None:
    """Joining on position would be wrong; reading twice gives the same lines."""
    api, client = fake()
    batch = client.messages.batches.create(requests=requests(30))
    api.clock.sleep(1000)
    first = list(client.messages.batches.results(batch.id))
    ids = [line.custom_id for line in first]
    assert sorted(ids, key=lambda each: int(each[1:])) == [f"r{n}" for n in range(30)] != ids
    assert list(client.messages.batches.results(batch.id)) == first
    assert all(
        line.result.type == "succeeded" and line.result.message.usage.service_tier == "batch"
        for line in first
    )


def test_every_line_and_batch_parses_strictly() -> None:
    """Lines and batches are what the SDK's types describe."""
    api, client = fake()
    broken = {"custom_id": "bad", "params": params(model="claude-3-opus-20240229")}
    raw = client.messages.batches.with_raw_response.create(requests=[*requests(3), broken])  # type: ignore[list-item]
    TypeAdapter(MessageBatch).validate_json(raw.text(), strict=True)
    api.clock.sleep(1000)
    answer = api.handle(
        Request(
            "GET",
            f"/v1/messages/batches/{raw.parse().id}/results",
            {},
            {"authorization": "Bearer fake", "anthropic-version": "2026-10-21"},
            b"",
        )
    )
    lines = [step for step in answer.body if isinstance(step, bytes)]
    check = TypeAdapter(MessageBatchIndividualResponse)
    kinds = [check.validate_json(line, strict=True).result.type for line in lines]
    assert sorted(kinds) == ["errored", "succeeded", "succeeded", "succeeded"]


def test_bad_parameters_surface_as_errored_results() -> None:
    """The batch is accepted; the four bad ones are errored at the end."""
    api, client = fake()
    bad = [
        params(model="claude-3-opus-20240229"),
        params(stream=True),
        params(max_tokens=0),
        params(speed="fast"),
        params(temperature=0.5),
        {"nothing": True},
    ]
    batch = client.messages.batches.create(
        requests=[{"custom_id": f"b{n}", "params": each} for n, each in enumerate(bad)]  # type: ignore[typeddict-item]
    )
    api.clock.sleep(1000)
    assert counts(client.messages.batches.retrieve(batch.id)) == (0, 0, 6, 0, 0)
    errors = {
        line.custom_id: line.result.error.error.type
        for line in client.messages.batches.results(batch.id)
        if line.result.type == "errored"
    }
    assert errors.pop("b0") == "not_found_error"
    assert set(errors.values()) == {"invalid_request_error"}


def test_scripted_replies_and_errors_answer_items() -> None:
    """The queue and the script serve batches too."""
    api, client = fake()
    api.enqueue("one", Error(529), Reply(refusal="bio"))
    batch = client.messages.batches.create(requests=requests(3))
    api.clock.sleep(1000)
    results = {line.custom_id: line.result for line in client.messages.batches.results(batch.id)}
    assert results["r1"].type == "errored"
    last = results["r2"]
    assert last.type == "succeeded"
    assert last.message.stop_reason == "refusal"


def test_cancelled_batch_keeps_what_was_done() -> None:
    """Four tenths of the way, four tenths have succeeded; the rest is canceled."""
    api, client = fake()
    batch = client.messages.batches.create(requests=requests(10))
    api.clock.sleep(400)
    canceling = client.messages.batches.cancel(batch.id)
    assert (canceling.processing_status, counts(canceling)) == ("canceling", (10, 0, 0, 0, 0))
    assert client.messages.batches.cancel(batch.id).cancel_initiated_at is not None
    api.clock.sleep(60)
    ended = client.messages.batches.retrieve(batch.id)
    assert (ended.processing_status, counts(ended)) == ("ended", (0, 4, 0, 6, 0))
    with pytest.raises(anthropic.BadRequestError, match="has ended"):
        client.messages.batches.cancel(batch.id)


def test_slow_batch_expires_after_a_day() -> None:
    """A batch that would take two days is half done when it expires."""
    api, client = fake(batch_seconds=lambda size: size * DAY / 5)
    batch = client.messages.batches.create(requests=requests(10))
    api.clock.sleep(DAY)
    assert counts(client.messages.batches.retrieve(batch.id)) == (0, 5, 0, 0, 5)
    kinds = [line.result.type for line in client.messages.batches.results(batch.id)]
    assert kinds == ["succeeded"] * 5 + ["expired"] * 5


def test_results_are_archived_after_29_days() -> None:
    """Then the batch can be read and its results cannot."""
    api, client = fake()
    batch = client.messages.batches.create(requests=requests(1))
    api.clock.sleep(29 * DAY)
    old = client.messages.batches.retrieve(batch.id)
    assert old.archived_at is not None
    assert old.results_url is None
    with pytest.raises(anthropic.NotFoundError, match="archived"):
        client.get(f"/v1/messages/batches/{batch.id}/results", cast_to=object)


def test_results_before_the_end_are_not_there() -> None:
    """The path answers 404 while the batch is in progress."""
    _, client = fake()
    batch = client.messages.batches.create(requests=requests(1))
    with pytest.raises(anthropic.NotFoundError, match="no results yet"):
        client.get(f"/v1/messages/batches/{batch.id}/results", cast_to=object)


def test_delete_needs_an_ended_batch() -> None:
    """First 400, then gone."""
    api, client = fake()
    batch = client.messages.batches.create(requests=requests(1))
    with pytest.raises(anthropic.BadRequestError, match="not ended"):
        client.messages.batches.delete(batch.id)
    api.clock.sleep(1000)
    assert client.messages.batches.delete(batch.id).type == "message_batch_deleted"
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(batch.id)


def test_list_is_newest_first_in_pages() -> None:
    """Cursors walk in both directions; other credentials see nothing."""
    api, client = fake()
    ids = [client.messages.batches.create(requests=requests(1)).id for _ in range(5)]
    assert [batch.id for batch in client.messages.batches.list(limit=2)] == ids[::-1]
    page = client.messages.batches.list(limit=2, before_id=ids[0])
    assert [batch.id for batch in page.data] == [ids[2], ids[1]]
    assert page.has_more
    first = client.messages.batches.list(limit=4, before_id=ids[2])
    assert ([batch.id for batch in first.data], first.has_more) == ([ids[4], ids[3]], False)
    assert list(api.client(api_key="other").messages.batches.list()) == []


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "x"}, {"after_id": "msgbatch_no"}])
def test_bad_cursors_get_a_400(query: dict[str, str]) -> None:
    """The message names the parameter."""
    _, client = fake()
    with pytest.raises(anthropic.BadRequestError, match=next(iter(query))):
        client.messages.batches.list(extra_query=query)


def test_every_post_makes_a_new_batch() -> None:
    """As in the real API there is no idempotency: sending twice costs twice."""
    _, client = fake()
    ids = {client.messages.batches.create(requests=requests(1)).id for _ in range(2)}
    assert len(ids) == 2


BAD: list[tuple[Any, str]] = [
    ([], "body must be a JSON object"),
    ({"requests": []}, "1 to 100,000"),
    ({"requests": {}}, "must be an array"),
    ({"requests": [1]}, "requests.0"),
    ({"requests": [{"custom_id": "a b", "params": {}}]}, "requests.0.custom_id"),
    ({"requests": [{"custom_id": "a"}]}, "requests.0.params"),
    ({"requests": [{"custom_id": "a", "params": {}, "x": 1}]}, "requests.0.x"),
    ({"requests": [{"custom_id": "a", "params": {}}] * 2}, "'a' comes twice"),
    ({"requests": [], "more": 1}, "more: this field"),
    ({"requests": [{}] * 100_001}, "got 100,001"),
]


@pytest.mark.parametrize(("body", "said"), BAD, ids=[said for _, said in BAD])
def test_bad_shape_is_refused_at_once(body: Any, said: str) -> None:
    """What is wrong with the batch as such is said when it is made."""
    _, client = fake()
    with pytest.raises(anthropic.BadRequestError, match=said):
        client.post("/v1/messages/batches", body=body, cast_to=object)


def test_batch_over_256_mb_gets_413(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of the whole body, made small here."""
    assert routes.MOST_BATCH_BYTES == 256 * 2**20
    monkeypatch.setattr(routes, "MOST_BATCH_BYTES", 1_000)
    api, _ = fake()
    headers = {"x-api-key": "k", "anthropic-version": "2026-10-21"}
    body = bytes(1_001)
    answer = api.handle(Request("POST", "/v1/messages/batches", {}, headers, body))
    assert answer.status == 413


def test_cache_hits_in_batches_are_best_effort() -> None:
    """Some requests of one batch read the shared prefix, some do not; the same ones each run."""
    system = [{"type": "text", "text": "s" * 4000, "cache_control": {"type": "ephemeral"}}]

    def reads() -> list[bool]:
        api, client = fake(batch_cache_hits=0.5)
        client.messages.create(**params(system=system))
        batch = client.messages.batches.create(requests=requests(40, system=system))
        api.clock.sleep(1000)
        return [
            (line.result.message.usage.cache_read_input_tokens or 0) > 0
            for line in client.messages.batches.results(batch.id)
            if line.result.type == "succeeded"
        ]

    hits = reads()
    assert 8 < sum(hits) < 32
    assert hits == reads()


def test_results_can_break_off_repeat_and_garble() -> None:
    """The three faults of a results stream, one after the other."""
    results = "/v1/messages/batches/msgbatch"
    api, client = fake(
        faults=[
            Fault.disconnect(after=2, requests=2, path=results),
            Fault.duplicated(every=2, requests=4, path=results),
            Fault.malformed(after=1, requests=6, path=results),
        ]
    )
    batch = client.messages.batches.create(requests=requests(4))
    api.clock.sleep(1000)
    seen: list[str] = []
    with pytest.raises(Exception, match="peer closed connection"):
        seen.extend(line.custom_id for line in client.messages.batches.results(batch.id))
    assert len(seen) == 1  # the SDK holds a line back until the next one begins
    twice = [line.custom_id for line in client.messages.batches.results(batch.id)]
    assert (len(twice), len(set(twice))) == (6, 4)
    with pytest.raises(json.JSONDecodeError):
        list(client.messages.batches.results(batch.id))


def memory_of(count: int, batches: int) -> float:
    """Peak megabytes that batches of so many requests take, made and read once."""
    api, _ = fake()
    headers = {"x-api-key": "k", "anthropic-version": "2026-10-21"}
    words = random.Random(1)
    items = [
        {"custom_id": f"r{n}", "params": params(f"question {words.random()} " * 4)}
        for n in range(count)
    ]
    body = json.dumps({"requests": items}).encode()
    del items
    tracemalloc.start()
    for _ in range(batches):
        created = api.handle(Request("POST", "/v1/messages/batches", {}, headers, body))
    path = f"/v1/messages/batches/{json.loads(bytes(created.body))['id']}/results"  # type: ignore[arg-type]
    api.clock.sleep(1000)
    answer = api.handle(Request("GET", path, {}, headers, b""))
    lines = sum(1 for _ in answer.body)
    assert lines == count
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return peak


def test_memory_of_batches_is_modest() -> None:
    """Three more batches of 500 add less than their bodies take (0.3 MB each)."""
    assert memory_of(500, 4) - memory_of(500, 1) < 3 * 0.3


@pytest.mark.soak
def test_memory_of_four_full_batches_is_modest() -> None:
    """Four batches of 100,000: less than 300 MB at the peak, one parsed body included."""
    assert memory_of(100_000, 4) < 300
