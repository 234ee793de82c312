"""patterns.core.models: the one table of ids and limits, and where each figure is from."""

from datetime import date
from typing import Any

import pytest

from patterns.core.model_sources import AUGUST, SOURCES, source_of
from patterns.core.models import (
    AS_OF,
    FABLE,
    HAIKU,
    MODELS,
    MYTHOS,
    OPUS,
    SONNET,
    ModelFacts,
    UnknownModel,
    facts_of,
)

PROPERTIES = tuple(ModelFacts.__dataclass_fields__)


def test_an_unknown_model_is_named_with_what_is_known() -> None:
    """A retired id is as unknown as a misspelt one."""
    with pytest.raises(UnknownModel, match=r"claude-3-opus.*claude-sonnet-5-5") as caught:
        facts_of("claude-3-opus")
    assert caught.value.model == "claude-3-opus"


def test_a_model_is_retired_the_day_after_its_end_of_life() -> None:
    """The end-of-life day itself still works."""
    last = date(2026, 11, 30)
    assert MODELS["claude-sonnet-4-5"].end_of_life == last
    assert not MODELS["claude-sonnet-4-5"].retired(last)
    assert MODELS["claude-sonnet-4-5"].retired(date(2026, 12, 1))
    assert not MODELS[SONNET].retired(date(2099, 1, 1))


def test_fast_mode_ends_the_day_after_its_last_day() -> None:
    """On Opus 4.8 it is announced; elsewhere nothing ends it."""
    opus = MODELS["claude-opus-4-8"]
    assert opus.fast_mode(date(2026, 11, 30)) == "beta"
    assert opus.fast_mode(date(2026, 12, 1)) == "refused"
    assert MODELS[OPUS].fast_mode(date(2030, 1, 1)) == "yes"


@pytest.mark.parametrize("property_", PROPERTIES)
@pytest.mark.parametrize("model", MODELS)
def test_every_figure_has_a_source_and_a_date(model: str, property_: str) -> None:
    """For each row and each property."""
    source = source_of(model, property_)
    assert source.page
    assert AUGUST <= source.read <= AS_OF


def test_a_page_on_one_model_goes_before_the_general_one() -> None:
    """Haiku 5.5 has a guide of its own; Opus 4.6 has not, and dated ids are as their aliases."""
    assert source_of(HAIKU, "forced_tools").page == "models/haiku-5-5/migration-guide"
    assert source_of("claude-opus-4-6", "forced_tools").page == "build-with-claude/thinking"
    dated = source_of("claude-haiku-4-5-20251001", "efforts")
    assert dated == source_of("claude-haiku-4-5", "efforts")
    assert source_of(FABLE, "min_cacheable_tokens").inferred


def test_a_question_that_nothing_answers_is_an_error() -> None:
    """No model, no property."""
    no_id: Any = ["claude-9"]
    with pytest.raises(UnknownModel, match="'claude-9'"):
        facts_of(no_id)
    with pytest.raises(UnknownModel):
        source_of("claude-9", "images")
    with pytest.raises(LookupError, match=r"no source for 'price'.*efforts"):
        source_of(SONNET, "price")


def test_every_source_speaks_of_something() -> None:
    """A misspelt property or model would be a line that nothing reads."""
    for source in SOURCES:
        assert set(source.properties.split()) <= set(PROPERTIES), source
        hits = [m for m in MODELS for p in source.properties.split() if source.speaks_of(m, p)]
        assert hits, source


MODES = {
    SONNET: ("adaptive", "between_tools"),
    OPUS: ("adaptive",),
    HAIKU: ("adaptive", "disabled"),
    FABLE: ("adaptive",),
    MYTHOS: ("adaptive",),
    "claude-opus-5": ("adaptive", "disabled"),
    "claude-opus-4-8": ("adaptive", "disabled"),
    "claude-sonnet-4-6": ("adaptive", "enabled", "disabled"),
    "claude-haiku-4-5": ("enabled", "disabled"),
}


@pytest.mark.parametrize(("model", "modes"), MODES.items(), ids=MODES)
def test_thinking_modes_are_those_of_the_troubleshooting_page(
    model: str, modes: tuple[str, ...]
) -> None:
    """The table of `thinking-troubleshooting`, and the guides of the 5.5 models."""
    assert set(facts_of(model).thinking) == set(modes)


def test_efforts_are_those_of_the_effort_page() -> None:
    """None on two models, three on one, no `xhigh` on 4.6; `medium` is the default of two."""
    assert facts_of("claude-haiku-4-5").efforts == facts_of("claude-sonnet-4-5").efforts == ()
    assert facts_of("claude-opus-4-5").efforts == ("low", "medium", "high")
    assert "xhigh" not in facts_of("claude-sonnet-4-6").efforts
    assert {m for m in MODELS if MODELS[m].default_effort == "medium"} == {OPUS, HAIKU}


def test_who_forces_tools_and_who_shows_its_thinking() -> None:
    """Of the current models Haiku alone takes a forced tool; none shows its thinking unasked."""
    current = (SONNET, OPUS, HAIKU, FABLE, MYTHOS)
    assert [m for m in current if MODELS[m].forced_tools] == [HAIKU]
    assert not any(MODELS[m].shows_thinking for m in current)
    assert all(MODELS[m].thinks_by_default for m in current)
