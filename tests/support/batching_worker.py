"""A worker that tests start, kill and start again, and what the tests of batches share.

The worker submits, waits, stores the results, and writes `done`.
"""

import itertools
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from anthropic import Anthropic, Middleware

from patterns.batching import BatchJob
from patterns.core.messages import text_of
from patterns.core.models import SONNET
from patterns.fake_api import FakeAPI, VirtualClock

PATH = "/v1/messages/batches"
LONG = "x" * 62


_NUMBERS: WeakKeyDictionary[FakeAPI, Iterator[int]] = WeakKeyDictionary()


class Moments(Middleware):
    """Counts what a process does, before and after each call; `at` is told each number."""

    def __init__(self, at: Callable[[int], object]) -> None:
        self.at, self.passed = at, 0

    def pass_(self) -> None:
        """One more moment."""
        self.passed += 1
        self.at(self.passed)

    def handle(self, request: Any, call_next: Any) -> Any:
        self.pass_()
        answer = call_next(request)
        self.pass_()
        return answer


def request(n: int, **params: Any) -> Any:
    """One small request."""
    messages = [{"role": "user", "content": f"Question {n}"}]
    asked = {"model": SONNET, "max_tokens": 50, "messages": messages, **params}
    return {"custom_id": f"job-{n}", "params": asked}


def requests_of(count: int) -> Iterator[Any]:
    """The first `count` requests."""
    return (request(n) for n in range(count))


def api_of(hours: float = 1.0, **options: Any) -> tuple[FakeAPI, VirtualClock]:
    """A fake API whose batches take that long, and its virtual clock."""
    clock = VirtualClock()
    return FakeAPI(clock=clock, batch_seconds=hours * 3_600, **options), clock


def job_on(api: FakeAPI, journal: Path | str = "", **options: Any) -> BatchJob:
    """A job that talks to a fake API in its virtual time.

    Its nonce is the next number: the order in which a batch is worked through depends on its
    bodies, and a test sees the same one every time.
    """
    clock = api.clock
    assert isinstance(clock, VirtualClock)
    options.setdefault("nonce", f"{next(_NUMBERS.setdefault(api, itertools.count(1))):016x}")
    return BatchJob(api.client(), journal, clock=clock.now, sleep=clock.sleep, **options)


def created(api: FakeAPI) -> Counter[str]:
    """How often each id stands in a batch that exists: those that were cut off count too."""
    ids: Counter[str] = Counter()
    for entry in api.journal:
        if (entry.method, entry.path) == ("POST", PATH) and entry.status in (0, 200, 500):
            ids.update(own_id(each["custom_id"]) for each in entry.body["requests"])
    return ids


def rows(project: str, count: int) -> list[Any]:
    """Row numbers for ids, as everybody has them; the question names its job."""
    return [
        {
            "custom_id": f"{LONG}{n:02}" if n % 2 else f"row-{n}",
            "params": {
                "model": SONNET,
                "max_tokens": 50,
                "messages": [{"role": "user", "content": f"{project} {n}"}],
            },
        }
        for n in range(count)
    ]


def answers(job: BatchJob) -> list[tuple[str, str]]:
    """The caller's id and what was answered."""
    return [(r.custom_id, text_of(r.message) if r.message else r.outcome) for r in job.results()]


def asked(api: FakeAPI) -> Counter[str]:
    """How often each question stands in a batch that was made."""
    bodies = [
        e.body["requests"] for e in api.journal if e.method == "POST" and e.status in (0, 200)
    ]
    return Counter(each["params"]["messages"][0]["content"] for body in bodies for each in body)


def own_id(sent: str) -> str:
    """The caller's id in one that was sent, if it is short."""
    return sent.split("-", 3)[3]


def main(url: str, journal: str, count: str) -> None:
    """Work until everything is stored; what a test starts, kills and starts again."""
    client = Anthropic(base_url=url, api_key="worker")

    def nap(seconds: float) -> None:
        time.sleep(min(seconds, 0.1))

    with BatchJob(client, journal, sleep=nap, settle=0.6, every=0.1, most_requests=10) as job:
        job.submit(requests_of(int(count)))
        job.wait()
    Path(f"{journal}.done").write_text("done", encoding="utf-8")


def serve_batches(database: str, url: str, ready: str) -> None:
    """Work on whatever batches are queued, until the process is stopped or killed."""
    from patterns.batching.api import BatchAPI
    from patterns.batching.fleet import BATCHES
    from patterns.core.durable import Durable

    client = Anthropic(base_url=url, api_key="worker")
    ended = threading.Event()

    def nap(seconds: float) -> None:
        engine.pause(min(seconds, 0.1))

    calls = BatchAPI(client, sleep=nap, settle=0.6, every=0.1)
    engine = Durable(database, services={BATCHES: calls}, lease_s=1.0, at_once=2)
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    engine.start()
    Path(ready).write_text(engine.executor_id, encoding="utf-8")
    ended.wait()
    engine.stop()
