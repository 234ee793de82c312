"""The ids of the models that this course asks: one place to change a default.

What each accepts, and since when: `patterns.core.models`. Taught in chapter 00.
"""

from typing import Final

SONNET: Final = "claude-sonnet-5-5"
OPUS: Final = "claude-opus-5-5"
HAIKU: Final = "claude-haiku-5-5"
FABLE: Final = "claude-fable-5-2"
MYTHOS: Final = "claude-mythos-5-2"
