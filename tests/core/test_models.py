"""patterns.core.models: the one table of ids and limits."""

from datetime import date

import pytest

from patterns.core.models import HAIKU, MODELS, OPUS, SONNET, UnknownModel, facts_of


def test_the_current_models_refuse_what_the_migration_guide_says() -> None:
    """Five settings are answered with a 400."""
    assert facts_of(SONNET).refuses == facts_of(OPUS).refuses
    assert len(facts_of(HAIKU).refuses) == 5


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
