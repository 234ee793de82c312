"""JSON in and out, with coders made once.

Take along: the folder patterns/fake_api.
"""

import json
from collections.abc import Callable
from typing import Any, Final

compact: Final[Callable[[object], str]] = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":")
).encode
"""A value as compact JSON, the way structured output comes."""


def to_bytes(value: object) -> bytes:
    """A value as JSON in UTF-8; half characters, which UTF-8 has no form for, become `?`."""
    return compact(value).encode("utf-8", "replace")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON value")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant)


def from_bytes(data: bytes) -> Any:
    """The value that strict JSON in UTF-8 stands for.

    Raises:
        ValueError: it is no JSON, or holds NaN or Infinity.
        RecursionError: it is nested too deeply.
    """
    return _DECODER.decode(data.decode("utf-8"))
