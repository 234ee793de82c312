"""What chapter 05 draws: one-line failures, confusion grids, and the prefix that stays cached."""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from anthropic.types import Usage
from pydantic import ValidationError

from patterns.core.messages import AmbiguousTag, extract_tag
from patterns.core.pricing import cost_usd
from patterns.course.views import INK, PALETTE, Shown, Table, figure, knobs, one_line, show
from patterns.prompting import UserContext, build_system_prompt
from patterns.prompting.measure import accuracy, by_chance, confusion
from patterns.prompting.reasoning import Reasoned

WHY: Final[Mapping[str, Mapping[str, Any]]] = {
    "reasoning": {
        "wrong": {"end_turn": "Steps for a reader are fine; the private reasoning is not given."},
        "why": "The status is 200 and there is no answer. A retry ends the same way.",
    },
    "tags": {
        "wrong": {
            "the first": "The regular expression takes it, and is wrong where that one is bait.",
            "the last": "Whoever writes after the answer would win.",
        },
        "why": "The rule: a tag counts where it is used, not where it is spoken of, and two "
        "different contents are an error that lists them. None says that no tag was closed.",
    },
    "thinking": {
        "wrong": {"all": "Nobody gets the raw thinking.", "a summary": "Only if you ask for it."},
        "why": "Left out, `display` is 'omitted' on this model: an empty text and a signature. "
        "`chain_of_thought(…, summary=True)` asks for the summary; the price is the same.",
    },
    "repair": {
        "wrong": {"left out": "Then nobody could say what is wrong with it."},
        "why": "The answer goes back unchanged, thinking included, then the errors as a user turn. "
        "Both calls are billed, and both are in the result.",
    },
    "schema": {
        "wrong": {
            1: "Look again at what the text says of each.",
            3: "All three are known to fail.",
        },
        "why": "Each is refused before anything is paid, and the message says what to change.",
    },
    "price": {
        "why": "The first call writes the examples to the cache, and others read them at a small "
        "part of the price. The short prompt is below the least that is cached; nobody says so.",
    },
    "chance": {
        "wrong": {"ship": "A coin would do as well too often."},
        "why": "Forty messages are few once most of them are easy. Label more of those on which "
        "the two prompts differ.",
    },
}
"""What a prediction is told, kept away from the cell that asks for it."""

# ── Then and now ──────────────────────────────────────────────────────────────────────────────


def outcome(call: Callable[[], Any]) -> Shown:
    """What a call gives, in one line: its result, or the error that it ends with."""
    try:
        return Shown(repr(call()))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "answer"
        return Shown(f"ValidationError: {field}: {first['msg']}")
    except Exception as error:
        return one_line(error)


def tag_table(texts: Sequence[str], name: str) -> Table:
    """What the usual regular expression and `extract_tag` find in each text."""
    rows = []
    for text in texts:
        match = re.search(f"<{name}>(.*?)</{name}>", text)
        ours = repr(outcome(lambda text=text: extract_tag(text, name)))  # type: ignore[misc]
        rows.append((text, repr(match and match[1]), ours.partition(":")[0]))
    return Table(("text", "regular expression", "extract_tag"), rows)


def which(text: str, name: str) -> str:
    """Which of several contents `extract_tag` takes: "the first", "the last" or "an error"."""
    try:
        found = extract_tag(text, name)
    except AmbiguousTag:
        return "an error"
    return "the first" if text.startswith(f"<{name}>{found}</{name}>") else "the last"


def thinking_line(answer: Reasoned) -> Shown:
    """How much of an answer's thinking can be read, and how much of it is paid for."""
    details = answer.usage.output_tokens_details
    paid = details.thinking_tokens if details else "an unknown number"
    return Shown(
        f"{len(answer.thinking)} characters of thinking to read; "
        f"{paid} of {answer.usage.output_tokens} tokens out are thinking"
    )


# ── Labels ────────────────────────────────────────────────────────────────────────────────────


def score_line(expected: Sequence[str], predicted: Sequence[str], *, source: str) -> Shown:
    """Accuracy in one line, with where the predictions come from."""
    return Shown(f"{accuracy(expected, predicted):.1%} of {len(expected)} ({source})")


def chance_line(
    expected: Sequence[str], before: Sequence[str], after: Sequence[str], *, source: str
) -> Shown:
    """What changed between two runs and how likely that is by chance, in one line."""
    better, worse = changes(expected, before, after)
    chance = f"by chance in {by_chance(better, worse):.1%} of cases"
    return Shown(f"{better} fixed, {worse} broken: {chance} ({source})")


def score_table(
    model: str,
    expected: Sequence[str],
    runs: Mapping[str, tuple[Sequence[str], Sequence[Usage]]],
    *,
    source: str,
) -> Table:
    """Each run's accuracy beside its tokens and its price for 1,000 texts."""
    rows = []
    for name, (predicted, usages) in runs.items():
        right = sum(map(str.__eq__, expected, predicted))
        cost = sum((cost_usd(model, usage) or 0 for usage in usages), 0)
        rows.append(
            (
                name,
                f"{right} of {len(expected)}",
                f"{accuracy(expected, predicted):.1%}",
                sum(usage.input_tokens for usage in usages),
                sum(usage.cache_creation_input_tokens or 0 for usage in usages),
                sum(usage.cache_read_input_tokens or 0 for usage in usages),
                f"${1000 * cost / len(usages):.2f}",
            )
        )
    columns = ("prompt", "right", "accuracy", "tokens in", "written", "read", "1,000 texts")
    return Table(columns, rows, note=source)


def dearer(model: str, usages: Sequence[Usage], than: Sequence[Usage]) -> bool:
    """Whether one run costs more a text than another."""
    one, other = (
        sum(cost_usd(model, each) or 0 for each in run) / len(run) for run in (usages, than)
    )
    return one > other


def changes(
    expected: Sequence[str], before: Sequence[str | None], after: Sequence[str | None]
) -> tuple[int, int]:
    """How many texts only the second run got right, and how many only the first."""
    triples = list(zip(expected, before, after, strict=True))
    better = sum(was != right == now for right, was, now in triples)
    worse = sum(was == right != now for right, was, now in triples)
    return better, worse


def plot_confusion(
    expected: Sequence[str], before: Sequence[str], after: Sequence[str], *, source: str
) -> None:
    """Both runs as grids, expected by row; the title says what changed and how likely by chance."""
    labels = list(dict.fromkeys([*expected, *before, *after]))
    better, worse = changes(expected, before, after)
    right = [sum(map(str.__eq__, expected, run)) for run in (before, after)]
    chance = by_chance(better, worse)
    title = (
        f"{right[0]} of {len(expected)} right become {right[1]}: by chance in {chance:.1%} of cases"
    )
    fig, axes = figure(title, size=(7.2, 4.2), panels=2, sharey=True)
    for axis, name, run in zip(axes, ("zero-shot", "few-shot"), (before, after), strict=True):
        _grid(axis, labels, confusion(expected, run))
        axis.set_title(name, fontsize=10, color=INK)
        axis.set_xlabel("predicted")
    axes[0].set_ylabel("expected")
    show(fig, _grids_in_words(expected, before, after), source=source)


def _grid(axis: Any, labels: Sequence[str], counts: Mapping[tuple[str, str | None], int]) -> None:
    axis.grid(visible=False)
    axis.set_xticks(range(len(labels)), labels, rotation=35, ha="right")
    axis.set_yticks(range(len(labels)), labels)
    axis.set_xlim(-0.5, len(labels) - 0.5)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    for (wanted, got), count in counts.items():
        row, column = labels.index(wanted), labels.index(str(got))
        colour = PALETTE[1] if wanted == got else PALETTE[0]
        axis.scatter(column, row, s=420, marker="s", color=colour)
        axis.text(column, row, str(count), ha="center", va="center", color="white", weight="bold")


def _grids_in_words(expected: Sequence[str], before: Sequence[str], after: Sequence[str]) -> str:
    """Every number in the two grids that is not on a diagonal, and the sums of those that are."""
    said = []
    for name, run in (("zero-shot", before), ("few-shot", after)):
        counts = confusion(expected, run)
        wrong = [f"{n} {was} as {got}" for (was, got), n in counts.items() if was != got]
        right = sum(n for (was, got), n in counts.items() if was == got)
        said.append(f"{name} {right} on the diagonal, {', '.join(wrong)}")
    return f"Two grids of expected by predicted label: {'; '.join(said)}."


# ── The prefix that stays cached ──────────────────────────────────────────────────────────────

MORNING: Final = datetime(2026, 11, 23, 9, 41, tzinfo=UTC)
ALICE: Final = UserContext(name="Alice", level="expert", concise=True)
BOB: Final = UserContext(name="Bob", level="beginner", examples=True)

NEXT: Final[Mapping[str, tuple[UserContext, datetime]]] = {
    "a minute later": (ALICE, MORNING + timedelta(minutes=1)),
    "the same evening": (ALICE, MORNING + timedelta(hours=9)),
    "the next day": (ALICE, MORNING + timedelta(days=1)),
    "another user": (BOB, MORNING),
}
"""The request after Alice's first one: who asks, and when."""

LAYOUTS: Final = ("time first", "build_system_prompt")


def layout_text(layout: str, instructions: str, user: UserContext, now: datetime) -> str:
    """A system prompt as one text, in the well-known order or in ours."""
    blocks = build_system_prompt(instructions, user, clock=lambda: now, zone=UTC)
    if layout == "build_system_prompt":
        return "\n".join(block["text"] for block in blocks)
    clock = f"Current date and time: {now:%Y-%m-%d %H:%M}"
    return "\n".join([clock, f"You are helping {user.name}.", instructions])


def shared(layout: str, instructions: str, change: str) -> tuple[str, str]:
    """The part of the next prompt that the first one already held, and the rest of it."""
    first = layout_text(layout, instructions, ALICE, MORNING)
    then = layout_text(layout, instructions, *NEXT[change])
    pairs = enumerate(zip(first, then, strict=False))
    same = next((at for at, (one, other) in pairs if one != other), min(len(first), len(then)))
    return then[:same], then[same:]


def prefix_table(instructions: str) -> Table:
    """How much of the next prompt is a prefix of the one before, by change and layout."""
    rows = []
    for change in NEXT:
        halves = [shared(layout, instructions, change) for layout in LAYOUTS]
        rows.append((change, *(f"{len(same) / len(same + rest):.0%}" for same, rest in halves)))
    return Table(("next request", *LAYOUTS), rows)


def prefix_widget(instructions: str) -> Any:
    """The next prompt with its reusable prefix marked; change and layout are the knobs."""
    import ipywidgets as widgets
    from IPython.display import HTML, display

    def draw(change: str, layout: str) -> None:
        same, rest = shared(layout, instructions, change)
        marked = f"<mark style='background:#cfe8d5'>{html.escape(same)}</mark>{html.escape(rest)}"
        share = f"{len(same):,} of {len(same + rest):,} characters begin as before"
        box = "white-space:pre-wrap;max-height:16em;overflow:auto;padding:0 1em"
        display(HTML(f"<p>{share}</p><div style='{box}'>{marked}</div>"))  # type: ignore[no-untyped-call]

    return knobs(
        draw,
        change=widgets.Dropdown(options=list(NEXT), description="next request"),
        layout=widgets.ToggleButtons(options=LAYOUTS, style={"button_width": "auto"}),
    )
