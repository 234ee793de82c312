"""A run's spending in its database, so that the workers who share the run share its budget.

One row for each call: what it is expected to take while it is under way, then what it took. The
row of a call whose worker died gives way. Chapter 3 teaches it.
"""

import asyncio
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

import sqlalchemy as sa

from patterns.agents.budget import Budget, Spent, admit
from patterns.agents.report import Attempt
from patterns.core.durable import POLL_S, Durable, make_tables

NANO: Final = 10**9
"""Dollars are kept as whole billionths: SQLite has no decimals."""

_tables = sa.MetaData()
_calls = sa.Table(
    "patterns_ledger",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.String, nullable=False, index=True),
    sa.Column("task_id", sa.String, nullable=False),
    sa.Column("holder", sa.String),  # the worker that makes the call; none when it has ended
    sa.Column("calls", sa.Integer, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("usd", sa.BigInteger, nullable=False),  # in billionths
    sa.Column("unpriced", sa.Integer, nullable=False),
)
_open = _calls.c.holder.is_not(None)


class SharedLedger:
    """The ledger of one run, for all that have its database.

    Args:
        engine: on whose database the run is recorded; it knows which workers live.
        run_id: whose spending this is.
    """

    def __init__(self, engine: Durable, run_id: str) -> None:
        self.engine, self.run_id = engine, run_id

    @staticmethod
    def prepare(database: sa.Engine) -> None:
        """Make the table if it is missing."""
        make_tables(_tables, database)

    async def reserve(self, task: str, budget: Budget) -> str | None:
        """As `Ledger`."""
        return await asyncio.to_thread(self._reserve, task, budget)

    async def settle(self, task: str, attempt: Attempt | None) -> None:
        """As `Ledger`."""
        await asyncio.to_thread(self._settle, task, attempt)

    async def changed(self) -> None:
        """As `Ledger`."""
        await asyncio.sleep(POLL_S)

    def go_on(self, before: Iterable[Attempt]) -> None:
        """Let go of what was set aside, and count these calls if they were not counted as made."""
        spent = Spent()
        for attempt in before:
            spent.add(attempt)
        with self.engine.database.begin() as connection:
            self._drop(connection, _open)
            if spent.calls > self._sums(connection)[0].calls:
                self._drop(connection)
                self._add(connection, "", None, spent)

    def _reserve(self, task: str, budget: Budget) -> str | None:
        with self.engine.database.begin() as connection:
            if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
                lock = sa.func.pg_advisory_xact_lock(sa.func.hashtext(self.run_id))
                connection.execute(sa.select(lock))
            self._drop(connection, _open, _calls.c.task_id == task)
            held = sa.select(_calls.c.holder).where(_calls.c.run_id == self.run_id, _open)
            for holder in {*connection.scalars(held)}:
                if not self.engine.living(holder):
                    self._drop(connection, _calls.c.holder == holder)
            answer = admit(budget, *self._sums(connection))
            if isinstance(answer, str):
                return answer
            self._add(connection, task, self.engine.executor_id, answer)
        return None

    def _settle(self, task: str, attempt: Attempt | None) -> None:
        with self.engine.database.begin() as connection:
            self._drop(connection, _open, _calls.c.task_id == task)
            if attempt is not None:
                spent = Spent()
                spent.add(attempt)
                self._add(connection, task, None, spent)

    def _sums(self, connection: sa.Connection) -> tuple[Spent, Spent]:
        """What is settled, and what is set aside: in one look, or a call falls between two."""
        columns = (_calls.c.calls, _calls.c.tokens, _calls.c.usd, _calls.c.unpriced)
        look = sa.select(_open, *map(sa.func.sum, columns))
        look = look.where(_calls.c.run_id == self.run_id).group_by(_open)
        found = {False: Spent(), True: Spent()}
        for under_way, *sums in connection.execute(look):
            calls, tokens, nano, unpriced = map(int, sums)
            found[bool(under_way)] = Spent(calls, tokens, Decimal(nano) / NANO, unpriced)
        return found[False], found[True]

    def _drop(self, connection: sa.Connection, *which: sa.ColumnElement[bool]) -> None:
        connection.execute(sa.delete(_calls).where(_calls.c.run_id == self.run_id, *which))

    def _add(self, connection: sa.Connection, task: str, holder: str | None, spent: Spent) -> None:
        row = vars(spent) | {"run_id": self.run_id, "task_id": task, "holder": holder}
        connection.execute(sa.insert(_calls).values(row | {"usd": int(spent.usd * NANO)}))
