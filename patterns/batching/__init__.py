"""Batches: plan, submit, wait, join, resume, and decide when to use them at all.

Half the price of plain calls for work that may take up to a day, with nothing sent twice and
nothing lost when the process dies. Taught in chapter 08.
"""

from patterns.batching.api import ResultsError
from patterns.batching.async_job import AsyncBatchJob
from patterns.batching.choose import choose
from patterns.batching.job import RESUMABLE, BatchJob, StillRunning
from patterns.batching.plan import BadRequest, plan_batches
from patterns.batching.results import BatchResult
from patterns.batching.status import JobStatus
from patterns.batching.store import JobStoreError

__all__ = [
    "RESUMABLE",
    "AsyncBatchJob",
    "BadRequest",
    "BatchJob",
    "BatchResult",
    "JobStatus",
    "JobStoreError",
    "ResultsError",
    "StillRunning",
    "choose",
    "plan_batches",
]
