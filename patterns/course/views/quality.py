"""What chapter 06 draws: votes in a line, accuracy against dollars, the odds of a vote."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from anthropic import APIRequest, AsyncAnthropic, AsyncCallNext, Middleware

from patterns.course.views import (
    INK,
    MUTED,
    PALETTE,
    STYLES,
    Shown,
    Table,
    figure,
    knobs,
    note_for,
    show,
)
from patterns.quality import Vote
from patterns.quality.calls import Billed
from patterns.quality.odds import early_stop_cost, majority_accuracy, plurality_accuracy
from patterns.quality.prices import cost_of
from patterns.quality.refinement import Refinement
from patterns.quality.study import Gain, Strategy

WHY: Final[Mapping[str, Mapping[str, Any]]] = {
    "strings": {
        "wrong": {
            "Paris": ("Three say so, in three spellings: to a Counter these are three answers.")
        },
        "why": "Two equal strings beat three spellings.",
    },
    "draws": {
        "wrong": {1: "Equal requests, unequal draws.", 5: "Then no answer would be worth a vote."},
        "why": ("Each call draws anew. Whoever asks once gets one of them, and cannot tell which."),
    },
    "early": {
        "wrong": {
            3: "Three settle it only if all three agree.",
            5: "The last one is asked only if it can matter.",
        },
        "why": ("It asks for three, and then for as many more as can settle it at the earliest."),
    },
    "scatter": {
        "wrong": {
            "worse": ("That holds if all wrong samples agree. Here each wrong answer has 14 %.")
        },
        "why": (
            "A vote takes the most frequent answer, and 30 % is more than any of the others has."
        ),
    },
    "promise": {
        "wrong": {
            "found": (
                "The formula treats questions as alike, as if each of them had the average chance."
            )
        },
        "why": (
            "Questions are not alike: votes cannot help where samples are always "
            "right, or mostly wrong."
        ),
    },
    "best": {
        "wrong": {
            3: "The last one is what a loop without scores returns.",
            2: "It has the lowest score.",
        },
    },
    "lost": {
        "wrong": {
            "2 of 5": "A lost sample votes for nobody.",
            "3 of 5": "Two of those three samples agree.",
        },
        "why": "Cut answers are billed all the same: they are in vote.calls.",
    },
}
"""What a prediction is told, kept away from the cell that asks for it."""

ODD: Final = tuple(range(1, 22, 2))
"""Numbers of samples that cannot end in a tie between two answers."""

BANDS: Final = (
    ("always right", 1.0, 1.0),
    ("more often right", 0.5, 1.0),
    ("less often right", 0.0, 0.5),
    ("never right", 0.0, 0.0),
)


class Noting(Middleware):
    """Appends the body of every request to a list, for a look at the wire."""

    def __init__(self, sent: list[Any]) -> None:
        self.sent = sent

    async def handle_async(self, request: APIRequest, call_next: AsyncCallNext) -> Any:
        """Note the body, then go on."""
        self.sent.append(request.json)
        return await call_next(request)


def ballot(vote: Vote[Any], client: AsyncAnthropic | None = None) -> Shown:
    """A vote in a line: winner or tie, counts, agreement with its interval, losses, savings.

    With a client from `connect_async` a second line says where the answers come from.
    """
    counts = ", ".join(f"{answer}: {count}" for answer, count in vote.counts)
    low, high = vote.interval
    parts = [f"{vote.answer!r}" if not vote.tie else f"tie of {', '.join(map(str, vote.tie))}"]
    parts.append(f"{counts}")
    parts.append(f"agreement {vote.agreement:.0%} ({low:.0%} to {high:.0%})")
    if vote.lost:
        parts.append(f"lost: {', '.join(sorted(lost.reason for lost in vote.lost))}")
    if vote.skipped:
        parts.append(f"{vote.skipped} skipped")
    note = f"\n{note_for(client)}" if client else ""
    return Shown(" · ".join(parts) + note)


def dollars(amount: Decimal | None) -> str:
    """A cost of some cents, to a hundredth of a cent."""
    return "unknown" if amount is None else f"${amount:.4f}"


def cost_rows(client: AsyncAnthropic, **results: Billed) -> Table:
    """Calls, tokens and dollars of several results."""
    rows = [
        (
            name.replace("_", " "),
            len(result.calls),
            sum(usage.output_tokens for usage in result.usage),
            dollars(cost_of(result)),
        )
        for name, result in results.items()
    ]
    return Table(("result", "calls", "tokens out", "cost"), rows, note=note_for(client))


def stopping_table(n: int, chances: Sequence[float]) -> Table:
    """What a vote of `n` that stops early costs when a sample is right with each chance."""
    rows = []
    for p in chances:
        samples, rounds = early_stop_cost(p, n)
        right, saved = majority_accuracy(p, n), 1 - samples / n
        rows.append(
            (f"{p:.0%}", f"{right:.1%}", n, f"{samples:.2f}", f"{saved:.0%}", f"{rounds:.2f}")
        )
    columns = ("a sample is right", "the vote is", "samples", "stopping early", "saved", "rounds")
    return Table(columns, rows)


def rounds_table(refined: Refinement, client: AsyncAnthropic) -> Table:
    """Each version of a refinement with its score and issues; the chosen one is marked."""
    rows = [
        (
            each.number,
            "–" if each.score is None else each.score,
            dollars(cost_of(each)),
            "chosen" if each is refined.best else "",
            " · ".join(each.critique.issues) if each.critique else "",
        )
        for each in refined.history
    ]
    return Table(("version", "score", "cost", "", "issues"), rows, note=note_for(client))


def study_table(strategies: Sequence[Strategy], client: AsyncAnthropic) -> Table:
    """Accuracy with its interval and price for 1,000 questions, one strategy a row."""
    rows = [
        (
            each.name,
            f"{each.accuracy:.1%}",
            f"{each.interval[0]:.0%} – {each.interval[1]:.0%}",
            f"${each.per_1000:.2f}",
        )
        for each in strategies
    ]
    return Table(
        ("strategy", "right", "95 % interval", "1,000 questions"), rows, note=note_for(client)
    )


def gain_table(gains: Mapping[str, Gain], client: AsyncAnthropic) -> Table:
    """Paired differences with their intervals, and whether the questions show one."""
    rows = [
        (
            name,
            f"{100 * each.difference:+.1f}",
            f"{100 * each.low:+.1f} to {100 * each.high:+.1f}",
            "shown" if each.shown else "not shown",
        )
        for name, each in gains.items()
    ]
    return Table(
        ("comparison", "points", "95 % interval", "difference"), rows, note=note_for(client)
    )


def bands_table(one: Strategy, many: Strategy, client: AsyncAnthropic) -> Table:
    """Questions by how often a single sample is right, and what voting makes of each band."""
    rows = []
    for name, low, high in BANDS:
        pairs = [
            pair
            for pair in zip(one.scores, many.scores, strict=True)
            if pair[0] == low == high or (low < high and low <= pair[0] < high and pair[0] > 0)
        ]
        singles, votes = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
        rows.append((name, len(pairs), f"{singles:.1f}", f"{votes:.1f}", f"{votes - singles:+.1f}"))
    columns = ("one sample is", "questions", one.name, many.name, "gain")
    return Table(columns, rows, note=note_for(client))


def plot_accuracy(title: str, strategies: Sequence[Strategy], client: AsyncAnthropic) -> None:
    """Accuracy over dollars with intervals; votes are joined by a line, the rest stands alone."""
    fig, ax = figure(title, size=(7.6, 4.2))
    votes = [each for each in strategies if each.name.endswith(("votes", "one call"))]
    ax.plot([float(v.per_1000) for v in votes], [v.accuracy for v in votes], color=MUTED, zorder=1)
    for each in strategies:
        colour = PALETTE[1] if each in votes else PALETTE[0]
        low, high = each.interval
        x, y = float(each.per_1000), each.accuracy
        ax.errorbar(
            x, y, yerr=[[y - low], [high - y]], fmt="o", color=colour, capsize=3, elinewidth=1
        )
        # Votes below their line to the right, the rest above to the left: no two labels meet.
        place, side = ((6, -13), "left") if each in votes else ((-6, 6), "right")
        ax.annotate(
            each.name, (x, y), place, textcoords="offset points", ha=side, color=INK, fontsize=9
        )
    ax.set_xlabel("US dollars for 1,000 questions")
    ax.set_ylabel("share of questions answered right")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set_xlim(left=0, right=1.15 * max(float(each.per_1000) for each in strategies))
    said = "; ".join(f"{s.name} {s.accuracy:.0%} for ${s.per_1000:.2f}" for s in strategies)
    show(
        fig,
        f"Accuracy against price for 1,000 questions, with 95 % intervals: {said}.",
        source=note_for(client),
    )


def odds_text(n: int, percent: int, wrong: int) -> Shown:
    """What a vote of `n` makes of samples that are each right with this chance."""
    right = plurality_accuracy(percent / 100, n, wrong)
    answers = "1 wrong answer" if wrong == 1 else f"{wrong} wrong answers"
    return Shown(f"{n} votes, each right with {percent} %, {answers}: right with {right:.1%}")


def odds_table(n: int, chances: Sequence[float], wrongs: Sequence[int]) -> Table:
    """How often a vote of `n` is right, by a sample's chance and by how many answers are wrong."""
    rows = [
        (f"{p:.0%}", *(f"{plurality_accuracy(p, n, wrong):.1%}" for wrong in wrongs))
        for p in chances
    ]
    return Table(("a sample is right", *(f"{wrong} wrong" for wrong in wrongs)), rows)


def promise(one: Strategy, many: Strategy) -> tuple[float, float]:
    """What the binomial promises for the study's share of right samples, and what was found."""
    return majority_accuracy(one.accuracy, _size(many)), many.accuracy


def promise_text(one: Strategy, many: Strategy, client: AsyncAnthropic) -> Shown:
    """Promise and finding in a line, with the source."""
    promised, found = promise(one, many)
    return Shown(
        f"the study: one call {one.accuracy:.1%}; {many.name}: promised {promised:.1%}, "
        f"found {found:.1%}\n{note_for(client)}"
    )


def draw_odds(n: int, percent: int, wrong: int) -> None:
    """How often a vote is right over its size, beside one call; nothing of it is measured."""
    p = percent / 100
    reached = plurality_accuracy(p, n, wrong)
    better = "better than" if reached > p else "worse than" if reached < p else "no better than"
    fig, ax = figure(f"{n} votes are right with {reached:.1%}: {better} one call", size=(6.6, 3.4))
    curve = [plurality_accuracy(p, k, wrong) for k in ODD]
    ax.plot(ODD, curve, **STYLES[1], markersize=4, label="a vote")
    ax.plot([n], [reached], "o", color=PALETTE[0], markersize=10)
    ax.axhline(p, color=INK, linewidth=1, linestyle=":", label="one call")
    ax.set_ylim(0, 1.02)
    ax.set_xticks(ODD[::2])
    ax.set_xlabel("samples")
    ax.set_ylabel("chance of a right answer")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.legend(frameon=False, fontsize=9, loc="best")
    show(fig, f"{odds_text(n, percent, wrong)}.")


def _size(votes: Strategy) -> int:
    return 1 if votes.name == "one call" else int(votes.name.split()[0])


def odds_widget() -> Any:
    """Sliders over `draw_odds`: samples, the chance of each, and how many answers are wrong."""
    import ipywidgets as widgets

    return knobs(
        draw_odds,
        n=widgets.IntSlider(9, 1, 21, 2, description="samples"),
        percent=widgets.IntSlider(30, 0, 100, 1, description="right, %"),
        wrong=widgets.IntSlider(1, 1, 8, 1, description="wrong answers"),
    )


def cache_table(panel: Billed, names: Sequence[str], client: AsyncAnthropic) -> Table:
    """Input tokens of each call of a panel by how they were paid."""
    rows = [
        (
            name,
            usage.input_tokens,
            usage.cache_creation_input_tokens or 0,
            usage.cache_read_input_tokens or 0,
        )
        for name, usage in zip(names, panel.usage, strict=True)
    ]
    return Table(("call", "uncached", "written", "read"), rows, note=note_for(client))
