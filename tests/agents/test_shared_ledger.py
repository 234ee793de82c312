"""A budget in a database: dollars and tokens of every worker count."""

import asyncio
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import sqlalchemy as sa
from anthropic.types import Usage
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.agents.budget import Budget, Ledger, LocalLedger
from patterns.agents.report import Attempt
from patterns.agents.shared_ledger import SharedLedger
from patterns.core.durable import Durable

CALL = Attempt(
    "a",
    0.0,
    1.0,
    usage=(Usage(input_tokens=100, output_tokens=0),),
    cost_usd=Decimal("0.000000750"),
)
UNPRICED = Attempt("a", 0.0, 1.0, usage=CALL.usage)


def worker(url: str, name: str, *gone: str) -> Durable:
    """What a ledger needs of an engine: the database, its own name, and who is there."""
    found = SimpleNamespace(
        database=sa.create_engine(url), executor_id=name, living=lambda other: other not in gone
    )
    SharedLedger.prepare(found.database)
    return cast("Durable", found)


@pytest.mark.parametrize(
    ("attempt", "budget", "answer"),
    [
        (
            CALL,
            Budget(usd=Decimal("0.000001")),
            "budget: $7.5E-7 of $0.000001 is spent, and a call takes about 7.5e-7",
        ),
        (
            CALL,
            Budget(tokens=150),
            "budget: 100 of 150 tokens are spent, and a call takes about 100",
        ),
        (CALL, Budget(tokens=200, usd=Decimal("0.0000015")), None),
        (
            UNPRICED,
            Budget(usd=Decimal(9)),
            "budget: a call has no known price, so dollars cannot be counted",
        ),
    ],
)
def test_what_one_worker_has_spent_another_knows(
    attempt: Attempt, budget: Budget, answer: str | None, tmp_path: Path
) -> None:
    """To the billionth of a dollar; another run's spending is its own."""
    one, other = (worker(f"sqlite:///{tmp_path}/runs", name) for name in ("one", "other"))

    async def spend() -> str | None:
        assert await SharedLedger(one, "r").reserve("x", budget) is None
        await SharedLedger(one, "r").settle("x", attempt)
        assert await SharedLedger(other, "another").reserve("x", budget) is None
        return await SharedLedger(other, "r").reserve("y", budget)

    assert asyncio.run(spend()) == answer
    one.database.dispose()
    other.database.dispose()


def test_what_a_dead_worker_set_aside_is_free(tmp_path: Path) -> None:
    """Else those that wait for it keep its own task from being taken up again; a living one's is
    kept, and a call that was cut off gives back."""
    url, budget = f"sqlite:///{tmp_path}/runs", Budget(tokens=150)
    one, other, later = worker(url, "one"), worker(url, "other"), worker(url, "later", "one")

    async def spend() -> None:
        assert await SharedLedger(one, "r").reserve("x", budget) is None
        assert await SharedLedger(other, "r").reserve("y", budget) == ""
        assert await SharedLedger(later, "r").reserve("y", budget) is None
        assert await SharedLedger(other, "r").reserve("z", budget) == ""
        await SharedLedger(later, "r").settle("y", None)
        assert await SharedLedger(other, "r").reserve("z", budget) is None

    asyncio.run(spend())
    for each in (one, other, later):
        each.database.dispose()


@given(
    st.lists(
        st.tuples(st.sampled_from(["reserve", "settle", "fail", "cut"]), st.sampled_from("abcdef"))
    ),
    st.integers(0, 900),
)
@settings(max_examples=40, deadline=None)
def test_it_answers_as_the_ledger_of_one_process(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[str, str]], tokens: int
) -> None:
    """Whatever is reserved and settled, in whatever order."""
    url = f"sqlite:///{tmp_path_factory.mktemp('ledger')}/runs"
    engine, budget = worker(url, "one"), Budget(tokens=tokens)
    ends = {"settle": CALL, "fail": Attempt("a", 0.0, 1.0, "529"), "cut": None}
    ledgers: list[Ledger] = [LocalLedger(), SharedLedger(engine, "r")]
    held: set[str] = set()

    async def go() -> None:
        for move, task in moves:
            if move == "reserve" and task not in held:
                answers = [await ledger.reserve(task, budget) for ledger in ledgers]
                assert answers[0] == answers[1]
                held.update([task] if answers[0] is None else [])
            elif move != "reserve" and task in held:
                held.remove(task)
                for ledger in ledgers:
                    await ledger.settle(task, ends[move])

    asyncio.run(go())
    engine.database.dispose()
