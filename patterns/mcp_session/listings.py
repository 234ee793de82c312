"""Listings of strangers: page after page, without an end, or with one tool that spoils all.

The client of mcp 2.3 refuses a whole listing for one declaration that breaks the protocol, such as
an input schema with `anyOf` and no type. Here the tool is mended or left out, and the others stay.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from mcp import Client
from mcp.types.methods import validate_server_result
from pydantic import ValidationError

from patterns.mcp_session.errors import ResultValidationError
from patterns.mcp_session.references import ORIGINAL, resolvable

logger = logging.getLogger(__name__)

PAGE_CAP = 1_000


async def all_pages(fetch: Callable[..., Awaitable[Any]], field: str, client: Client) -> list[Any]:
    """The items of every page.

    Raises:
        ResultValidationError: A cursor came twice, or there are more than `PAGE_CAP` pages.
    """
    items: list[Any] = []
    cursor: str | None = None
    seen: set[str | None] = set()
    for _ in range(PAGE_CAP):
        page = await fetch(client, cursor=cursor)
        items += getattr(page, field)
        cursor = page.next_cursor
        if cursor is None:
            return items
        if cursor in seen:
            raise ResultValidationError(field, f"the cursor {cursor[:40]!r} came twice")
        seen.add(cursor)
    raise ResultValidationError(field, f"more than {PAGE_CAP:,} pages")


def mend_listing(result: dict[str, Any], version: str) -> None:
    """Change a `tools/list` result in place, so that each tool in it is valid.

    An input schema that the protocol does not allow is kept under `ORIGINAL`, for whoever can
    make something of it; an output schema that cannot be checked is dropped, and so is a tool
    without a name.
    """
    if isinstance(tools := result["tools"], list):
        result["tools"] = [tool for tool in tools if _mended(tool, version)]


def _mended(tool: Any, version: str) -> bool:
    if not isinstance(tool, dict):
        return False
    if "outputSchema" in tool and not resolvable(tool["outputSchema"]):
        del tool["outputSchema"]
    while part := _wrong_part(tool, version):  # each round mends or drops one part
        if part == "inputSchema":
            tool[part] = {"type": "object", ORIGINAL: tool.get(part)}
        elif part in tool and part != "name":
            del tool[part]
        else:
            logger.warning("a tool is left out of the listing: its %s is invalid", part)
            return False
    return True


def _wrong_part(tool: Any, version: str) -> str | None:
    """The key of a declaration that breaks the protocol; None if all is well."""
    alone = {"tools": [tool], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    try:
        validate_server_result("tools/list", version, alone)
    except ValidationError as error:
        return str(error.errors()[0]["loc"][2])
    return None
