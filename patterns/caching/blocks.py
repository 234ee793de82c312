"""A request's content as the SDK sends it: blocks as plain dicts, whatever they were given as.

Taught in chapter 07.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

Request = Mapping[str, Any]
"""Keyword arguments of `messages.create`."""


def blocks_of(content: Any) -> list[Mapping[str, Any]]:
    """Content as it is sent: a plain string is one text block, the SDK's objects are dicts."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [as_sent(block) for block in content or ()]


def as_sent(value: Any) -> Any:
    """A value as the SDK serialises it: objects of its own as dicts, without what is unset."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(value, Mapping):
        return {key: as_sent(each) for key, each in value.items()}
    return [as_sent(each) for each in value] if isinstance(value, list | tuple) else value
