"""The chapter's data, drawings and exercises: what they say is what the modules compute."""

import json
from collections import Counter
from typing import Any

import pytest
from anthropic.types import Usage
from exercises.prompting import (
    EXAMPLES,
    EXERCISES,
    HOUSE_RULES,
    LABELS,
    MESSAGES,
    PARTS,
    grade_fixes,
    reused,
)
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from pydantic import BaseModel

from patterns.core.models import SONNET, facts_of
from patterns.course.views import prompting as views
from patterns.fake_api.tokens import text_tokens
from patterns.prompting.labels import classifier_prompt
from patterns.prompting.measure import by_chance


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be displayed; figures are drawn in memory."""
    things: list[Any] = []
    plt.switch_backend("agg")
    monkeypatch.setattr(
        "IPython.display.display", lambda thing, **_: things.append(getattr(thing, "figure", thing))
    )
    return things


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_starter_is_not_enough_and_solution_passes(exercise: Any) -> None:
    """The starter runs and gets a hint."""
    assert not exercise.run(exercise.starter).passed
    assert exercise.run(exercise.solution).passed


WRONG = [(exercise, wrong) for exercise in EXERCISES for wrong in exercise.wrong]


@pytest.mark.parametrize(("exercise", "wrong"), WRONG)
def test_wrong_answers_are_turned_down_with_their_hint(exercise: Any, wrong: Any) -> None:
    """Answers that people give."""
    grade = exercise.run(wrong.code)
    assert not grade.passed
    assert wrong.hint in grade.hint


@given(st.permutations(sorted(PARTS)))
def test_no_order_reuses_more_than_the_solution(order: list[str]) -> None:
    """The grader's best is the best."""
    assert reused(order) <= reused(["instructions", "user", "time", "question"])


def test_only_the_smallest_number_of_fixes_is_right() -> None:
    """The sign test decides, not the grader."""
    passed = [n for n in range(1, 41) if grade_fixes(n).passed]
    assert passed == [next(n for n in range(1, 41) if by_chance(n, 0) < 0.05)]


def test_messages_are_forty_balanced_and_never_among_the_examples() -> None:
    """Measuring on examples would measure memory."""
    assert set(Counter(label for _, label in MESSAGES).values()) == {8}
    assert len(MESSAGES) == len({text for text, _ in MESSAGES}) == 40
    assert {label for _, label in MESSAGES} == {*LABELS, "other"}
    assert not {text for text, _ in MESSAGES} & {example.text for example in EXAMPLES}


def test_examples_and_house_rules_are_long_enough_to_be_cached() -> None:
    """By the fake API's estimate; the zero-shot prompt is not."""
    least = facts_of(SONNET).min_cacheable_tokens
    assert text_tokens(HOUSE_RULES) > least
    assert text_tokens(classifier_prompt(LABELS, EXAMPLES)[0]["text"]) > least
    assert text_tokens(classifier_prompt(LABELS)[0]["text"]) < least


class Stars(BaseModel):
    """One field, for errors."""

    stars: int


def test_an_outcome_is_the_result_or_the_error_in_one_line() -> None:
    """For validation errors it names the field, which the first line of pydantic does not."""
    assert repr(views.outcome(lambda: 1 + 1)) == "2"
    assert repr(views.outcome(lambda: json.loads("{"))).startswith("JSONDecodeError: Expecting")
    wrong = repr(views.outcome(lambda: Stars.model_validate_json('{"stars": "many"}')))
    assert wrong.startswith("ValidationError: stars: Input should be a valid integer")
    cut = repr(views.outcome(lambda: Stars.model_validate_json("{")))
    assert cut.startswith("ValidationError: answer: Invalid JSON")


EXPECTED = ["a", "a", "b", "b"]
BEFORE = ["a", "b", "b", "a"]
AFTER = ["a", "a", "a", "b"]


def test_changes_are_the_texts_on_which_two_runs_differ() -> None:
    """Two fixed, one broken, and one that neither of them touches."""
    assert views.changes(EXPECTED, BEFORE, AFTER) == (2, 1)


def test_scores_in_one_line_say_where_they_come_from() -> None:
    """No accuracy without its source."""
    line = views.score_line(EXPECTED, AFTER, source="illustrative: made up")
    assert repr(line) == "75.0% of 4 (illustrative: made up)"
    line = views.chance_line(EXPECTED, BEFORE, AFTER, source="illustrative: made up")
    assert repr(line) == ("2 fixed, 1 broken: by chance in 100.0% of cases (illustrative: made up)")


def test_the_score_table_prices_what_was_written_and_read() -> None:
    """A run without cache tokens and one with."""
    plain = Usage(input_tokens=1000, output_tokens=10)
    cached = Usage(
        input_tokens=100,
        output_tokens=10,
        cache_creation_input_tokens=0,
        cache_read_input_tokens=900,
    )
    runs = {"plain": (BEFORE, [plain] * 4), "cached": (AFTER, [cached] * 4)}
    table = views.score_table(SONNET, EXPECTED, runs, source="illustrative: made up")
    assert table.rows[0][:6] == ("plain", "2 of 4", "50.0%", "4000", "0", "0")
    assert table.rows[1][:6] == ("cached", "3 of 4", "75.0%", "400", "0", "3600")
    assert float(table.rows[1][6][1:]) < float(table.rows[0][6][1:])
    assert table.note == "illustrative: made up"


def test_the_confusion_plot_says_its_numbers(
    shown: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The finding is the title, and every wrong cell is in the sentence below it."""
    views.plot_confusion(EXPECTED, BEFORE, AFTER, source="illustrative: made up")
    title = "Examples move 2 of 4 to 3; chance alone does as much in 100.0% of cases"
    assert shown[0].get_suptitle() == title
    assert capsys.readouterr().out == (
        "Two grids of expected by predicted label: zero-shot 2 on the diagonal, 1 a as b, 1 b as a;"
        " few-shot 3 on the diagonal, 1 b as a. (illustrative: made up)\n"
    )


def test_ours_keeps_the_whole_shared_block_whatever_changes() -> None:
    """And the well-known order keeps less than its first line."""
    for change in views.NEXT:
        ours, _ = views.shared("build_system_prompt", HOUSE_RULES, change)
        theirs, rest = views.shared("time first", HOUSE_RULES, change)
        assert ours.startswith(HOUSE_RULES)
        assert "\n" not in theirs or change == "another user"
        assert HOUSE_RULES in rest
    assert [row[0] for row in views.prefix_table(HOUSE_RULES).rows] == list(views.NEXT)


def test_an_unchanged_prompt_is_shared_to_its_end() -> None:
    """A minute changes nothing in ours."""
    assert views.shared("build_system_prompt", "Be kind.", "a minute later")[1] == ""


def test_the_widget_shows_what_the_table_says(shown: list[Any]) -> None:
    """Turning both knobs redraws it."""
    change, layout = views.prefix_widget(HOUSE_RULES).children[0].children
    assert shown.pop().data.startswith("<p>38 of ")
    layout.value = "build_system_prompt"
    same, rest = views.shared("build_system_prompt", HOUSE_RULES, "a minute later")
    assert f"<p>{len(same):,} of {len(same + rest):,} characters" in shown.pop().data
    change.value = "another user"
    assert "<mark" in shown.pop().data
