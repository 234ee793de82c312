"""Give objects a fresh start in a forked process: gunicorn's workers, multiprocessing's "fork".

A lock that another thread holds while the process forks stays held in the child for ever, and calls
that run in the parent do not run in the child. Chapter 4 uses it.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Renewable(Protocol):
    """An object that holds a lock, or what belongs to one process."""

    def renew(self) -> None:
        """Start afresh, in a process that was just forked."""


_KNOWN: WeakSet[Renewable] = WeakSet()


def renew_in_children(thing: Renewable) -> None:
    """Have the object renewed in every process forked from this one, as long as it lives."""
    _KNOWN.add(thing)


def _renew_all() -> None:  # pragma: no cover  # in a forked child
    for thing in _KNOWN:
        thing.renew()


if hasattr(os, "register_at_fork"):  # pragma: no branch (Windows cannot fork)
    os.register_at_fork(after_in_child=_renew_all)
