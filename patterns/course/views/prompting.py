"""What chapter 05 draws: one-line failures, confusion grids, and the prefix that stays cached."""

import html
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from anthropic.types import Usage
from pydantic import ValidationError

from patterns.core.pricing import cost_usd
from patterns.course.views import INK, PALETTE, Shown, Table, figure, knobs, one_line, show
from patterns.prompting import UserContext, build_system_prompt
from patterns.prompting.measure import accuracy, by_chance, confusion

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


def changes(
    expected: Sequence[str], before: Sequence[str], after: Sequence[str]
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
        f"Examples move {right[0]} of {len(expected)} to {right[1]}; "
        f"chance alone does as much in {chance:.1%} of cases"
    )
    fig, axes = figure(title, size=(8.6, 4.3), panels=2, sharey=True)
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
        axis.scatter(column, row, s=620, marker="s", color=colour)
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
