"""Batches: plan, submit, wait, join, retry, and decide when to use them at all.

Half the price of plain calls for work that may take up to a day, with nothing sent twice and
nothing lost when the process dies. Taught in chapter 08.
"""

from patterns.batching.async_job import AsyncBatchJob
from patterns.batching.choose import Allowance, Choice, Option, choose
from patterns.batching.job import BatchJob, JobCost, JobStatus, NotSubmitted, StillRunning
from patterns.batching.journal import (
    BatchShard,
    Journal,
    JournalError,
    JournalFull,
    JournalInUse,
    JournalVersion,
    NotAJournal,
)
from patterns.batching.plan import (
    BadRequest,
    DuplicateCustomId,
    InvalidCustomId,
    NothingToSend,
    PlanChanged,
    RequestTooLarge,
    plan_batches,
)
from patterns.batching.progress import Progress, TimeBar
from patterns.batching.results import (
    TRANSIENT,
    BatchError,
    BatchGone,
    BatchResult,
    Collected,
    MalformedResults,
    ResultsError,
    ResultsIncomplete,
)
from patterns.batching.submission import Window

__all__ = [
    "TRANSIENT",
    "Allowance",
    "AsyncBatchJob",
    "BadRequest",
    "BatchError",
    "BatchGone",
    "BatchJob",
    "BatchResult",
    "BatchShard",
    "Choice",
    "Collected",
    "DuplicateCustomId",
    "InvalidCustomId",
    "JobCost",
    "JobStatus",
    "Journal",
    "JournalError",
    "JournalFull",
    "JournalInUse",
    "JournalVersion",
    "MalformedResults",
    "NotAJournal",
    "NotSubmitted",
    "NothingToSend",
    "Option",
    "PlanChanged",
    "Progress",
    "RequestTooLarge",
    "ResultsError",
    "ResultsIncomplete",
    "StillRunning",
    "TimeBar",
    "Window",
    "choose",
    "plan_batches",
]
