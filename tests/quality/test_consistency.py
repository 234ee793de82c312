"""Self-consistency: what is sent, what is counted, what is lost, and how many calls run at once."""

import asyncio
import threading
from datetime import date
from decimal import Decimal
from typing import Any, Literal

import pytest
from anthropic import (
    APIRequest,
    APIResponse,
    AsyncCallNext,
    AuthenticationError,
    CallNext,
    InternalServerError,
    Middleware,
)
from anthropic.types import Usage
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from patterns.core.messages import Refused, Truncated
from patterns.core.models import HAIKU, SONNET
from patterns.core.pricing import cost_usd
from patterns.core.statistics import wilson
from patterns.fake_api import Error, FakeAPI, Fault, Reply, VirtualClock
from patterns.prompting.structured import InvalidOutput
from patterns.quality import (
    AllLost,
    InvalidInput,
    Vote,
    self_consistent,
    self_consistent_async,
    vote,
)
from patterns.quality.calls import Call
from patterns.quality.prices import cost_of

QUESTION = "A bat and a ball cost 110 cents; the bat costs 100 more. What does the ball cost?"


def numbers(*answers: int, **more: Any) -> list[Reply]:
    """Replies that answer with these numbers."""
    return [Reply(json={"answer": each}, **more) for each in answers]


class InFlight(Middleware):
    """Counts the calls that run at the same time."""

    def __init__(self, meeting: threading.Barrier | None = None) -> None:
        self.now = self.peak = 0
        self.meeting = meeting
        self.lock = threading.Lock()

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        with self.lock:
            self._enter()
        if self.meeting:
            self.meeting.wait(timeout=30)
        response = call_next(request)
        with self.lock:
            self.now -= 1
        return response

    async def handle_async(self, request: APIRequest, call_next: AsyncCallNext) -> Any:
        self._enter()
        response = await call_next(request)
        self.now -= 1
        return response

    def _enter(self) -> None:
        self.now += 1
        self.peak = max(self.peak, self.now)


def test_most_frequent_typed_answer_wins() -> None:
    """Five samples of a number: the winner, its share, its interval, and no superfluous call."""
    api = FakeAPI()
    api.enqueue(*numbers(5, 10, 5, 5))
    counted = self_consistent(api.client(), QUESTION, n=5, answer=int)
    assert (counted.answer, counted.counts) == (5, ((5, 3), (10, 1)))
    assert (counted.agreement, counted.interval) == (0.75, wilson(3, 4))
    assert (len(api.journal), counted.skipped) == (4, 1)


def test_every_sample_sends_the_same_plain_request() -> None:
    """The question as it is, a schema for the answer, no sampling parameter of any kind."""
    api = FakeAPI()
    api.enqueue(*numbers(5, 5))
    self_consistent(
        api.client(), QUESTION, n=2, answer=int, system="Be exact.", model=HAIKU, effort="low"
    )
    first, second = (entry.body for entry in api.journal)
    assert first == second
    assert first["messages"] == [{"role": "user", "content": QUESTION}]
    assert (first["model"], first["system"]) == (HAIKU, "Be exact.")
    assert first["output_config"]["effort"] == "low"
    assert first["output_config"]["format"]["schema"]["properties"]["answer"]["type"] == "integer"
    assert set(first) == {"model", "max_tokens", "messages", "system", "output_config"}


@pytest.mark.parametrize(
    ("answer", "reply", "expected"),
    [
        (Literal["spam", "ham"], {"answer": "ham"}, "ham"),
        (date, {"answer": "2026-11-21"}, date(2026, 11, 21)),
        (bool, {"answer": True}, True),
        (str, {"answer": "Paris."}, "Paris."),
    ],
)
def test_any_type_that_pydantic_knows_can_be_an_answer(
    answer: Any, reply: Any, expected: object
) -> None:
    """Labels, dates, truth values and short strings are asked for and counted as what they are."""
    api = FakeAPI()
    api.enqueue(Reply(json=reply))
    assert self_consistent(api.client(), "?", n=1, answer=answer).answer == expected


def test_a_model_with_its_steps_votes_on_the_total_alone() -> None:
    """`key` says which part of an object is the answer; the first one is shown."""

    class Solved(BaseModel):
        steps: str
        total: int

    api = FakeAPI()
    api.enqueue(*(Reply(json={"steps": s, "total": 5}) for s in ("x + 100", "two unknowns")))
    counted = self_consistent(
        api.client(), QUESTION, n=2, answer=Solved, key=lambda s: s.total, concurrency=1
    )
    assert counted.answer == Solved(steps="x + 100", total=5)
    assert counted.agreement == 1


@pytest.mark.parametrize("n", [0, -3])
def test_no_samples_is_an_error_before_any_call(n: int) -> None:
    """n ≤ 0 cannot be voted on."""
    api = FakeAPI()
    with pytest.raises(InvalidInput, match=f"n is {n}"):
        self_consistent(api.client(), QUESTION, n=n, answer=int)
    assert api.journal == []


def test_no_concurrency_is_an_error_before_any_call() -> None:
    """A limit of 0 would never ask anything."""
    api = FakeAPI()
    with pytest.raises(InvalidInput, match="concurrency is 0"):
        self_consistent(api.client(), QUESTION, n=3, answer=int, concurrency=0)
    with pytest.raises(InvalidInput, match="concurrency is 0"):
        asyncio.run(
            self_consistent_async(api.async_client(), QUESTION, n=3, answer=int, concurrency=0)
        )
    assert api.journal == []


def test_two_lost_of_five_leave_the_agreement_of_the_other_three() -> None:
    """An overload and a truncation: agreement is 2 of 3, and both losses are named."""
    api = FakeAPI()
    api.enqueue(*numbers(5), Error(529), *numbers(10), Reply("", stop_reason="max_tokens"))
    api.enqueue(*numbers(5))
    counted = self_consistent(
        api.client(max_retries=0), QUESTION, n=5, answer=int, concurrency=1, stop_early=False
    )
    assert (counted.answer, counted.agreement, counted.cast) == (5, 2 / 3, 3)
    assert counted.interval == wilson(2, 3)
    assert [(lost.what, lost.reason) for lost in counted.lost] == [
        ("sample 2", "HTTP 529"),
        ("sample 4", "truncated (max_tokens)"),
    ]


def test_a_sample_that_was_cut_is_billed_and_a_refused_connection_is_not() -> None:
    """What was lost stays in usage and cost when the API answered, and only then."""
    api = FakeAPI()
    api.enqueue(*numbers(5, output_tokens=20), Error(529))
    api.enqueue(Reply("5 bec", stop_reason="max_tokens", output_tokens=900))
    counted = self_consistent(
        api.client(max_retries=0), QUESTION, n=3, answer=int, concurrency=1, stop_early=False
    )
    assert [usage.output_tokens for usage in counted.usage] == [20, 900]
    prices = [cost_usd(SONNET, usage) for usage in counted.usage]
    assert cost_of(counted) == sum(price for price in prices if price is not None)
    assert counted.request_ids == (api.journal[0].request_id, api.journal[2].request_id)


def test_lost_samples_never_turn_a_tie_into_a_win() -> None:
    """Two against two with one lost is a tie, and says so."""
    api = FakeAPI()
    api.enqueue(*numbers(5, 10, 10, 5), Reply(refusal="bio"))
    counted = self_consistent(api.client(), QUESTION, n=5, answer=int, concurrency=1)
    assert (counted.answer, counted.tie, len(counted.lost)) == (None, (10, 5), 1)


def test_a_sample_whose_re_ask_fails_is_billed_for_both_calls() -> None:
    """The first answer was invalid, the second refused: two calls, one lost sample."""
    api = FakeAPI()
    api.enqueue(Reply(json={"answer": "five"}), Reply(refusal="bio"), *numbers(5, 5))
    counted = self_consistent(api.client(), QUESTION, n=3, answer=int, concurrency=1)
    assert (counted.answer, len(counted.lost), len(counted.calls)) == (5, 1, 4)


def test_all_lost_raises_and_says_why() -> None:
    """No answer is never an answer: the error names every loss and keeps its cause and cost."""
    api = FakeAPI()
    api.enqueue(Reply(refusal="bio", output_tokens=4), Error(529), Reply(json={"answer": "five"}))
    api.enqueue(Reply(json={"answer": "still five"}))
    with pytest.raises(AllLost, match=r"sample 1: refused \(bio\); sample 2: HTTP 529") as caught:
        self_consistent(
            api.client(max_retries=0), QUESTION, n=3, answer=int, concurrency=1, stop_early=False
        )
    assert isinstance(caught.value.__cause__, Refused)
    assert isinstance(caught.value.lost[2].error, InvalidOutput)
    assert "invalid (answer: " in caught.value.lost[2].reason
    assert len(caught.value.calls) == 3
    assert cost_of(caught.value) is not None


def test_an_answer_that_is_no_json_is_one_lost_sample() -> None:
    """As a proxy cuts it off: the other samples count."""
    api = FakeAPI(faults=[Fault.truncated_json(requests=1)])
    api.enqueue(*numbers(5, 5, 5))
    counted = self_consistent(
        api.client(), QUESTION, n=3, answer=int, concurrency=1, stop_early=False
    )
    assert (counted.answer, counted.cast) == (5, 2)
    assert [lost.reason for lost in counted.lost] == ["JSONDecodeError"]


def test_a_dropped_connection_is_lost_by_its_name() -> None:
    """Losses without an HTTP status are named after their error."""
    api = FakeAPI()
    api.enqueue(*numbers(5))

    class Unplugged(Middleware):
        times = 0

        def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
            self.times += 1
            if self.times == 1:
                from anthropic import APIConnectionError

                raise APIConnectionError(request=None)  # type: ignore[arg-type]  # as in a transport
            return call_next(request)

    client = api.client(max_retries=0, middleware=[Unplugged()])
    counted = self_consistent(client, QUESTION, n=2, answer=int, concurrency=1)
    assert [lost.reason for lost in counted.lost] == ["APIConnectionError"]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_an_error_that_is_no_loss_is_raised_as_it_is(concurrency: int) -> None:
    """A middleware's denial would deny every sample: it is not counted as a lost one."""

    class Denied(Exception):
        pass

    class Deny(Middleware):
        def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
            raise Denied

        async def handle_async(self, request: APIRequest, call_next: AsyncCallNext) -> Any:
            raise Denied

    api = FakeAPI()
    client = api.client(middleware=[Deny()])
    with pytest.raises(Denied):
        self_consistent(client, QUESTION, n=3, answer=int, concurrency=concurrency)
    with pytest.raises(Denied):
        asyncio.run(
            self_consistent_async(api.async_client(middleware=[Deny()]), QUESTION, n=3, answer=int)
        )


def test_a_wrong_key_loses_every_sample() -> None:
    """An error of the API is a loss like any other; with all lost its cause is at hand."""
    api = FakeAPI(keys=["right"])
    with pytest.raises(AllLost) as caught:
        self_consistent(api.client(api_key="wrong"), QUESTION, n=3, answer=int)
    assert isinstance(caught.value.__cause__, AuthenticationError)


def test_an_invalid_sample_is_asked_for_once_more() -> None:
    """The repair turn belongs to the sample: both calls are billed, one vote is cast."""
    api = FakeAPI()
    api.enqueue(Reply(json={"answer": "about five"}), *numbers(5))
    counted = self_consistent(api.client(), QUESTION, n=1, answer=int)
    assert (counted.answer, counted.cast, len(counted.usage)) == (5, 1, 2)


def test_threads_run_side_by_side_up_to_the_limit() -> None:
    """With the sync client three calls meet at a barrier, and never four."""
    api = FakeAPI()
    api.enqueue(*numbers(5, 5, 5, 5, 5, 5))
    watch = InFlight(threading.Barrier(3))
    client = api.client(middleware=[watch])
    counted = self_consistent(client, QUESTION, n=6, answer=int, concurrency=3, stop_early=False)
    assert (counted.agreement, watch.peak) == (1, 3)


def test_threads_see_the_callers_context() -> None:
    """What middleware reads from a context variable is the caller's, in every thread."""
    from contextvars import ContextVar

    principal: ContextVar[str] = ContextVar("principal", default="nobody")
    seen: list[str] = []

    class Note(Middleware):
        def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
            seen.append(principal.get())
            return call_next(request)

    api = FakeAPI()
    api.enqueue(*numbers(5, 5, 5))
    token = principal.set("ada")
    self_consistent(api.client(middleware=[Note()]), QUESTION, n=3, answer=int, stop_early=False)
    principal.reset(token)
    assert seen == ["ada"] * 3


@settings(max_examples=40)
@given(
    votes=st.lists(st.integers(0, 3), min_size=1, max_size=9),
    concurrency=st.integers(1, 5),
)
def test_async_limit_holds_and_the_winner_is_that_of_the_full_vote(
    votes: list[int], concurrency: int
) -> None:
    """Through the real SDK in virtual time, for any votes and any limit."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock)
    api.enqueue(*numbers(*votes, seconds=1.0))
    watch = InFlight()
    client = api.async_client(middleware=[watch])
    counted: Vote[int] = clock.run(
        self_consistent_async(client, QUESTION, n=len(votes), answer=int, concurrency=concurrency)
    )
    full = vote(votes)
    assert (counted.answer, set(counted.tie)) == (full.answer, set(full.tie))
    assert watch.peak <= concurrency
    assert len(api.journal) == len(votes) - counted.skipped


def waits(n: int, concurrency: int, *, stop_early: bool) -> float:
    """Virtual seconds for a unanimous vote whose calls take one second each."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock)
    client = api.async_client()

    async def vote_once(n: int) -> Vote[int]:
        return await self_consistent_async(
            client, QUESTION, n=n, answer=int, concurrency=concurrency, stop_early=stop_early
        )

    async def main() -> float:
        await vote_once(1)  # a client's first call looks up its platform in a thread
        before = clock.elapsed
        await vote_once(n)
        return clock.elapsed - before

    api.enqueue(*numbers(*[5] * (n + 1), seconds=1.0))
    return clock.run(main())


@pytest.mark.parametrize("n", [1, 3, 5, 9])
@pytest.mark.parametrize("concurrency", [1, 2, 4, 9])
def test_waiting_is_what_the_limit_allows(n: int, concurrency: int) -> None:
    """At most 1.05 times the rounds that this many calls need under this limit."""
    assert waits(n, concurrency, stop_early=False) <= 1.05 * -(-n // concurrency)
    assert waits(n, concurrency, stop_early=True) <= 1.05 * -(-(n // 2 + 1) // concurrency)


def test_a_retried_overload_is_no_loss() -> None:
    """The SDK retries a 529 by itself; only what it gives up on is lost."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock)
    api.enqueue(Error(529), *numbers(5))
    counted = clock.run(self_consistent_async(api.async_client(), QUESTION, n=1, answer=int))
    assert (counted.answer, counted.lost, len(api.journal)) == (5, (), 2)


def test_a_call_without_a_price_makes_the_sum_unknown_and_not_zero() -> None:
    """A model that no price list knows: cost is None, usage is there."""
    api = FakeAPI()
    api.enqueue(*numbers(5))

    class Rename(Middleware):
        def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
            response = call_next(request)
            response.parse().model = "in-house-model"
            return response

    counted = self_consistent(api.client(middleware=[Rename()]), QUESTION, n=1, answer=int)
    assert (cost_of(counted), len(counted.usage)) == (None, 1)


def test_unused_errors_are_still_the_sdks_own() -> None:
    """A lost sample keeps the SDK's exception, with its status and request id."""
    api = FakeAPI()
    api.enqueue(Error(529), *numbers(5))
    counted = self_consistent(
        api.client(max_retries=0), QUESTION, n=2, answer=int, concurrency=1, stop_early=False
    )
    error = counted.lost[0].error
    assert isinstance(error, InternalServerError)
    assert error.request_id == api.journal[0].request_id
    assert not isinstance(error, Truncated)
    assert cost_of(counted) != Decimal(0)


@pytest.mark.parametrize("answer", [dict[str, int], object(), list["Nowhere"]])  # type: ignore[name-defined]  # noqa: F821
def test_a_type_that_cannot_be_asked_for_is_refused_before_any_call(answer: Any) -> None:
    """Nothing is paid."""
    api = FakeAPI()
    with pytest.raises(InvalidInput, match="cannot be asked for"):
        self_consistent(api.client(), QUESTION, n=3, answer=answer)
    assert api.journal == []


def test_sets_can_be_voted_on() -> None:
    """In whatever order their members come."""
    api = FakeAPI()
    api.enqueue(*[f'{{"answer": {each}}}' for each in ('["a", "b"]', '["b", "a"]', '["c"]')])
    counted = self_consistent(api.client(), QUESTION, n=3, answer=set[str], stop_early=False)
    assert counted.answer == {"a", "b"}


def test_values_of_a_closed_set_are_compared_as_they_are() -> None:
    """A milliwatt is no megawatt."""
    api = FakeAPI()
    api.enqueue(*[Reply(json={"answer": unit}) for unit in ("mW", "MW", "MW")])
    answer: Any = Literal["mW", "MW"]
    counted = self_consistent(api.client(), QUESTION, n=3, answer=answer, concurrency=1)
    assert counted.counts == (("MW", 2), ("mW", 1))


@pytest.mark.parametrize("stop_early", [True, False])
def test_a_sample_on_which_the_key_fails_is_lost_and_the_others_count(stop_early: bool) -> None:
    """They are paid for; one odd answer is not the end of a vote."""
    api = FakeAPI()
    api.enqueue(*[Reply(json={"answer": text}) for text in ("12", "about 12", " 12")])
    options: Any = {"key": int, "stop_early": stop_early, "concurrency": 1}
    counted = self_consistent(api.client(), QUESTION, n=3, answer=str, **options)
    assert counted.counts == (("12", 2),)
    assert [(each.what, each.reason) for each in counted.lost] == [("sample 2", "ValueError")]
    assert len(counted.calls) == 3


def test_a_usage_that_cannot_be_read_has_no_price() -> None:
    """Some proxies send none: the sum is unknown, the answer stands."""
    unread = Usage.construct(input_tokens=None, output_tokens=None)
    assert cost_of([Call(SONNET, unread, None)]) is None
