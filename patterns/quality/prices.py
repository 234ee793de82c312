"""What a pattern's calls cost, apart from the patterns: not everybody needs prices.

Needs: pip install genai-prices. Taught in chapter 06.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Protocol

from patterns.core.pricing import cost_usd
from patterns.quality.calls import Call


class HasCalls(Protocol):
    """A result or an error that keeps its calls."""

    @property
    def calls(self) -> tuple[Call, ...]:
        """What was billed."""


def cost_of(paid: HasCalls | Iterable[Call]) -> Decimal | None:
    """US dollars for all calls of a result, an error or a list; None without a published price."""
    calls: Iterable[Call] = paid if isinstance(paid, Iterable) else paid.calls
    total = Decimal(0)
    for call in calls:
        if (cost := cost_usd(call.model, call.usage)) is None:
            return None
        total += cost
    return total
