"""What chapter 00 draws: the price of one call on each current model."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from anthropic.types import Usage

from patterns.core.models import FABLE, HAIKU, MYTHOS, OPUS, SONNET
from patterns.core.pricing import cost_usd
from patterns.course.views import MUTED, PALETTE, Picture, Table, figure, knobs, picture

WHY: Final[Mapping[str, Mapping[str, Any]]] = {
    "types": {
        "wrong": {"text": "So it was for years, and much code still relies on it."},
        "why": ("Current models may think before they answer, and the thinking comes first."),
    },
    "cut": {
        "wrong": {"half a text": "That is what the line by hand gives, and nobody notices."},
        "why": (
            "Nothing is lost: the exception carries the text so far as `partial`, and the message."
        ),
    },
    "retried": {
        "wrong": {1: "The 429 is retried as well.", 2: "The SDK is in between, and it is patient."},
        "why": (
            "The SDK retries twice unless you say otherwise. Chapter 04 counts "
            "calls and tries apart."
        ),
    },
    "edited": {
        "wrong": {
            "the nearest answer": "Then you would judge your prompt by the answer to another one."
        },
        "why": "Replay makes nothing up; it says what differs.",
    },
    "ratio": {
        "wrong": {2: "Some neighbours differ by that.", 10: "The first two bars differ by more."},
        "why": ("No answer's quality is in it: chapter 06 measures which is good enough."),
    },
}
"""What a prediction is told, kept away from the cell that asks for it."""

CURRENT: Final = (HAIKU, SONNET, OPUS, FABLE, MYTHOS)


def prices(usage: Usage) -> dict[str, Decimal]:
    """US dollars for 1,000 calls with this usage, by model."""
    priced = {model: cost_usd(model, usage) for model in CURRENT}
    return {model: 1000 * cost for model, cost in priced.items() if cost is not None}


def ratio(costs: Mapping[str, Decimal]) -> int:
    """How many times the cheapest the dearest costs, rounded."""
    return round(max(costs.values()) / min(costs.values()))


def price_bars(costs: Mapping[str, Decimal]) -> Picture:
    """Bars of `prices`, cheapest first, with the ratio of the dearest to the cheapest as title."""
    ordered = sorted(costs.items(), key=lambda item: item[1])
    title = f"The same tokens cost {ratio(costs)} times more on the dearest model"
    fig, ax = figure(title, size=(7.2, 2.8))
    bars = ax.barh([name for name, _ in ordered], [float(cost) for _, cost in ordered])
    for bar, (name, cost) in zip(bars, ordered, strict=True):
        bar.set_color(PALETTE[0] if name == SONNET else MUTED)
        ax.annotate(f" ${cost:.2f}", (float(cost), bar.get_y() + bar.get_height() / 2), va="center")
    ax.set_xlabel("US dollars for 1,000 calls like the first one")
    ax.set_xlim(0, float(ordered[-1][1]) * 1.15)
    ax.invert_yaxis()
    (low_name, low), (high_name, high) = ordered[0], ordered[-1]
    alt = f"Bars from {low_name} at ${low:.2f} to {high_name} at ${high:.2f} for 1,000 calls."
    return picture(fig, alt)


def price_table(tokens_in: int, tokens_out: int, calls: int) -> Table:
    """What `calls` calls a day of this size cost on each model."""
    usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out)
    rows = [
        (model, f"${cost * calls / 1000:,.2f}", f"${cost * calls / 1000 * 30:,.0f}")
        for model, cost in prices(usage).items()
    ]
    return Table(("model", "a day", "30 days"), rows)


def price_widget() -> Any:
    """`price_table` with its numbers on sliders."""
    import ipywidgets as widgets
    from IPython.display import display

    def draw(tokens_in: int, tokens_out: int, calls: int) -> None:
        display(price_table(tokens_in, tokens_out, calls))  # type: ignore[no-untyped-call]

    return knobs(
        draw,
        tokens_in=widgets.IntSlider(1_000, 100, 200_000, 100, description="tokens in"),
        tokens_out=widgets.IntSlider(300, 50, 8_000, 50, description="tokens out"),
        calls=widgets.IntSlider(10_000, 100, 100_000, 100, description="calls a day"),
    )
