"""A run's spending in its database, so that the workers who share the run share its budget.

One row for each call: what it is expected to take while it is under way, then what it took. The
row of a call whose worker died gives way when the task is asked for again. Chapter 3 teaches it.
"""

import asyncio
from decimal import Decimal
from typing import Final

import sqlalchemy as sa

from patterns.agents.budget import UNLIMITED, Budget, Spent, admit
from patterns.agents.report import Attempt
from patterns.core.durable import make_tables

NANO: Final = 10**9
"""Dollars are kept as whole billionths: SQLite has no decimals."""
POLL_S: Final = 0.05

_tables = sa.MetaData()
_calls = sa.Table(
    "patterns_calls",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.String, nullable=False, index=True),
    sa.Column("task_id", sa.String, nullable=False),
    sa.Column("settled", sa.Integer, nullable=False),
    sa.Column("calls", sa.Integer, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("usd", sa.BigInteger, nullable=False),  # in billionths
    sa.Column("unpriced", sa.Integer, nullable=False),
)


class SharedLedger:
    """The ledger of one run, for all that have its database.

    Args:
        database: where the run is recorded.
        run_id: whose spending this is.
    """

    def __init__(self, database: sa.Engine, run_id: str) -> None:
        self.database, self.run_id = database, run_id

    @staticmethod
    def prepare(database: sa.Engine) -> None:
        """Make the table if it is missing."""
        make_tables(_tables, database)

    async def reserve(self, task: str, budget: Budget) -> str | None:
        """As `Ledger`."""
        if budget == UNLIMITED:
            return None
        return await asyncio.to_thread(self._reserve, task, budget)

    async def settle(self, task: str, attempt: Attempt | None) -> None:
        """As `Ledger`."""
        spent = Spent()
        if attempt is not None:  # pragma: no branch  # None: the call was never made
            spent.add(attempt)
        await asyncio.to_thread(self._settle, task, spent)

    async def changed(self) -> None:
        """As `Ledger`."""
        await asyncio.sleep(POLL_S)

    def forget_unsettled(self) -> None:
        """Let go of what was set aside for calls that nobody makes any more."""
        with self.database.begin() as connection:
            self._drop(connection)

    def _reserve(self, task: str, budget: Budget) -> str | None:
        with self.database.begin() as connection:
            if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
                lock = sa.func.pg_advisory_xact_lock(sa.func.hashtext(self.run_id))
                connection.execute(sa.select(lock))
            self._drop(connection, _calls.c.task_id == task)
            answer = admit(budget, *self._sums(connection))
            if isinstance(answer, str):
                return answer
            self._add(connection, task, 0, answer)
        return None

    def _settle(self, task: str, spent: Spent) -> None:
        with self.database.begin() as connection:
            self._drop(connection, _calls.c.task_id == task)
            if spent != Spent():  # pragma: no branch  # what used nothing leaves nothing
                self._add(connection, task, 1, spent)

    def _sums(self, connection: sa.Connection) -> tuple[Spent, Spent]:
        """What is settled, and what is set aside: in one look, or a call falls between two."""
        columns = (_calls.c.calls, _calls.c.tokens, _calls.c.usd, _calls.c.unpriced)
        look = sa.select(_calls.c.settled, *map(sa.func.sum, columns))
        look = look.where(_calls.c.run_id == self.run_id).group_by(_calls.c.settled)
        found = {0: Spent(), 1: Spent()}
        for settled, *sums in connection.execute(look):
            calls, tokens, nano, unpriced = map(int, sums)
            found[settled] = Spent(calls, tokens, Decimal(nano) / NANO, unpriced)
        return found[1], found[0]

    def _drop(self, connection: sa.Connection, *which: sa.ColumnElement[bool]) -> None:
        ours = _calls.c.run_id == self.run_id, _calls.c.settled == 0
        connection.execute(sa.delete(_calls).where(*ours, *which))

    def _add(self, connection: sa.Connection, task: str, settled: int, spent: Spent) -> None:
        row = vars(spent) | {"run_id": self.run_id, "task_id": task, "settled": settled}
        connection.execute(sa.insert(_calls).values(row | {"usd": int(spent.usd * NANO)}))
