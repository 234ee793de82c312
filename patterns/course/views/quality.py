"""What chapter 06 draws: votes in a line, accuracy against dollars, and the binomial widget."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from anthropic import APIRequest, AsyncAnthropic, AsyncCallNext, Middleware

from patterns.course.views import INK, MUTED, PALETTE, Shown, Table, figure, knobs, note_for, show
from patterns.quality import Vote
from patterns.quality.calls import Billed
from patterns.quality.odds import early_stop_cost, majority_accuracy
from patterns.quality.prices import cost_of
from patterns.quality.refinement import Refinement
from patterns.quality.study import Gain, Strategy

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


def majority_text(n: int, percent: int) -> Shown:
    """What a vote of `n` makes of samples that are each right with this chance."""
    p = percent / 100
    samples, _ = early_stop_cost(p, n)
    return Shown(
        f"{n} votes, each right with {percent} %: the vote is right with "
        f"{majority_accuracy(p, n):.1%}, for {samples:.1f} samples on average"
    )


def promise_text(one: Strategy, many: Strategy, client: AsyncAnthropic) -> Shown:
    """What the binomial promises for the study's share of right samples, and what was found."""
    promised = majority_accuracy(one.accuracy, _size(many))
    return Shown(
        f"the study: one call {one.accuracy:.1%}; {many.name}: promised {promised:.1%}, "
        f"found {many.accuracy:.1%}\n{note_for(client)}"
    )


def draw_majority(
    n: int, percent: int, *, votes: Sequence[Strategy], client: AsyncAnthropic
) -> None:
    """The binomial curve over n for one chance, with the recorded votes of the study on it."""
    fig, ax = figure(
        f"{n} votes of {percent} % are right with {majority_accuracy(percent / 100, n):.1%}",
        size=(6.6, 3.4),
    )
    ax.plot(ODD, [majority_accuracy(percent / 100, k) for k in ODD], color=PALETTE[1])
    ax.plot([n], [majority_accuracy(percent / 100, n)], "o", color=PALETTE[1], markersize=9)
    sizes = [_size(each) for each in votes]
    ax.plot(sizes, [each.accuracy for each in votes], "s", color=PALETTE[0], label="the study")
    ax.set_ylim(0, 1.02)
    ax.set_xticks(ODD[::2])
    ax.set_xlabel("samples")
    ax.set_ylabel("chance of a right vote")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.legend(frameon=False, loc="lower right")
    said = ", ".join(
        f"{size}: {each.accuracy:.0%}" for size, each in zip(sizes, votes, strict=True)
    )
    show(fig, f"{majority_text(n, percent)}. The study: {said}.", source=note_for(client))


def _size(votes: Strategy) -> int:
    return 1 if votes.name == "one call" else int(votes.name.split()[0])


def majority_widget(votes: Sequence[Strategy], client: AsyncAnthropic) -> Any:
    """Two sliders, the number of samples and the chance of each, over `draw_majority`."""
    import ipywidgets as widgets

    def draw(n: int, percent: int) -> None:
        draw_majority(n, percent, votes=votes, client=client)

    return knobs(
        draw,
        n=widgets.IntSlider(5, 1, 21, 2, description="samples"),
        percent=widgets.IntSlider(70, 0, 100, 1, description="right, %"),
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
