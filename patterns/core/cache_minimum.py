"""The shortest prefix that each model caches: the one table of it, by model id.

Where a figure is from and as of when: `patterns.core.model_sources`. What else a model accepts:
`patterns.core.models`, which takes this column from here. Taught in chapter 07.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from patterns.core.errors import Portable

MIN_CACHEABLE: Final[Mapping[str, int]] = MappingProxyType(
    {
        "claude-sonnet-5-5": 512,
        "claude-opus-5-5": 512,
        "claude-haiku-5-5": 512,
        "claude-fable-5-2": 512,
        "claude-mythos-5-2": 512,
        "claude-fable-5-1": 512,
        "claude-mythos-5-1": 512,
        "claude-fable-5": 512,
        "claude-mythos-5": 512,
        "claude-opus-5": 512,
        "claude-sonnet-5": 1_024,
        "claude-opus-4-8": 1_024,
        "claude-sonnet-4-6": 1_024,
        "claude-sonnet-4-5": 1_024,
        "claude-sonnet-4-5-20250929": 1_024,
        "claude-opus-4-7": 2_048,
        "claude-opus-4-6": 4_096,
        "claude-haiku-4-5": 4_096,
        "claude-haiku-4-5-20251001": 4_096,
        "claude-opus-4-5": 4_096,
        "claude-opus-4-5-20251101": 4_096,
    }
)
"""Tokens; below them caching is silently off. Of every model that the API answers for."""


class UnknownModel(Portable, LookupError):
    """A model id that is not in the table.

    Attributes:
        model: the id that was asked for.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        known = ", ".join(sorted(MIN_CACHEABLE))
        super().__init__(f"unknown model {model!r}; patterns.core.models knows {known}.")


def min_cacheable(model: str) -> int:
    """The shortest prefix, in tokens, that the model caches; a shorter one is not, silently.

    Raises:
        UnknownModel: the id is not in the table.
    """
    try:
        return MIN_CACHEABLE[model]
    except (KeyError, TypeError):  # what has no hash is no id either
        raise UnknownModel(model) from None
