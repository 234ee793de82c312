"""Where each figure of `patterns.core.models` is from, and as of when.

    source_of("claude-haiku-5-5", "default_effort")

Pages are those of platform.claude.com/docs/en unless they say otherwise. Later lines win over
earlier ones, so that a page on one model goes before the general one.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

from patterns.core.models import ModelFacts, facts_of


@dataclass(frozen=True)
class Source:
    """One page, read on one day, on one property of some models."""

    properties: str
    """Names of properties of `ModelFacts`, separated by spaces."""
    models: str
    """Parts of model ids, separated by spaces; "" stands for all."""
    page: str
    read: date
    inferred: bool = False
    """Whether the page says it of a sibling only and the figure is carried over."""

    def speaks_of(self, model: str, property_: str) -> bool:
        """Whether this line is about that property of that model."""
        names = [model.removeprefix("claude-") == part for part in self.models.split()]
        dated = [model.removeprefix("claude-").startswith(f"{p}-20") for p in self.models.split()]
        return property_ in self.properties.split() and (not names or any(names + dated))


AUGUST: Final = date(2026, 8, 21)
OCTOBER: Final = date(2026, 10, 7)
NOVEMBER: Final = date(2026, 11, 9)
SDK: Final = date(2026, 11, 26)
OLD: Final = "haiku-4-5 opus-4-5 sonnet-4-5"
NEWEST: Final = "fable-5-2 mythos-5-2"
FABLES: Final = f"fable-5 mythos-5 fable-5-1 mythos-5-1 {NEWEST}"
NOW: Final = "sonnet-5-5 opus-5-5 haiku-5-5"
FABLE_5_2: Final = "models/fable-5-2/whats-new-fable-5-2"
FABLE_5_1: Final = "models/fable-5-1/whats-new-fable-5-1"
OPUS_5_5: Final = "models/opus-5-5/whats-new-opus-5-5"
SONNET_5_5: Final = "models/sonnet-5-5/whats-new-sonnet-5-5"
HAIKU_5_5: Final = "models/haiku-5-5/migration-guide"
COMPARED: Final = "models/haiku-5-5/overview"

SOURCES: Final = (
    Source("id", "", "PyPI anthropic 2.14.0: anthropic/types/model.py", SDK),
    Source("end_of_life", "", "PyPI anthropic 2.14.0: anthropic/_data/deprecated_models.py", SDK),
    Source("released", "", "about-claude/model-deprecations", AUGUST),
    Source("released", NOW, COMPARED, OCTOBER),
    Source("released", "fable-5-1 mythos-5-1", FABLE_5_1, date(2026, 9, 1)),
    Source("released", NEWEST, FABLE_5_2, NOVEMBER),
    Source("context_tokens images", "", "build-with-claude/context-windows", AUGUST),
    Source("context_tokens", NOW, COMPARED, OCTOBER),
    Source("context_tokens max_output_tokens", NEWEST, FABLE_5_2, NOVEMBER),
    Source("max_output_tokens", "", "build-with-claude/context-windows", AUGUST),
    Source("max_output_tokens", OLD, "about-claude/models/overview", AUGUST, inferred=True),
    Source("max_output_tokens", "haiku-4-5", "about-claude/models/overview", AUGUST),
    Source("max_output_tokens batch_output_tokens", NOW, COMPARED, OCTOBER),
    Source("batch_output_tokens", "", "build-with-claude/batch-processing", AUGUST),
    Source("batch_output_tokens", NEWEST, COMPARED, OCTOBER, inferred=True),
    Source("min_cacheable_tokens", "", "build-with-claude/prompt-caching", AUGUST),
    Source("min_cacheable_tokens", NOW, COMPARED, OCTOBER),
    Source("min_cacheable_tokens", NEWEST, "build-with-claude/prompt-caching", AUGUST, True),
    Source(
        "thinking thinks_by_default quiet_efforts",
        "",
        "build-with-claude/thinking-troubleshooting",
        AUGUST,
    ),
    Source("thinking thinks_by_default quiet_efforts", "opus-5-5", OPUS_5_5, date(2026, 9, 22)),
    Source("thinking thinks_by_default quiet_efforts", "sonnet-5-5", SONNET_5_5, date(2026, 10, 2)),
    Source("thinking thinks_by_default quiet_efforts", "haiku-5-5", HAIKU_5_5, OCTOBER),
    Source("thinking thinks_by_default quiet_efforts", NEWEST, FABLE_5_2, NOVEMBER),
    Source("shows_thinking", "", "build-with-claude/thinking", AUGUST),
    Source("shows_thinking", NOW, HAIKU_5_5, OCTOBER),
    Source("shows_thinking", NEWEST, FABLE_5_1, date(2026, 9, 1), inferred=True),
    Source("efforts default_effort", "", "build-with-claude/effort", AUGUST),
    Source("efforts default_effort", NOW, COMPARED, OCTOBER),
    Source("efforts", "haiku-4-5 sonnet-4-5", COMPARED, OCTOBER),
    Source("sampling", "", "build-with-claude/working-with-messages", AUGUST),
    Source("sampling", NOW, HAIKU_5_5, OCTOBER),
    Source("sampling", f"opus-4-6 sonnet-4-6 {OLD}", "api/messages/create", AUGUST),
    Source("forced_tools", "", "build-with-claude/thinking", AUGUST),
    Source("forced_tools", "opus-5-5", OPUS_5_5, date(2026, 9, 22)),
    Source("forced_tools", "sonnet-5-5", SONNET_5_5, date(2026, 10, 2)),
    Source("forced_tools", "haiku-5-5", HAIKU_5_5, OCTOBER),
    Source("forced_tools", "fable-5-1 mythos-5-1", FABLE_5_1, date(2026, 9, 1)),
    Source("forced_tools", NEWEST, FABLE_5_1, date(2026, 9, 1), inferred=True),
    Source("prefill", "", "api/errors", AUGUST),
    Source("prefill", "haiku-5-5", HAIKU_5_5, OCTOBER),
    Source("system_turns", "", "build-with-claude/mid-conversation-system-messages", AUGUST),
    Source("image_edge images", "", "build-with-claude/vision", AUGUST),
    Source("inference_geo", "", "build-with-claude/data-residency", AUGUST),
    Source("fast fast_until", "", "build-with-claude/fast-mode", NOVEMBER),
    Source("fallbacks", "", "build-with-claude/refusals-and-fallback", AUGUST),
    Source("fallbacks", "sonnet-5-5", SONNET_5_5, date(2026, 10, 2)),
    Source("fallbacks", "haiku-5-5", HAIKU_5_5, OCTOBER),
    Source("fallbacks", "opus-5", "public code: /v1/models, allowed_fallback_models", OCTOBER),
    Source("advice", "", "agents-and-tools/tool-use/advisor-tool", AUGUST),
    Source("advice", "sonnet-5-5 haiku-5-5", SONNET_5_5, date(2026, 10, 2)),
    Source("programmatic_tools", "", "agents-and-tools/tool-use/programmatic-tool-calling", AUGUST),
    Source("toolsets", "", "agents-and-tools/tool-use/computer-use-tool", AUGUST),
    Source("toolsets", "haiku-5-5", HAIKU_5_5, OCTOBER),
    Source("compaction", "", "build-with-claude/compaction", AUGUST),
    Source("task_budget", "", "build-with-claude/task-budgets", AUGUST),
    Source("task_budget", "opus-5-5", OPUS_5_5, date(2026, 9, 22)),
)
"""The general page of each property first, then the pages on single models."""


def source_of(model: str, property_: str) -> Source:
    """Where a property of a model is from.

    Raises:
        UnknownModel: the id is not in the table.
        LookupError: models have no such property.
    """
    facts_of(model)
    found = [source for source in SOURCES if source.speaks_of(model, property_)]
    if not found:
        names = ", ".join(ModelFacts.__dataclass_fields__)
        raise LookupError(f"no source for {property_!r}; the properties are {names}.")
    return found[-1]
