"""How far a job is, what it cost, and a bar that shows the only measure that the API gives.

Counts of finished requests stay zero until a whole batch has ended, so a bar of requests would
stand at 0 % and then jump to 100. This one shows how much of the 24 hours is used up, and says
how many batches have ended.

Used by the folder patterns/batching, taught in chapter 08.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from patterns.batching.results import BatchResult
from patterns.batching.store import JobStore


@dataclass(frozen=True)
class JobStatus:
    """How far a job is.

    Attributes:
        shards: batches of the job, those sent again included.
        submitted: those whose id is known.
        ended: those whose results are stored.
        requests: requests of the job.
        outcomes: how many stored results there are of each outcome.
        elapsed: seconds since the oldest running batch was created.
        left: seconds until the next one expires.
    """

    shards: int
    submitted: int
    ended: int
    requests: int
    outcomes: Mapping[str, int]
    elapsed: float
    left: float

    @property
    def share(self) -> float:
        """How much of its time the oldest running batch has used, 0 to 1."""
        whole = self.elapsed + self.left
        return self.elapsed / whole if whole > 0 else 1.0


def status_of(store: JobStore, now: float) -> JobStatus:
    """How far a job is, from its store alone."""
    shards = store.shards()
    running = [shard for shard in shards if shard.state == "submitted"]
    return JobStatus(
        shards=len(shards),
        submitted=sum(shard.batch_id is not None for shard in shards),
        ended=sum(shard.state == "collected" for shard in shards),
        requests=store.count_requests(),
        outcomes=store.outcomes(),
        elapsed=max((now - (shard.created_at or now) for shard in running), default=0.0),
        left=min(((shard.expires_at or now) - now for shard in running), default=0.0),
    )


@dataclass(frozen=True)
class JobCost:
    """What the stored results cost.

    Attributes:
        usd: US dollars of everything that has a price.
        by_tier: the same, by the `service_tier` that the API names.
        unpriced: succeeded results without a published price.
    """

    usd: Decimal
    by_tier: Mapping[str, Decimal]
    unpriced: int


def cost_of(results: Iterable[BatchResult]) -> JobCost:
    """What results cost."""
    by_tier: dict[str, Decimal] = {}
    unpriced = 0
    for result in results:
        if result.usage is None:
            continue
        if (usd := result.cost) is None:
            unpriced += 1
            continue
        tier = result.usage.service_tier or "standard"
        by_tier[tier] = by_tier.get(tier, Decimal(0)) + usd
    return JobCost(sum(by_tier.values(), Decimal(0)), by_tier, unpriced)


class Progress(Protocol):
    """Told the status at each look."""

    def show(self, status: JobStatus) -> None:
        """Show it."""

    def close(self) -> None:
        """Nothing more comes."""


class TimeBar:
    """A tqdm bar, in a notebook or a terminal: elapsed against the moment of expiry.

    Args:
        options: for tqdm, such as `file=`.
    """

    def __init__(self, **options: Any) -> None:
        from tqdm.auto import tqdm  # type: ignore[import-untyped]

        form = "{percentage:3.0f}% of 24 h |{bar}| {desc}"
        self._bar = tqdm(total=1.0, bar_format=form, **options)

    def show(self, status: JobStatus) -> None:
        """Move the bar to now; where nothing runs any more it stays where it was."""
        text = f"{status.ended} of {status.shards} batches ended"
        if status.ended < status.shards:
            text += f", {_hours(status.left)}"
            self._bar.n = min(1.0, status.share)
        self._bar.set_description_str(text)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def _hours(seconds: float) -> str:
    minutes = int(max(0.0, seconds) // 60)
    return f"expires in {minutes // 60}:{minutes % 60:02} h"
