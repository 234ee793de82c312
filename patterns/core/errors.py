"""Errors that reach another process as they were: through a pool, a queue or a database.

A pickled exception is built again by calling its class with its message alone. Where the class
asks for more, that fails, and where it makes a message of what it is given, there are two. Not
needed for an exception without a constructor of its own.
"""

from copyreg import __newobj__  # type: ignore[attr-defined]
from typing import Any


class Portable:
    """The first base of an exception that has a constructor: pickled and copied as it is."""

    args: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return __newobj__, (type(self),), {**vars(self), "args": self.args}


class NotText(Portable, TypeError):
    """Something else where text belongs, found before anything is sent.

    Attributes:
        name: what it was given as.
        value: what it is.
    """

    def __init__(self, name: str, value: object) -> None:
        self.name, self.value = name, value
        super().__init__(f"{name} is {repr(value)[:80]}; pass text (str) that says it.")


def checked_text(name: str, value: object) -> str:
    """The text; a number or None would be sent as its name.

    Raises:
        NotText: it is none.
    """
    if not isinstance(value, str):
        raise NotText(name, value)
    return value
