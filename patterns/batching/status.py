"""How far a job is, by the only measure that the API gives, and what it cost.

Counts of finished requests stay zero until a whole batch has ended, so a bar of requests would
stand at 0 % and then jump to 100. A status shows how much of the 24 hours is used up, and how many
batches have ended.

Used by the folder patterns/batching, taught in chapter 08.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from patterns.batching.results import BatchResult
from patterns.batching.store import JobStore


@dataclass(frozen=True)
class JobStatus:
    """How far a job is; as text in one line, such as "0 of 1 batches ended, …".

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
        """How much of its time the oldest running batch has used, 0 to 1; 1 if none runs."""
        whole = self.elapsed + self.left
        return self.elapsed / whole if whole > 0 else 1.0

    def __str__(self) -> str:
        text = f"{self.ended} of {self.shards} batches ended"
        if self.elapsed or self.left:
            hours, minutes = divmod(int(self.left) // 60, 60)
            text += f", {self.share:.0%} of the time is over, {hours}:{minutes:02} h are left"
        return text


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
        elapsed=max([0.0, *(now - (shard.created_at or now) for shard in running)]),
        left=max(0.0, min(((shard.expires_at or now) - now for shard in running), default=0.0)),
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
        if (usd := result.cost) is None:
            unpriced += 1
        elif result.usage:
            tier = result.usage.service_tier or "standard"
            by_tier[tier] = by_tier.get(tier, Decimal(0)) + usd
    return JobCost(sum(by_tier.values(), Decimal(0)), by_tier, unpriced)
