"""Listings that come page after page, from servers that may not know where their end is."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from mcp import Client

from patterns.mcp_session.errors import ResultValidationError

T = TypeVar("T")
Page = tuple[list[T], str | None]
"""Some items, and the cursor of the next page."""

PAGE_CAP = 1_000


async def all_pages(
    fetch: Callable[[Client, str | None], Awaitable[Page[T]]], what: str, client: Client
) -> list[T]:
    """The items of every page.

    Raises:
        ResultValidationError: A cursor came twice, or there are more than `PAGE_CAP` pages.
    """
    items: list[T] = []
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(PAGE_CAP):
        page, cursor = await fetch(client, cursor)
        items += page
        if cursor is None:
            return items
        if cursor in seen:
            raise ResultValidationError(what, f"the cursor {cursor[:40]!r} came twice")
        seen.add(cursor)
    raise ResultValidationError(what, f"more than {PAGE_CAP:,} pages")
