"""The current connection of a session, and the next one when it is gone."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any

from patterns.mcp_session.connect import Connect, name_of
from patterns.mcp_session.connection import Connection
from patterns.mcp_session.errors import SessionClosed

OnReconnect = Callable[[int], Awaitable[Any] | Any]
"""Called with the number of a connection that replaces an earlier one."""


class Reconnector:
    """Hands out one shared connection and replaces it once it is retired."""

    def __init__(
        self,
        connect: Connect,
        options: Mapping[str, Any],
        seconds: float,
        on_reconnect: OnReconnect | None = None,
    ) -> None:
        self._connect, self._options, self._seconds = connect, options, seconds
        self._on_reconnect = on_reconnect
        self._numbers = count(1)
        self._living: set[Connection] = set()
        self.forget()

    def forget(self) -> None:
        """Start afresh after an event loop that has ended, and all its tasks with it."""
        self._is_open = False
        self.latest: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None
        self._living.clear()

    def open(self) -> None:
        """Allow connections from now on."""
        self._is_open = True

    async def close(self) -> None:
        """Leave every connection, the replaced ones too."""
        self._is_open = False
        await asyncio.gather(*(connection.close() for connection in self._living))
        self.latest = None
        if self._opening is not None and self._opening is not asyncio.current_task():
            self._opening.cancel()
            await asyncio.wait([self._opening])

    @property
    def ready(self) -> Connection | None:
        """The connection in use if it can take a request right now."""
        latest = self.latest
        return latest if self._is_open and latest and not latest.retired else None

    async def connection(self) -> Connection:
        """The connection in use, or a new one; all callers share one attempt to open it."""
        if not self._is_open:
            raise SessionClosed(name_of(self._connect))
        if self.ready is not None:
            return self.ready
        if self._opening is None:
            self._opening = asyncio.create_task(self._open_next())
            self._opening.add_done_callback(self._opening_done)
        return await asyncio.shield(self._opening)

    async def _open_next(self) -> Connection:
        connection = Connection(next(self._numbers), self._connect, self._options)
        self._living.add(connection)
        connection.owner.add_done_callback(lambda _: self._living.discard(connection))
        await connection.opened(self._seconds)
        first, self.latest = self.latest is None, connection
        if self._on_reconnect is not None and not first:
            told = self._on_reconnect(connection.number)
            if inspect.isawaitable(told):
                await told
        return connection

    def _opening_done(self, opening: asyncio.Task[Connection]) -> None:
        self._opening = None
        # Seen, even if every caller has been cancelled meanwhile.
        _ = opening.cancelled() or opening.exception()
