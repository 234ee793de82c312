"""What the prompt cache allows: lifetimes, breakpoints, its look-back, the shortest prefix.

Taught in chapter 07.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, cast, get_args

from patterns.core.cache_minimum import min_cacheable as min_cacheable
from patterns.core.errors import Portable

TTL = Literal["5m", "1h"]
"""How long a cache entry lives after its last use."""

TTL_SECONDS: Final[Mapping[TTL, int]] = MappingProxyType({"5m": 300, "1h": 3_600})
MAX_BREAKPOINTS: Final = 4
LOOKBACK: Final = 20
"""Blocks over which the cache looks back from a breakpoint, its own block included."""


class UnknownTTL(Portable, ValueError):
    """A lifetime that the cache does not offer.

    Attributes:
        ttl: what was asked for.
    """

    def __init__(self, ttl: object) -> None:
        self.ttl = ttl
        super().__init__(f"ttl is {ttl!r}; the cache offers {' and '.join(get_args(TTL))}.")


def as_ttl(ttl: object) -> TTL:
    """`ttl`, if the cache offers it.

    Raises:
        UnknownTTL: it is neither "5m" nor "1h".
    """
    if not isinstance(ttl, str) or ttl not in get_args(TTL):
        raise UnknownTTL(ttl)
    return cast(TTL, ttl)
