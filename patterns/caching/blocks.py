"""A request's content as the SDK sends it: blocks as plain dicts, whatever they were given as.

Taught in chapter 07.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from patterns.core.errors import Portable

Request = Mapping[str, Any]
"""Keyword arguments of `messages.create`."""


class InvalidContent(Portable, TypeError):
    """Content that is neither text nor a list of blocks; a generator would be read only once.

    Attributes:
        content: what was given.
    """

    def __init__(self, content: object) -> None:
        self.content = content
        super().__init__(
            f"content is {repr(content)[:80]}; pass a str, or a list of blocks (dicts or the "
            "SDK's objects)."
        )


def blocks_of(content: Any) -> list[Mapping[str, Any]]:
    """Content as it is sent: a plain string is one text block, the SDK's objects are dicts.

    Raises:
        InvalidContent: it is neither text nor a list of blocks.
    """
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    if content is None:
        return []
    blocks = as_sent(content)
    if not isinstance(blocks, list) or not all(isinstance(each, Mapping) for each in blocks):
        raise InvalidContent(content)
    return blocks


def as_sent(value: Any) -> Any:
    """A value as the SDK serialises it: objects of its own as dicts, without what is unset."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(value, Mapping):
        return {key: as_sent(each) for key, each in value.items()}
    return [as_sent(each) for each in value] if isinstance(value, list | tuple) else value
