"""A system prompt that adapts to the user and the day, and still caches.

For one assistant with many users: what everybody shares comes first, behind a cache breakpoint;
what differs comes last. With one fixed prompt and no user data you need none of this.

Taught in chapter 05; chapter 07 has the arithmetic.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from types import MappingProxyType
from typing import Final, Literal

from anthropic.types import TextBlockParam
from pydantic import BaseModel, ConfigDict

from patterns.core.errors import Portable, checked_text
from patterns.core.tags import tag

Level = Literal["beginner", "intermediate", "expert"]

TONE: Final[Mapping[Level, str]] = MappingProxyType(
    {
        "beginner": "Explain every term at its first use.",
        "intermediate": "Use common terms freely and explain rare ones.",
        "expert": "Use technical terms freely and skip the basics.",
    }
)


class UserContext(BaseModel):
    """What is known about the person who asks; unknown fields and levels are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    level: Level = "intermediate"
    concise: bool = False
    examples: bool = False
    domain: str | None = None


class NaiveTime(Portable, ValueError):
    """A clock that does not know its zone would put the wrong day into the prompt.

    Attributes:
        now: what the clock gave.
    """

    def __init__(self, now: datetime) -> None:
        self.now = now
        super().__init__(f"the clock gave {now}, no moment with a zone; use datetime.now(UTC).")


def build_system_prompt(
    instructions: str, user: UserContext, *, clock: Callable[[], datetime], zone: tzinfo
) -> list[TextBlockParam]:
    """Two system blocks: `instructions`, cached for everybody, then what differs by user and day.

    A cache entry is a prefix, so the block with the breakpoint has to be the same bytes every
    time, and nothing in front of it may change. The time is kept to the part of the day: put a
    minute into the user turn if an answer needs it, or no conversation stays cached either.

    Args:
        instructions: the stable text; cached once it reaches the model's minimum. Left out where
            it is blank.
        user: facts and wishes; the strings go out escaped, as data.
        clock: gives the present as an aware datetime.
        zone: where the user is.

    Raises:
        NaiveTime: the clock gave a datetime without a zone, or none.
        NotText: the instructions are none.
    """
    checked_text("instructions", instructions)
    now = clock()
    if not isinstance(now, datetime) or now.tzinfo is None:
        raise NaiveTime(now)
    local = now.astimezone(zone)
    parts = [TONE[user.level]]
    parts += ["Keep answers under 120 words."] * user.concise
    parts += ["Give one worked example."] * user.examples
    facts = {"name": user.name, "domain": user.domain}
    parts += [tag(f"user_{key}", value) for key, value in facts.items() if value]
    parts.append(f"It is {local:%A} {local:%Y-%m-%d}, {_part_of_day(local.hour)}, in {zone}.")
    shared: TextBlockParam = {
        "type": "text",
        "text": instructions,
        "cache_control": {"type": "ephemeral"},
    }
    own: TextBlockParam = {"type": "text", "text": "\n".join(parts)}
    return [shared, own] if instructions.strip() else [own]  # the API refuses blank text


def _part_of_day(hour: int) -> str:
    return "morning" if hour < 12 else "afternoon" if hour < 17 else "evening"
