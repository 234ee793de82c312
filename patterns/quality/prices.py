"""What a pattern's calls cost, apart from the patterns: not everybody needs prices.

Needs: pip install genai-prices. Taught in chapter 06.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Protocol

from patterns.core.pricing import InvalidUsage, cost_usd
from patterns.quality.calls import Call


class HasCalls(Protocol):
    """A result or an error that keeps its calls."""

    @property
    def calls(self) -> tuple[Call, ...]:
        """What was billed."""


def cost_of(paid: HasCalls | Iterable[Call]) -> Decimal | None:
    """US dollars for all calls of a result, an error or a list; None if one of them has no price.

    No price has a model that is not in the table, or a `usage` that cannot be read, as some proxies
    send it.
    """
    calls: Iterable[Call] = paid if isinstance(paid, Iterable) else paid.calls
    total = Decimal(0)
    for call in calls:
        try:
            cost = cost_usd(call.model, call.usage)
        except InvalidUsage:
            cost = None
        if cost is None:
            return None
        total += cost
    return total
