"""What chapter 08 runs and draws: fan-outs under a rate limit, and what a volume costs by when.

The fan-outs run on the fake API in virtual time: rates and refusals are arithmetic of token
buckets, no model's answer is in them.
"""

import asyncio
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import NormalDist
from tempfile import mkdtemp
from typing import Any, Final

from anthropic import AsyncAnthropic, RateLimitError

from patterns.batching.choose import Allowance, Choice, choose
from patterns.core.adaptive_limit import AdaptiveLimit
from patterns.core.fan_out import Limit, fan_out
from patterns.core.models import SONNET
from patterns.core.pricing import Tokens
from patterns.course.views import INK, MUTED, PALETTE, Table, figure, knobs, show
from patterns.fake_api import Entry, FakeAPI, Latency, RateLimits, Replies, VirtualClock

WHY: Final[Mapping[str, Mapping[str, Any]]] = {
    "late": {
        "wrong": {"at once": "The batch was made without a word: parameters are read later."},
        "why": ('The loop prints "Request errored" and drops the reason, which is in the result.'),
    },
    "bar": {
        "why": ("The bar stands still and then jumps. What moves is the time until expires_at."),
    },
    "order": {
        "why": "In an order of their own; the mistake does nothing to the others.",
    },
    "outcomes": {
        "wrong": {
            130: "What expired costs nothing: nobody worked on it.",
            200: "Four outcomes, and one of them is billed.",
        },
        "why": "You pay for what succeeded, and nothing else: that is what has a usage.",
    },
    "crash": {
        "wrong": {
            "send it again": "You may pay twice.",
            "do not send it": "You may lose 100 answers.",
        },
    },
    "minutes": {
        "wrong": {3: "The bucket is full at first."},
        "why": "60 calls are in the bucket, the other 120 come in at 60 a minute.",
    },
    "choice": {
        "wrong": {
            "batch": (
                "It costs half and usually makes it, but nothing is promised before 24 hours."
            )
        },
    },
}
"""What a prediction is told, kept away from the cell that asks for it."""

LENGTHS: Final = (40, 120, 200, 400, 640)
"""Output tokens of the answers, drawn at random."""
WORDS: Final = (20, 50, 100, 400)
QUICK: Final = Latency(first_token=0.6, tokens_per_second=200, jitter=0.25)
SLOW: Final = Latency(first_token=4.0, tokens_per_second=30, jitter=0.6)
HEAVY_TAIL: Final = tuple(
    round(200 * math.exp(1.2 * NormalDist().inv_cdf((k + 0.5) / 40))) for k in range(40)
)
"""Lognormal: half are below 200 tokens, and the longest are fifteen times as long."""


VOLUMES: Final = (1, 10, 100, 1_000, 10_000, 30_000, 60_000, 100_000, 1_000_000, 10_000_000)
DEADLINES: Final = (0.1, 0.5, 1, 2, 4, 8, 12, 24, 48, 72)
"""Hours."""


class Lab:
    """A fake API of its own with a virtual clock, and a new file for a job.

    Args:
        options: of the fake API, such as `batch_seconds`.

    Attributes:
        api: the fake API; its journal holds what was sent.
        clock: its time.
        client: a client of the SDK for it.
        file: where a job may keep its state.
        timed: `clock` and `sleep` as `BatchJob` takes them.
    """

    def __init__(self, **options: Any) -> None:
        self.clock = VirtualClock()
        self.api = FakeAPI(clock=self.clock, **options)
        self.client = self.api.client()
        self.file = Path(mkdtemp()) / "job.sqlite"
        self.timed: dict[str, Any] = {"clock": self.clock.now, "sleep": self.clock.sleep}


@dataclass(frozen=True)
class Load:
    """How a fan-out did, after its warm-up if it had one.

    Attributes:
        name: of the way.
        seconds: how long it took, of virtual time.
        answered: calls that got their answer.
        rate: share of the allowed rate, of the resource that was tightest.
        refused: share of the attempts that were answered 429.
        attempts: HTTP requests.
        in_vain: input tokens sent in attempts that were refused.
        lost: calls that ended without an answer, from the start.
    """

    name: str
    seconds: float
    answered: int
    rate: float
    refused: float
    attempts: int
    in_vain: int
    lost: int


def measure(
    way: int | str,
    limits: RateLimits,
    latency: Latency = QUICK,
    *,
    calls: int | None = None,
    seconds: float = math.inf,
    warm_up: float = 0.0,
    seed: int = 1,
    lengths: Sequence[int] = LENGTHS,
) -> Load:
    """Fan out over so many calls, or for so many seconds of virtual time.

    Args:
        way: a number of calls at once, `"adaptive"`, or `"naive"`: a hundred at once, in a loop
            that asks again after ten seconds when it is refused.
        limits: of the fake API.
        latency: of its answers.
        calls: how many calls there are; None for as many as the seconds allow.
        seconds: no call begins later.
        warm_up: seconds that are left out of the figures.
        seed: decides on the prompts, the answers and the latencies.
        lengths: output tokens of the answers, drawn at random.
    """
    clock = VirtualClock()
    sized = [{"contains": f"size {n}.", "text": "ok", "output_tokens": n} for n in lengths]
    replies = Replies.of({"reply": sized})
    api = FakeAPI(clock=clock, limits=limits, latency=latency, replies=replies, seed=seed)
    prompts = islice(_prompts(clock, seconds, seed, lengths), calls)
    lost = clock.run(_run(way, api, prompts, max(1_000, *lengths)))
    last = min(seconds, clock.elapsed)
    asked = [each for each in api.journal if each.method == "POST"]
    after = [each for each in asked if warm_up <= each.at - clock.start <= last]
    return _load(str(way), after, limits, last - warm_up, lost)


async def _run(way: int | str, api: FakeAPI, prompts: Iterator[str], most: int) -> int:
    adaptive = AdaptiveLimit()
    options: dict[str, Any] = {"middleware": [adaptive.middleware]} if way == "adaptive" else {}
    limit: int | Limit = adaptive if way == "adaptive" else 100 if way == "naive" else int(way)
    if way == "naive":
        options = {"max_retries": 0}
    client = api.async_client(**options)
    # The SDK's first request looks at the platform in a thread, outside of virtual time.
    await client.models.list()
    ask = partial(_insist if way == "naive" else _send, client, most)
    return sum([not outcome.ok async for outcome in fan_out(prompts, ask, limit=limit)])


def _prompts(
    clock: VirtualClock, seconds: float, seed: int, lengths: Sequence[int]
) -> Iterator[str]:
    rng = random.Random(seed)
    number = 0
    while clock.elapsed < seconds:
        number += 1
        yield f"{number} size {rng.choice(lengths)}." + " word" * rng.choice(WORDS)


async def _send(client: AsyncAnthropic, most: int, prompt: str) -> None:
    asked: Any = [{"role": "user", "content": prompt}]
    await client.messages.create(model=SONNET, max_tokens=most, messages=asked)


async def _insist(client: AsyncAnthropic, most: int, prompt: str) -> None:
    """The loop that is written in a hurry."""
    while True:
        try:
            return await _send(client, most, prompt)
        except RateLimitError:
            await asyncio.sleep(10)


def _load(name: str, after: Sequence[Entry], limits: RateLimits, seconds: float, lost: int) -> Load:
    good = [each.usage for each in after if each.usage]
    rates = (
        len(good) / limits.rpm,
        sum(usage["input_tokens"] for usage in good) / limits.itpm,
        sum(usage["output_tokens"] for usage in good) / limits.otpm,
    )
    refused = [each for each in after if each.status == 429]
    in_vain = sum(len(each.body["messages"][0]["content"]) // 4 for each in refused)
    share = len(refused) / max(1, len(after))
    rate = max(rates) * 60 / seconds
    return Load(name, seconds, len(good), rate, share, len(after), in_vain, lost)


def load_table(loads: Sequence[Load]) -> Table:
    """Answers, losses, time and refusals side by side."""
    rows = [
        (
            each.name,
            f"{each.answered:,}",
            f"{each.lost:,}",
            f"{each.seconds:.0f} s",
            f"{each.attempts:,}",
            f"{each.refused:.1%}",
            f"{each.in_vain:,}",
        )
        for each in loads
    ]
    return Table(("way", "answered", "lost", "took", "sent", "429s", "tokens in vain"), rows)


def plot_loads(loads: Sequence[Load]) -> None:
    """Answers a minute, calls lost and attempts refused of each way, as bars side by side."""
    adaptive = next(each for each in loads if each.name == "adaptive")
    title = f"Adaptive: {60 * adaptive.answered / adaptive.seconds:.0f} answers a minute, "
    title += f"{adaptive.refused:.1%} refused, {adaptive.lost or 'none'} lost"
    fig, axes = figure(title, panels=3, sharey=True)
    names = [each.name for each in loads]
    colours = [PALETTE[0] if name == "adaptive" else MUTED for name in names]
    panels = (
        ([60 * each.answered / each.seconds for each in loads], "answers a minute"),
        ([100 * each.refused for each in loads], "% of attempts answered 429"),
        ([float(each.lost) for each in loads], "calls lost"),
    )
    for axis, (values, label) in zip(axes, panels, strict=True):
        bars = axis.barh(names, values, color=colours)
        axis.bar_label(bars, fmt="%.0f", padding=3, color=INK, fontsize=9)
        axis.set(xlim=(0, 1.25 * max(*values, 1)), xlabel=label)
        axis.grid(visible=False, axis="y")
    axes[0].invert_yaxis()
    said = "; ".join(
        f"{each.name}: {60 * each.answered / each.seconds:.0f} answers a minute, "
        f"{each.refused:.0%} refused, {each.lost} lost"
        for each in loads
    )
    show(fig, f"Bars for each way. {said}.")


def hours(seconds: float) -> str:
    """A span as a person says it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.0f} h"


def choice_table(choice: Choice, deadline: float) -> Table:
    """The three ways, cheapest first; the arrow is on the one to take."""
    rows = [
        (
            "→" if option is choice.best else "",
            option.way,
            f"${option.usd:,.2f}",
            hours(option.seconds),
            hours(option.at_most),
            option.fits(deadline),
        )
        for option in choice.options
    ]
    return Table(("", "way", "cost", "usually", "at most", "in time"), rows)


def compare(n: int, deadline_hours: float, tokens: Tokens) -> Table:
    """What `choose` says about a volume and a deadline on Sonnet."""
    deadline = deadline_hours * 3_600
    return choice_table(choose(n, deadline, tokens, model=SONNET, limits=Allowance()), deadline)


def decision_widget() -> Any:
    """Turn volume, deadline and length of prompt and answer; see dollars and hours."""
    import ipywidgets as widgets

    def draw(volume: int, deadline: float, prompt: int, answer: int) -> None:
        from IPython.display import display

        table = compare(volume, deadline, Tokens(input=prompt, output=answer))
        display(table)  # type: ignore[no-untyped-call]

    volumes = [(f"{each:,}", each) for each in VOLUMES]
    deadlines = [(f"{each} h", each) for each in DEADLINES]
    return knobs(
        draw,
        volume=widgets.SelectionSlider(options=volumes, value=30_000, description="calls"),
        deadline=widgets.SelectionSlider(options=deadlines, value=4, description="deadline"),
        prompt=widgets.IntSlider(2_000, min=100, max=20_000, step=100, description="input"),
        answer=widgets.IntSlider(300, min=50, max=4_000, step=50, description="output"),
    )
