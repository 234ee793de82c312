"""The chapter's data, drawings and exercises: what they say is what the modules compute."""

import json
from collections import Counter
from itertools import product
from random import Random
from typing import Any

import pytest
from anthropic.types import Usage
from exercises import SOLVED
from exercises.prompting import (
    EXAMPLES,
    HOUSE_RULES,
    LABELS,
    MESSAGES,
    SPLITS,
    check,
    runs_of,
)
from matplotlib import pyplot as plt
from pydantic import BaseModel

from patterns.core.messages import tag
from patterns.core.models import SONNET, facts_of
from patterns.course.views import prompting as views
from patterns.fake_api.tokens import text_tokens
from patterns.prompting.labels import classifier_prompt
from patterns.prompting.measure import by_chance
from patterns.prompting.reasoning import Reasoned


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be displayed; figures are drawn in memory."""
    things: list[Any] = []
    plt.switch_backend("agg")
    monkeypatch.setattr(
        "IPython.display.display", lambda thing, **_: things.append(getattr(thing, "figure", thing))
    )
    return things


def test_the_judge_of_prompts_is_tried_on_both_sides_of_the_limit() -> None:
    """The splits that are graded hold what they say, and chance is above and below 5 %."""
    for (fixed, broken), _ in SPLITS:
        expected, before, after = runs_of(fixed, broken, Random(1))
        assert views.changes(expected, before, after) == (fixed, broken)
    more = [split for split, _ in SPLITS if split[0] > split[1]]
    assert {by_chance(*split) < 0.05 for split in more} == {True, False}


def test_a_letter_that_only_fails_on_one_customer_is_not_solved() -> None:
    """Each text of the grader is there for an answer that the others let through."""
    for said in ("&lt;", "</ticket>", '<ticket id="T-1">', "nobody writes this"):

        def letter(ticket: dict[str, str], raw: str = said) -> str:
            if raw in ticket["text"]:
                return f'<ticket id="{ticket["id"]}">{ticket["text"]}</ticket>'
            return tag("ticket", ticket["text"], id=ticket["id"])

        assert (check("letter", letter) == SOLVED) == (said == "nobody writes this")


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
    title = "2 of 4 right become 3: by chance in 100.0% of cases"
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
    """For every change and layout that the text and the table name."""
    change, layout = views.prefix_widget(HOUSE_RULES).children[0].children
    assert shown[-1].data.startswith("<p>38 of ")
    assert set(change.options) == set(views.NEXT)
    for change.value, layout.value in product(views.NEXT, views.LAYOUTS):
        same, rest = views.shared(layout.value, HOUSE_RULES, change.value)
        assert f"<p>{len(same):,} of {len(same + rest):,} characters" in shown[-1].data


def test_the_usual_expression_and_ours_are_shown_side_by_side() -> None:
    """What each finds, or the kind of error."""
    texts = ("<a>1</a>", "<a>1</a><a>2</a>", "<a>1")
    assert views.tag_table(texts, "a").rows == [
        ("<a>1</a>", "'1'", "'1'"),
        ("<a>1</a><a>2</a>", "'1'", "AmbiguousTag"),
        ("<a>1", "None", "None"),
    ]


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("<a>1</a><a></a>", "the first"),
        ("the tag <a> holds it: <a>1</a>", "the last"),
        ("<a>1</a><a>2</a>", "an error"),
    ],
)
def test_which_tag_is_taken_is_told_in_the_words_of_the_question(text: str, taken: str) -> None:
    """The three guesses that the cell offers."""
    assert views.which(text, "a") == taken


@pytest.mark.parametrize(
    ("details", "paid"), [({"thinking_tokens": 4}, "4"), (None, "an unknown number")]
)
def test_thinking_is_paid_for_whether_or_not_it_can_be_read(details: Any, paid: str) -> None:
    """Where the API does not say how much, neither does the line."""
    usage = Usage.model_validate(
        {"input_tokens": 1, "output_tokens": 9, "output_tokens_details": details}
    )
    answer = Reasoned("1", {}, "", usage, "end_turn", None)
    line = f"0 characters of thinking to read; {paid} of 9 tokens out are thinking"
    assert repr(views.thinking_line(answer)) == line


def test_one_run_is_dearer_than_another_by_the_text() -> None:
    """Not by the run: the longer one may cost less a text."""
    short, long = (Usage(input_tokens=tokens, output_tokens=1) for tokens in (10, 1000))
    assert views.dearer(SONNET, [long], [short] * 200)
    assert not views.dearer(SONNET, [short] * 200, [long])
