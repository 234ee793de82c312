"""What live calls may cost, and what they have cost.

Taught in chapter 00.
"""

import math
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from anthropic.types import Usage

from patterns.course.recordings import CourseError, Exchange, canonical

BUDGET: Final = "PATTERNS_BUDGET_USD"
_AMOUNT: Final = re.compile(r"[0-9]{1,6}(\.[0-9]+)?|\.[0-9]+")


class BadSetting(CourseError, ValueError):
    """A setting has a value that cannot be used.

    Attributes:
        setting: name of the environment variable or argument.
        value: what it holds.
    """

    def __init__(self, setting: str, value: str, advice: str) -> None:
        self.setting, self.value = setting, value
        super().__init__(f"{setting} is {value!r}: {advice}.")


class BudgetSpent(CourseError):
    """The budget for live calls is used up; nothing more is sent.

    Attributes:
        spent, budget: US dollars.
    """

    def __init__(self, spent: Decimal, budget: Decimal) -> None:
        self.spent, self.budget = spent, budget
        super().__init__(
            f"live calls have cost ${spent:.4f} of a budget of ${budget:.2f}; nothing more is "
            f"sent. Raise {BUDGET} and restart the kernel, or go back to replay."
        )


@dataclass
class Budget:
    """What live calls may cost together, in US dollars.

    `spent` counts answers that were read; calls already under way when it runs out still finish.
    A model without a known price is charged as the dearest that has one, and an answer without
    readable usage as the most that its request allows.
    """

    limit: Decimal
    spent: Decimal = Decimal(0)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def check(self) -> None:
        """Raises: BudgetSpent: the limit is reached."""
        if self.spent >= self.limit:
            raise BudgetSpent(self.spent, self.limit)

    def charge(self, exchange: Exchange) -> None:
        """Add the cost of one exchange."""
        with self._lock:
            self.spent += exchange_cost(exchange)


def budget_limit(setting: str | None, estimate: Decimal | None) -> Decimal:
    """What the setting says; without one twice the estimate, in whole dollars, and at least 1.

    Raises:
        BadSetting: the setting is not an amount of dollars below a million.
    """
    if not setting:
        return Decimal(max(1, math.ceil(2 * (estimate or 0))))
    if not _AMOUNT.fullmatch(setting.strip()):
        raise BadSetting(BUDGET, setting, "give an amount in US dollars, such as 1.50")
    return Decimal(setting.strip())


def exchange_cost(exchange: Exchange) -> Decimal:
    """US dollars for one exchange, by today's prices; 0 for one that asks no model."""
    used = exchange.usage()
    if not used and exchange.status < 400 and exchange.path.partition("?")[0] == "/v1/messages":
        used = [("", None)]
    return sum((_cost(model, usage, exchange.request) for model, usage in used), Decimal(0))


def _cost(model: str, usage: Any, request: Any) -> Decimal:
    from patterns.core.pricing import InvalidUsage  # here, so that replay needs no price table

    try:
        return _priced(model, Usage.construct(**usage))
    except (TypeError, AttributeError, InvalidUsage):
        return most(request)


def most(request: Any) -> Decimal:
    """The most that a request for a message may cost: each character a token, all tokens used."""
    asked = request if isinstance(request, dict) else {}
    limit = asked.get("max_tokens")
    output = limit if isinstance(limit, int) and limit > 0 else 0
    usage = Usage(input_tokens=len(canonical(request)), output_tokens=output)
    return _priced(str(asked.get("model")), usage)


def _priced(model: str, usage: Usage) -> Decimal:
    from patterns.core.models import MODELS
    from patterns.core.pricing import cost_usd

    cost = cost_usd(model, usage)
    return max(cost_usd(each, usage) or Decimal(0) for each in MODELS) if cost is None else cost


def estimate_usd(exchanges: Iterable[Exchange]) -> Decimal | None:
    """About what exchanges cost live, from their recorded usage; None without the price table."""
    try:
        return sum((exchange_cost(each) for each in exchanges), Decimal(0))
    except ImportError:
        return None


def price_of(path: str, body: Any) -> str:
    """A phrase with the most that one request may cost live; empty without a price table."""
    asked = body if isinstance(body, dict) else {}
    if path.partition("?")[0] == "/v1/messages":
        requests = [asked]
    elif path.partition("?")[0] == "/v1/messages/batches" and asked:
        requests = [each.get("params", {}) for each in asked.get("requests", [])]
    else:
        return " (this request is free)"
    try:
        return f" (this request costs at most {dollars(sum(map(most, requests), Decimal(0)))})"
    except ImportError:
        return ""


def dollars(amount: Decimal) -> str:
    """An amount with two digits that say something: `$1.20`, `$0.034`, `$0.0021`."""
    digits = 2 if not amount else max(2, 1 - amount.adjusted())
    return f"${amount:.{digits}f}"
