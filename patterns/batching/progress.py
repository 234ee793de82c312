"""A progress bar for batches, by time: the only measure that the API gives while they run.

Counts of finished requests stay zero until a whole batch has ended, so a bar of requests would
stand at 0 % and then jump to 100. This one shows how much of the 24 hours is used up, and says
how many batches have ended.

Used by the folder patterns/batching, taught in chapter 08.
"""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from patterns.batching.job import JobStatus


class Progress(Protocol):
    """Told the status at each look."""

    def show(self, status: "JobStatus") -> None:
        """Show it."""

    def close(self) -> None:
        """Nothing more comes."""


class Silent:
    """Shows nothing."""

    def show(self, status: "JobStatus") -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class TimeBar:
    """A tqdm bar, in a notebook or a terminal: elapsed against the moment of expiry.

    Args:
        options: for tqdm, such as `file=`.
    """

    def __init__(self, **options: Any) -> None:
        from tqdm.auto import tqdm  # type: ignore[import-untyped]

        form = "{percentage:3.0f}% of 24 h |{bar}| {desc}"
        self._bar = tqdm(total=1.0, bar_format=form, **options)

    def show(self, status: "JobStatus") -> None:
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
