"""Calls over a real socket while everything goes wrong, and the books afterwards.

    make faults [SEED=2] [CALLS=10000]     # or: python tests/support/faults.py --calls 300 --seed 2

Each call goes through a guarded and monitored client of the SDK to the fake API on a loopback port
and meets one fault, in one part of the course (a plain call, a stream, structured output, a vote)
and in surroundings that fail too: the disk is full, the limiter's store is down, clocks jump. Then
the books are compared, call by call: what the API has in its journal, what the monitor recorded,
what the audit log has. What a call saw is put in a table.
"""

import argparse
import gc
import os
import random
import sqlite3
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

from anthropic import Anthropic
from pydantic import BaseModel
from redis import Redis

from patterns.core.messages import text_of
from patterns.core.models import HAIKU
from patterns.core.pricing import cost_usd
from patterns.core.pseudonym import pseudonym
from patterns.fake_api import FakeAPI, Fault
from patterns.fake_api.wire.server import serve
from patterns.monitoring import CallMonitor, CallRecord, EventLog, Memory, call_context
from patterns.policy import AuditLog, Limits, PIIMiddleware, Principal, RateLimit, Rule, acting_as
from patterns.policy.audit_log import AuditUnavailable
from patterns.policy.budgets import MemoryStore
from patterns.policy.guard import guarded, per_principal
from patterns.policy.redis_store import RedisStore
from patterns.prompting import structured
from patterns.quality import self_consistent

KEY: Final = b"a key of the fault run, 32 bytes."
AT_ONCE, CHUNK = 24, 500
SHORT_S: Final = 0.25
"""How long a call waits that is known to get no answer."""
RESULTS: Final = Path(__file__).parents[1] / "bench" / "results" / "faults.md"

FAULTS: Final[dict[str, tuple[Callable[..., Fault], int | None]]] = {
    "none": (lambda **on: Fault.delay(0.0, **on), None),
    "429 once": (lambda **on: Fault.status(429, retry_after=0.001, **on), 1),
    "429 to the end": (lambda **on: Fault.status(429, retry_after=0.001, **on), None),
    "529 once": (lambda **on: Fault.status(529, retry_after=0.001, **on), 1),
    "529 to the end": (lambda **on: Fault.status(529, retry_after=0.001, **on), None),
    "500 to the end": (lambda **on: Fault.status(500, retry_after=0.001, **on), None),
    "400": (lambda **on: Fault.status(400, **on), None),
    "no answer in time": (lambda **on: Fault.hang(**on), None),
    "silence in the middle": (lambda **on: Fault.hang(after=3, **on), None),
    "disconnect at once": (lambda **on: Fault.disconnect(**on), None),
    "disconnect in the middle": (lambda **on: Fault.disconnect(after=3, **on), None),
    "truncated JSON": (lambda **on: Fault.truncated_json(**on), None),
    "malformed SSE": (lambda **on: Fault.malformed(after=3, **on), None),
    "error in the stream": (lambda **on: Fault.stream_error(after=3, **on), None),
    "slow body": (lambda **on: Fault.delay(0.03, **on), None),
    "pieces of 7 bytes": (lambda **on: Fault.chunked(7, **on), None),
}
"""By name: what goes wrong, and for how many attempts of a call; None for all."""
SURROUNDINGS: Final = ("sound", "clocks jump", "audit disk full", "event disk full", "store down")


class Begun(Memory):
    """Keeps records, and counts the calls that began."""

    begun = 0

    def started(self) -> None:
        """A call began."""
        self.begun += 1


class Answer(BaseModel):
    """What structured calls ask for."""

    answer: str


@dataclass(frozen=True)
class Call:
    """One call of the run."""

    number: int
    part: str
    fault: str

    @property
    def text(self) -> str:
        """What is asked; it names the call, so that the journal can be joined."""
        return f"call {self.number} [{self.fault}] of the fault run"


@dataclass
class Books:
    """What a run has found."""

    seen: dict[tuple[str, str], Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter[str])
    )
    calls: int = 0
    records: int = 0
    lost: int = 0
    usd: Decimal = Decimal(0)
    unseen_usd: Decimal = Decimal(0)
    """Billed for answers that never came whole; each such record says that it is a lower bound."""
    problems: list[str] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)


def fault_of(name: str) -> Fault:
    """A fault that applies to the calls that name it, for so many of their attempts."""
    make, times = FAULTS[name]
    made: Counter[str] = Counter()

    def applies(body: Any) -> bool:
        text = str(body["messages"][0]["content"]) if body else ""
        if f"[{name}]" not in text:
            return False
        made[text] += 1
        return times is None or made[text] <= times

    return make(requests=applies, path="/v1/messages")


def ask(client: Anthropic, call: Call) -> None:
    """Make the call in its part of the course."""
    patient = "silence" not in call.fault and "in time" not in call.fault
    told = not call.fault.startswith("disconnect") and patient  # how long to wait before a retry
    client = client.with_options(timeout=60.0 if patient else SHORT_S, max_retries=2 if told else 1)
    request: Any = {"model": HAIKU, "max_tokens": 100}
    request["messages"] = [{"role": "user", "content": call.text}]
    if call.part == "plain":
        text_of(client.messages.create(**request))
    elif call.part == "stream":
        with client.messages.stream(**request) as stream:
            for _ in stream.text_stream:
                pass
            text_of(stream.get_final_message())
    elif call.part == "structured":
        structured(client, call.text, Answer, model=HAIKU, max_tokens=100, repairs=0)
    else:
        options: Any = {"model": HAIKU, "max_tokens": 100, "stop_early": False}
        kind: Any = Literal["yes", "no"]
        self_consistent(client, call.text, n=3, answer=kind, concurrency=1, **options)


@contextmanager
def client_for(around: str, url: str, folder: Path, memory: Begun) -> Iterator[Any]:
    """A guarded and monitored client in surroundings that may fail; and its two logs."""
    jump = random.Random(len(around))
    clock = (lambda: time.monotonic() + jump.uniform(-3_600, 3_600)) if "jump" in around else None
    timing: Any = {"clock": clock} if clock else {}
    events = EventLog(folder / f"{around}-events.sqlite")
    monitor = CallMonitor(memory, events, user_key=KEY, **timing)
    audit = AuditLog(folder / f"{around}-audit.sqlite", KEY)
    store: Any = MemoryStore(**timing)
    if around == "store down":
        store = RedisStore(Redis(port=1, socket_timeout=0.1))
    if around == "audit disk full":
        fill(audit)
    if around == "event disk full":
        events._db.execute("PRAGMA max_page_count = 1")
    limits = RateLimit(Limits(rpm=10**9), store, key=per_principal)
    with Anthropic(base_url=url, api_key="any", **monitor.client_options()) as plain:
        rules = [Rule("tester", model="*", max_tokens=100)]
        chain: Any = {"log": audit, "user_key": KEY, "rules": rules, "limits": limits}
        yield guarded(plain, privacy=PIIMiddleware(), **chain), monitor, audit
    with suppress(AuditUnavailable):  # it says so where rows that it keeps do not fit
        audit.close()
    events.close()


def fill(audit: AuditLog) -> None:
    """Leave no room for another row."""
    with audit.writing() as database:
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}")
        while True:
            try:
                database.execute("CREATE TABLE IF NOT EXISTS filler (x)")
                database.execute("INSERT INTO filler VALUES (zeroblob(4096))")
            except sqlite3.OperationalError:
                return


def run(calls: int, seed: int) -> Books:
    """Make the calls in chunks; each chunk in surroundings of its own, and reconciled."""
    rng, books = random.Random(seed), Books()
    parts = ("plain", "stream", "structured", "vote")
    api = FakeAPI(faults=[fault_of(name) for name in FAULTS], seed=seed)
    chunk = min(CHUNK, max(1, calls // len(SURROUNDINGS)))
    with serve(api) as url, TemporaryDirectory() as folder:
        for start in range(0, calls, chunk):
            around = SURROUNDINGS[start // chunk % len(SURROUNDINGS)]
            planned = [
                Call(number, rng.choice(parts), rng.choice([*FAULTS]))
                for number in range(start, min(calls, start + chunk))
            ]
            one = Path(folder) / str(start)
            one.mkdir()
            run_chunk(books, api, url, one, around, planned)
            api.journal.clear()
            gc.collect()
            books.rss_mb.append(rss_mb())
    return books


def run_chunk(
    books: Books, api: FakeAPI, url: str, folder: Path, around: str, planned: list[Call]
) -> None:
    """Make some calls side by side, and compare the books."""
    memory, tester = Begun(), Principal("tester", frozenset({"tester"}))
    with client_for(around, url, folder, memory) as (client, monitor, audit):

        def make(call: Call) -> str:
            try:
                with acting_as(tester), call_context(user=call.number):
                    ask(client, call)
            except Exception as error:
                return type(error).__name__
            return "answer"

        with ThreadPoolExecutor(AT_ONCE) as pool:
            saw = list(pool.map(make, planned))
        rows = Counter(row["event"] for row in audit.rows())
        whole = audit.verify().intact
        active, losses = monitor.active, monitor.sink_errors.total()
    for call, what in zip(planned, saw, strict=True):
        where = call.fault if around in ("sound", "clocks jump", "event disk full") else around
        books.seen[where, call.part][what] += 1
    books.lost += losses
    books.problems += [f"{around}: the audit log is not whole"] * (not whole)
    books.problems += [f"{around}: {active} calls are still open"] * bool(active)
    reconcile(books, api, memory, around, planned, rows["request"])


def reconcile(
    books: Books, api: FakeAPI, memory: Begun, around: str, planned: list[Call], audited: int
) -> None:
    """Every call has its records, and each record the tokens and dollars that the API billed."""
    records: dict[str, list[CallRecord]] = defaultdict(list)
    for record in memory.records:
        records[record.user or ""].append(record)
    billed: dict[str, list[Any]] = defaultdict(list)
    for entry in [*api.journal]:
        billed[str(entry.body["messages"][0]["content"])].append(entry)
    for call in planned:
        own = records.pop(pseudonym(str(call.number), KEY), [])
        denied = any(record.outcome == "client_error" for record in own)
        wanted = range(1, 4) if denied else [3] if call.part == "vote" else [1]
        where = f"{around}: {call}"
        if len(own) not in wanted:
            books.problems.append(f"{where} has {len(own)} records, not {wanted}")
        compare(books, where, own, billed.pop(call.text, []))
    made = memory.begun
    books.problems += [f"{around}: a record or a bill of nobody's"] * bool(records or billed)
    told = len(memory.records)
    books.problems += [f"{around}: {made} calls began and {told} ended"] * (made != told)
    wrong = audited >= made if around == "audit disk full" else audited != made
    books.problems += [f"{around}: {audited} calls audited of {made}"] * wrong
    books.calls += made
    books.records += told


def compare(books: Books, where: str, own: list[CallRecord], entries: list[Any]) -> None:
    """Money and tokens of one call against the API's own books."""
    used = [entry for entry in entries if entry.usage]
    bill = sum((cost_usd(HAIKU, entry.usage) or Decimal(0) for entry in used), Decimal(0))
    paid = sum((record.cost_usd or Decimal(0) for record in own), Decimal(0))
    unseen = bill - paid
    bounded = any(record.cost_is_lower_bound for record in own)
    if unseen < 0 or (unseen > 0 and not bounded):
        ends = [record.outcome for record in own]
        books.problems.append(f"{where} ({ends}) has ${paid} on record and ${bill} billed")
    if not unseen and sum(entry.usage["output_tokens"] for entry in used) != sum(
        record.tokens.output for record in own
    ):
        books.problems.append(f"{where}: other tokens on record than billed")
    books.usd += paid
    books.unseen_usd += unseen


def rss_mb() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def held() -> tuple[int, int]:
    """Threads and open files."""
    gc.collect()
    return threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def table(books: Books, seed: int) -> str:
    """Fault by part: what the caller saw, and how often."""
    parts = ("plain", "stream", "structured", "vote")
    rows = []
    for name in [*FAULTS, "audit disk full", "store down"]:
        cells = []
        for part in parts:
            seen = books.seen[name, part].most_common()
            cells.append(", ".join(f"{what} {count}" for what, count in seen) or "–")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(
        [
            "# The fault run",
            "",
            f"Written by `make faults` (seed {seed}): {books.calls:,} calls over a socket to the "
            f"fake API. Each has one record ({books.records:,}); \\${books.usd:.4f} on record and "
            f"\\${books.unseen_usd:.4f} billed for answers that never came whole, each marked as a "
            f"lower bound, are to the last digit what the API billed. {books.lost:,} rows did not "
            "fit on the full disk, and were counted.",
            "",
            f"| fault | {' | '.join(parts)} |",
            f"|---|{'---|' * len(parts)}",
            *rows,
            "",
        ]
    )


def main() -> int:
    """Run, write the table, say what does not add up."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--calls", type=int, default=10_000)
    parse.add_argument("--seed", type=int, default=1)
    parse.add_argument("--to", type=Path, default=RESULTS, help="where the table goes")
    options = parse.parse_args()
    before = held()
    books = run(options.calls, options.seed)
    after = held()
    options.to.write_text(table(books, options.seed), "utf-8")
    half = len(books.rss_mb) // 2
    grown = books.rss_mb[-1] / books.rss_mb[half] - 1
    problems = [*books.problems]
    problems += [f"threads and files: {before} before, {after} after"] * (after > before)
    problems += [f"memory grew by {grown:.0%} in the second half"] * (grown > 0.1)
    sys.stdout.write("\n".join([table(books, options.seed), *problems[:20], ""]))
    sys.stdout.write(f"memory: {books.rss_mb[half]:.0f} MB half-way, {books.rss_mb[-1]:.0f} MB\n")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
