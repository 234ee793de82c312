"""A budget in a database: dollars and tokens of every worker count."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from anthropic.types import Usage

from patterns.agents.budget import Budget
from patterns.agents.report import Attempt
from patterns.agents.shared_ledger import SharedLedger

CALL = Attempt(
    "a",
    0.0,
    1.0,
    usage=(Usage(input_tokens=100, output_tokens=0),),
    cost_usd=Decimal("0.000000750"),
)
UNPRICED = Attempt("a", 0.0, 1.0, usage=CALL.usage)


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
    url = f"sqlite:///{tmp_path}/runs"
    one, other = sa.create_engine(url), sa.create_engine(url)
    SharedLedger.prepare(one)

    async def spend() -> str | None:
        assert await SharedLedger(one, "r").reserve("x", budget) is None
        await SharedLedger(one, "r").settle("x", attempt)
        assert await SharedLedger(other, "another").reserve("x", budget) is None
        return await SharedLedger(other, "r").reserve("y", budget)

    assert asyncio.run(spend()) == answer
    one.dispose()
    other.dispose()
