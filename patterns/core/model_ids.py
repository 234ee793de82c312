"""The ids of the models that this course asks: one place to change a default. And their effort.

What each accepts, and since when: `patterns.core.models`. Taught in chapter 00.
"""

from typing import Final, Literal

SONNET: Final = "claude-sonnet-5-5"
OPUS: Final = "claude-opus-5-5"
HAIKU: Final = "claude-haiku-5-5"
FABLE: Final = "claude-fable-5-2"
MYTHOS: Final = "claude-mythos-5-2"

Effort = Literal["low", "medium", "high", "xhigh", "max"]
"""The values of `output_config.effort`: how much work goes into an answer."""
