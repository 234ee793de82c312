"""The one dated table of model ids and of what each model accepts.

Taught in chapters 00 and 07.

Sources, read in November 2026: the id list of anthropic 2.14.0 (`anthropic.types.model`), its
end-of-life table (`anthropic._data.deprecated_models`), the prompt-caching page (minimum
prefixes) and the migration guide of Claude Sonnet 5.5 (the five refused settings). The guide
speaks of Sonnet 5.5; the table carries it over to the other models of the 5.5 generation.
Do not copy limits that are not here from memory: ask `client.models.retrieve(model)`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Final, Literal

SONNET: Final = "claude-sonnet-5-5"
OPUS: Final = "claude-opus-5-5"
HAIKU: Final = "claude-haiku-5-5"
FABLE: Final = "claude-fable-5-2"
MYTHOS: Final = "claude-mythos-5-2"

AS_OF: Final = date(2026, 11, 21)
"""The day on which this table was last compared with its sources."""

Setting = Literal["prefill", "sampling", "forced_tool_choice", "thinking_budget", "thinking_off"]
"""A request setting that some models answer with a 400."""

REFUSED_BY_5_5: Final[frozenset[Setting]] = frozenset(
    ("prefill", "sampling", "forced_tool_choice", "thinking_budget", "thinking_off")
)
REFUSED_BY_5: Final[frozenset[Setting]] = frozenset(("prefill", "sampling", "thinking_budget"))
REFUSED_BY_4_6: Final[frozenset[Setting]] = frozenset(("prefill",))


class UnknownModel(LookupError):
    """A model id that is not in the table.

    Attributes:
        model: the id that was asked for.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        known = ", ".join(sorted(MODELS))
        super().__init__(f"unknown model {model!r}; patterns.core.models knows {known}.")


@dataclass(frozen=True)
class ModelFacts:
    """What the course relies on about one model."""

    id: str
    min_cacheable_tokens: int
    """Shortest prefix, in tokens, that is cached; below it caching is silently off."""
    refuses: frozenset[Setting] = frozenset()
    """Settings that this model answers with a 400."""
    end_of_life: date | None = None
    """The day from which the API answers 404, where one is announced."""

    def retired(self, on: date) -> bool:
        """Whether the model is past its end of life on that day."""
        return self.end_of_life is not None and on > self.end_of_life


def _table(*rows: ModelFacts) -> Mapping[str, ModelFacts]:
    return MappingProxyType({row.id: row for row in rows})


MODELS: Final = _table(
    ModelFacts(SONNET, 512, REFUSED_BY_5_5),
    ModelFacts(OPUS, 512, REFUSED_BY_5_5),
    ModelFacts(HAIKU, 512, REFUSED_BY_5_5),  # the minimum is from a price table only
    ModelFacts(FABLE, 512, REFUSED_BY_5_5),
    ModelFacts(MYTHOS, 512, REFUSED_BY_5_5),
    ModelFacts("claude-fable-5-1", 512, REFUSED_BY_5),
    ModelFacts("claude-mythos-5-1", 512, REFUSED_BY_5),
    ModelFacts("claude-fable-5", 512, REFUSED_BY_5),
    ModelFacts("claude-mythos-5", 512, REFUSED_BY_5),
    ModelFacts("claude-opus-5", 512, REFUSED_BY_5),
    ModelFacts("claude-sonnet-5", 1_024, REFUSED_BY_5),
    ModelFacts("claude-opus-4-8", 1_024, REFUSED_BY_5),
    ModelFacts("claude-opus-4-7", 2_048, REFUSED_BY_5),
    ModelFacts("claude-opus-4-6", 4_096, REFUSED_BY_4_6),
    ModelFacts("claude-sonnet-4-6", 1_024, REFUSED_BY_4_6),
    ModelFacts("claude-haiku-4-5", 4_096),
    ModelFacts("claude-haiku-4-5-20251001", 4_096),
    ModelFacts("claude-opus-4-5", 4_096, end_of_life=date(2027, 1, 22)),
    ModelFacts("claude-opus-4-5-20251101", 4_096, end_of_life=date(2027, 1, 22)),
    ModelFacts("claude-sonnet-4-5", 1_024, end_of_life=date(2026, 11, 30)),
    ModelFacts("claude-sonnet-4-5-20250929", 1_024, end_of_life=date(2026, 11, 30)),
)
"""Every model that the API still answers for, by id. Anything else gets a 404 from the API."""


def facts_of(model: str) -> ModelFacts:
    """The row of one model.

    Raises:
        UnknownModel: the id is not in the table; retired models are not.
    """
    try:
        return MODELS[model]
    except KeyError:
        raise UnknownModel(model) from None
