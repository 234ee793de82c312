"""The shop's orders as an MCP server: look one up, pay one back. Its customers are made up.

    python -m servers.orders refunds.sqlite

A refund has a key and is paid once for each, however often it is asked for: that makes it the kind
of tool that may be sent again when nobody knows whether the first time arrived.
"""

import sqlite3
import sys
from pathlib import Path

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel

LOOK = ToolAnnotations(read_only_hint=True)
AGAIN = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True)
MOST_CENTS = 5_000


class Order(BaseModel):
    """What the shop knows of an order."""

    order_id: int
    customer: str
    tea: str
    cents: int
    days_since_delivery: int


class Refund(BaseModel):
    """Money that went back."""

    order_id: int
    cents: int


def customer_of(order_id: int) -> str:
    """Whose order it is."""
    return f"c-{200 + order_id % 40}"


class Orders:
    """Orders, made up from their number, and the refunds that were paid."""

    def __init__(self, path: Path | str = ":memory:") -> None:
        self.database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.database.execute("PRAGMA busy_timeout = 5000")
        self.database.execute(
            "CREATE TABLE IF NOT EXISTS refunds "
            "(order_id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, cents INTEGER NOT NULL)"
        )

    def find(self, order_id: int, customer: str) -> Order:
        """An order of this customer's; what belongs to others does not exist."""
        if not 1 <= order_id <= 9_999 or customer_of(order_id) != customer:
            raise ToolError(f"{customer} has no order {order_id}; ask for the number.")
        tea = ("assam", "darjeeling", "sencha", "oolong", "matcha")[order_id % 5]
        cents, days = 450 + order_id * 37 % 4_000, order_id % 29
        return Order(
            order_id=order_id, customer=customer, tea=tea, cents=cents, days_since_delivery=days
        )

    def refund(self, order_id: int, customer: str, key: str) -> Refund:
        """Pay an order back, once."""
        order = self.find(order_id, customer)
        if order.cents > MOST_CENTS:
            raise ToolError(f"{order.cents} cents are for a colleague; the desk pays {MOST_CENTS}.")
        new = "INSERT OR IGNORE INTO refunds VALUES (?, ?, ?)"
        self.database.execute(new, (order_id, key, order.cents))
        paid = self.database.execute("SELECT key FROM refunds WHERE order_id = ?", (order_id,))
        if paid.fetchone() != (key,):
            raise ToolError(f"order {order_id} was paid back before; a colleague looks at it.")
        return Refund(order_id=order_id, cents=order.cents)

    def refunds(self) -> dict[int, int]:
        """Cents by order."""
        return dict(self.database.execute("SELECT order_id, cents FROM refunds"))


def orders_server(orders: Orders) -> MCPServer:
    """The server around them."""
    server = MCPServer("orders", version="1.0", log_level="ERROR")

    @server.tool(annotations=LOOK)
    async def order(order_id: int, customer: str) -> Order:
        """An order of a customer's: tea, price, days since delivery."""
        return orders.find(order_id, customer)

    @server.tool(annotations=AGAIN)
    async def refund(order_id: int, customer: str, key: str) -> Refund:
        """Pay an order back; the same key pays once."""
        return orders.refund(order_id, customer, key)

    return server


if __name__ == "__main__":
    orders_server(Orders(sys.argv[1])).run("stdio")
