"""Which reply comes next: the queue, then the script, then the echo."""

from collections import deque

from patterns.fake_api.scripting.echo import echo_of, start_of
from patterns.fake_api.scripting.matching import Seen
from patterns.fake_api.scripting.replies import Answering, Error, Reply, answer_of
from patterns.fake_api.scripting.scripts import Scripted
from patterns.fake_api.wire.errors import APIError


class Chooser:
    """The replies of one fake API and what has been used of them."""

    def __init__(self, entries: tuple[Scripted, ...], *, strict: bool) -> None:
        self.queue: deque[Answering] = deque()
        self._entries = entries
        self._strict = strict
        self._used: dict[int, int] = {}
        self._turns: dict[tuple[int, bytes], int] = {}

    def choose(self, seen: Seen) -> tuple[Reply | Error, str]:
        """A reply and its name, the echo where nothing fits."""
        reply, name = self.find(seen)
        return reply or echo_of(seen.body, seen.last_text), name

    def find(self, seen: Seen) -> tuple[Reply | Error | None, str]:
        """A reply and its name; None stands for the echo.

        Raises:
            APIError: 400 where nothing fits and the API is strict.
        """
        if self.queue:
            return answer_of(self.queue.popleft(), seen.body), "queue"
        for n, entry in enumerate(self._entries):
            spent = entry.times is not None and self._used.get(n, 0) >= entry.times
            if not spent and entry.fits(seen):
                self._used[n] = self._used.get(n, 0) + 1
                return self._turn(n, entry, seen), entry.name
        if self._strict:
            raise APIError(
                400,
                f"no scripted reply fits the request that starts {start_of(seen.last_text)!r}; "
                "add a [[reply]] for it to the chapter's replies.",
            )
        return None, "echo"

    def _turn(self, n: int, entry: Scripted, seen: Seen) -> Reply | Error:
        """Equal requests get an entry's answers in turn."""
        if len(entry.answers) == 1:
            return entry.answers[0]
        turn = self._turns.get((n, seen.digest), 0)
        self._turns[n, seen.digest] = turn + 1
        return entry.answers[turn % len(entry.answers)]
