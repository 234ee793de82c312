"""The one dated table of model ids and of what each model accepts.

What a row says, by property, and where it is from and as of when: `patterns.core.model_sources`.
What depends on a date takes the date. Do not copy limits that are not here from memory: ask
`client.models.retrieve(model)`.

Taught in chapters 00 and 07.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from types import MappingProxyType
from typing import Final, Literal

from patterns.core.cache_minimum import MIN_CACHEABLE, UnknownModel
from patterns.core.model_ids import FABLE, HAIKU, MYTHOS, OPUS, SONNET, Effort

__all__ = [
    "AS_OF",
    "EVERY",
    "FABLE",
    "HAIKU",
    "MODELS",
    "MYTHOS",
    "NO_XHIGH",
    "OPUS",
    "SONNET",
    "TO_HIGH",
    "Effort",
    "Fast",
    "ModelFacts",
    "Thinking",
    "UnknownModel",
    "facts_of",
]

AS_OF: Final = date(2026, 11, 26)
"""The day on which this table was last compared with its sources."""

Thinking = Literal["adaptive", "enabled", "disabled", "between_tools"]
"""The values of `thinking.type`."""
Fast = Literal["refused", "ignored", "beta", "yes"]
"""What becomes of `speed="fast"`: a 400, an answer at standard speed, fast with the beta, fast."""

EVERY: Final[tuple[Effort, ...]] = ("low", "medium", "high", "xhigh", "max")
NO_XHIGH: Final[tuple[Effort, ...]] = ("low", "medium", "high", "max")
TO_HIGH: Final[tuple[Effort, ...]] = ("low", "medium", "high")


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known of one model; the defaults are those of most current ones."""

    id: str
    min_cacheable_tokens: int = 0  # filled in from its own table
    """Shortest prefix, in tokens, that is cached; below it caching is silently off."""
    context_tokens: int = 1_000_000
    """Most input tokens of one request."""
    max_output_tokens: int = 128_000
    """Upper bound of `max_tokens`."""
    batch_output_tokens: int = 300_000
    """The same in batches that ask for the beta `output-300k-2026-03-24`."""
    thinking: tuple[Thinking, ...] = ("adaptive",)
    """The values of `thinking.type` that are accepted."""
    thinks_by_default: bool = True
    """Whether the model thinks where `thinking` is left out."""
    quiet_efforts: tuple[Effort, ...] = EVERY
    """Effort levels at which thinking may be `disabled`, or left to `between_tools`."""
    shows_thinking: bool = False
    """Whether thinking text is returned where `thinking.display` is left out."""
    efforts: tuple[Effort, ...] = EVERY
    """The levels of `output_config.effort` that are accepted; none where it is not supported."""
    default_effort: Effort = "high"
    """The level that leaving `effort` out means."""
    sampling: bool = False
    """Whether `temperature`, `top_p` and `top_k` may differ from their defaults."""
    forced_tools: bool = False
    """Whether `tool_choice` may be `any` or `tool` (never with thinking `enabled`)."""
    prefill: bool = False
    """Whether the conversation may end with a started assistant turn."""
    system_turns: bool = True
    """Whether `messages` may hold turns of role `system`."""
    images: int = 600
    """Most images, and most PDF pages, of one request."""
    image_edge: int = 2_576
    """Longest side, in pixels, that the model sees; larger images are scaled down."""
    inference_geo: bool = True
    """Whether `inference_geo` is accepted."""
    fast: Fast = "refused"
    """What becomes of `speed="fast"`."""
    fast_until: date | None = None
    """The last day of fast mode, where one is announced."""
    fallbacks: tuple[str, ...] | None = ()
    """Models that `fallbacks` may name (in beta); () where it is refused, None where unknown."""
    advice: int = 5
    """Rank as an advisor: 0 may not advise, others may advise who has no higher rank."""
    programmatic_tools: bool = True
    """Whether tools can be called from the code execution tool."""
    toolsets: bool = True
    """Whether the computer and browser toolsets are accepted."""
    compaction: bool = True
    """Whether the API can compact a conversation (in beta)."""
    task_budget: bool = False
    """Whether `output_config.task_budget` is accepted (in beta)."""
    released: date | None = None
    """The day of release, where a page says it."""
    end_of_life: date | None = None
    """The last day on which the API answers, where one is announced."""

    def retired(self, on: date) -> bool:
        """Whether the model is past its end of life on that day."""
        return self.end_of_life is not None and on > self.end_of_life

    def fast_mode(self, on: date) -> Fast:
        """What becomes of `speed="fast"` on that day."""
        ended = self.fast_until is not None and on > self.fast_until
        return "refused" if ended else self.fast


_FABLE: Final = ModelFacts(id="", batch_output_tokens=128_000, fallbacks=None)
_CLAUDE_5: Final = ModelFacts(id="", thinking=("adaptive", "disabled"), forced_tools=True)
_CLAUDE_4: Final = replace(
    _CLAUDE_5,
    thinking=("adaptive", "enabled", "disabled"),
    thinks_by_default=False,
    shows_thinking=True,
    efforts=NO_XHIGH,
    sampling=True,
    system_turns=False,
    image_edge=1_568,
    advice=3,
    toolsets=False,
)
_CLAUDE_4_5: Final = replace(
    _CLAUDE_4,
    thinking=("enabled", "disabled"),
    context_tokens=200_000,
    max_output_tokens=64_000,
    batch_output_tokens=64_000,
    efforts=(),
    prefill=True,
    images=100,
    inference_geo=False,
    advice=0,
    compaction=False,
)
_HAIKU_4_5: Final = replace(_CLAUDE_4_5, programmatic_tools=False)
_OPUS_4_5: Final = replace(
    _HAIKU_4_5, programmatic_tools=True, efforts=TO_HIGH, end_of_life=date(2027, 1, 22)
)
_SONNET_4_5: Final = replace(_CLAUDE_4_5, end_of_life=date(2026, 11, 30))


def _table(*rows: ModelFacts) -> Mapping[str, ModelFacts]:
    least = MIN_CACHEABLE
    full = (replace(row, min_cacheable_tokens=least[row.id]) for row in rows)
    return MappingProxyType({row.id: row for row in full})


MODELS: Final = _table(
    ModelFacts(
        id=SONNET,
        thinking=("adaptive", "between_tools"),
        quiet_efforts=TO_HIGH,
        fallbacks=("claude-sonnet-5",),
        released=date(2026, 9, 28),
    ),
    ModelFacts(
        id=OPUS,
        default_effort="medium",
        fast="yes",
        fallbacks=None,
        task_budget=True,
        released=date(2026, 9, 22),
    ),
    replace(
        _CLAUDE_5,
        id=HAIKU,
        quiet_efforts=TO_HIGH,
        default_effort="medium",
        advice=0,
        released=date(2026, 10, 7),
    ),
    replace(_FABLE, id=FABLE, fast="yes", released=date(2026, 11, 9)),
    replace(_FABLE, id=MYTHOS, fast="yes", released=date(2026, 11, 9)),
    replace(_FABLE, id="claude-fable-5-1", released=date(2026, 9, 1)),
    replace(_FABLE, id="claude-mythos-5-1", released=date(2026, 9, 1)),
    replace(_FABLE, id="claude-fable-5", forced_tools=True, task_budget=True),
    replace(_FABLE, id="claude-mythos-5", forced_tools=True, task_budget=True),
    replace(
        _CLAUDE_5,
        id="claude-opus-5",
        quiet_efforts=TO_HIGH,
        fast="beta",
        fallbacks=("claude-opus-4-8",),
        task_budget=True,
    ),
    replace(_CLAUDE_5, id="claude-sonnet-5", system_turns=False, advice=3),
    replace(
        _CLAUDE_5,
        id="claude-opus-4-8",
        thinks_by_default=False,
        fast="beta",
        fast_until=date(2026, 11, 30),
        advice=4,
        task_budget=True,
    ),
    replace(
        _CLAUDE_5,
        id="claude-opus-4-7",
        thinks_by_default=False,
        system_turns=False,
        advice=4,
        toolsets=False,
        task_budget=True,
    ),
    replace(_CLAUDE_4, id="claude-opus-4-6", fast="ignored"),
    replace(_CLAUDE_4, id="claude-sonnet-4-6", advice=2),
    replace(_HAIKU_4_5, id="claude-haiku-4-5"),
    replace(_HAIKU_4_5, id="claude-haiku-4-5-20251001"),
    replace(_OPUS_4_5, id="claude-opus-4-5"),
    replace(_OPUS_4_5, id="claude-opus-4-5-20251101"),
    replace(_SONNET_4_5, id="claude-sonnet-4-5"),
    replace(_SONNET_4_5, id="claude-sonnet-4-5-20250929"),
)
"""Every model that the API still answers for, by id. Anything else gets a 404 from the API."""


def facts_of(model: str) -> ModelFacts:
    """The row of one model.

    Raises:
        UnknownModel: the id is not in the table; retired models are not.
    """
    try:
        return MODELS[model]
    except (KeyError, TypeError):  # what has no hash is no id either
        raise UnknownModel(model) from None
