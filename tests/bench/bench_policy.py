"""Limiters beside ours, eight processes on one Redis, the cost of the chain, audit rows, PII.

Peers take turns with ours in one run. Memory and a real Redis (`apt-get install redis-server`).
Run with the benchmark environment: `.venv-bench/bin/python tests/bench/bench_policy.py`.
"""

import ast
import asyncio
import contextlib
import itertools
import multiprocessing
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import httpx2
import limits
import llm_governor
import pyrate_limiter
import redis
import throttled
from anthropic import Anthropic, AsyncAnthropic
from harness import interleaved, write_results
from policy_texts import HELD_OUT, TUNING, measure, positives

from patterns.core.models import HAIKU
from patterns.policy.audit_log import AuditLog
from patterns.policy.authorization import Rule
from patterns.policy.budgets import Charge
from patterns.policy.detectors import find_pii
from patterns.policy.guard import guarded
from patterns.policy.identity import Principal, acting_as
from patterns.policy.phrases import injection_score
from patterns.policy.privacy import PIIMiddleware
from patterns.policy.rate_limit import Cost, Limits, MemoryStore
from patterns.policy.redis_store import RedisStore

KEY = b"k" * 32
PLENTY = 10**12
PACKAGES = ["anthropic", "limits", "pyrate-limiter", "throttled-py", "llm-rate-governor", "redis"]
Step = Callable[[], Any]


@contextlib.contextmanager
def redis_server() -> Iterator[int]:
    """A Redis of our own on a free port."""
    binary = shutil.which("redis-server") or "/usr/bin/redis-server"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([binary, *options, "--dir", folder], stdout=subprocess.DEVNULL) as server,
    ):
        client = redis.Redis(port=port)
        for _ in range(100):
            with contextlib.suppress(redis.ConnectionError):
                client.ping()
                break
            time.sleep(0.05)
        client.close()
        try:
            yield port
        finally:
            server.terminate()


def ours(store: Any, cost: int) -> Step:
    """Reserve and settle: three buckets, two operations."""
    budget, price, give = Limits(PLENTY, PLENTY, PLENTY), Cost(1, cost, cost), Cost(0, cost, cost)

    def step() -> None:
        assert store.reserve([Charge("k", budget, price)], 0).granted
        store.adjust([Charge("k", budget, give)])

    return step


def ours_reserve(store: Any, cost: int) -> Step:
    """The decision alone, which is all that the peers do: three buckets, one operation."""
    budget, price = Limits(PLENTY, PLENTY, PLENTY), Cost(1, cost, cost)
    return lambda: store.reserve([Charge("k", budget, price)], 0)


def of_limits(storage: Any, cost: int) -> Step:
    strategy = limits.strategies.MovingWindowRateLimiter(storage)
    item = limits.RateLimitItemPerMinute(100_000_000)
    return lambda: strategy.hit(item, "k", cost=cost)


def of_throttled(store: Any, cost: int) -> Step:
    quota = throttled.per_min(100_000_000, burst=100_000_000)
    using = throttled.RateLimiterType.TOKEN_BUCKET.value
    limiter = throttled.Throttled(key="k", using=using, quota=quota, store=store)
    return lambda: limiter.limit(cost=cost)


def of_pyrate(bucket: Any, cost: int) -> Step:
    limiter = pyrate_limiter.Limiter(bucket)
    return lambda: limiter.try_acquire("k", weight=cost, blocking=False)


def of_governor(cost: int) -> Step:
    governor = llm_governor.Governor(HAIKU, rpm=PLENTY, itpm=PLENTY, otpm=PLENTY)

    def step() -> None:
        with governor.slot(estimated_input=cost, max_tokens=cost):
            pass

    return step


def decisions(port: int, cost: int) -> dict[str, float]:
    """Microseconds per decision, on memory and on Redis."""
    client = redis.Redis(port=port)
    rate = [pyrate_limiter.Rate(100_000_000, pyrate_limiter.Duration.MINUTE)]
    url = f"redis://127.0.0.1:{port}"
    memory = {
        "ours, reserve and settle": ours(MemoryStore(), cost),
        "ours, reserve": ours_reserve(MemoryStore(), cost),
        "limits": of_limits(limits.storage.MemoryStorage(), cost),
        "throttled-py": of_throttled(throttled.MemoryStore(), cost),
        "pyrate-limiter": of_pyrate(pyrate_limiter.InMemoryBucket(rate), cost),
        "llm-rate-governor": of_governor(cost),
    }
    shared = {
        "ours, reserve and settle": ours(RedisStore(client, prefix=f"bench{cost}"), cost),
        "ours, reserve": ours_reserve(RedisStore(client, prefix=f"reserve{cost}"), cost),
        "limits": of_limits(limits.storage.RedisStorage(url), cost),
        "throttled-py": of_throttled(throttled.RedisStore(server=url), cost),
        "pyrate-limiter": of_pyrate(
            pyrate_limiter.RedisBucket.init(rate, client, f"pyrate{cost}"), cost
        ),
    }
    found: dict[str, float] = {}
    for where, candidates, calls in (("memory", memory, 200), ("redis", shared, 60)):
        for name, seconds in interleaved(candidates, rounds=7, calls=calls).items():
            found[f"{name}, {where}, cost {cost}: decisions/s"] = round(1 / seconds)
    client.close()
    return found


def _take(port: int, start: float, seconds: float, results: Any) -> None:
    client = redis.Redis(port=port)
    store, budget, taken = RedisStore(client, prefix="eight"), Limits(itpm=600_000), 0
    while time.time() < start:
        time.sleep(0.01)
    while time.time() < start + seconds:
        grant = store.reserve([Charge("org", budget, Cost(0, 1_000))], 0.2)
        if grant.granted:
            taken += time.time() + grant.wait < start + seconds  # booked for within the period
            time.sleep(grant.wait)
        else:
            time.sleep(0.1)
    results.put(taken)


def eight_processes(port: int, seconds: float = 20.0) -> dict[str, float]:
    """Calls of 1,000 tokens against 600,000 a minute: what gets in, and what may."""
    results: Any = multiprocessing.Queue()
    start = time.time() + 6
    workers = [
        multiprocessing.Process(target=_take, args=(port, start, seconds, results))
        for _ in range(8)
    ]
    for worker in workers:
        worker.start()
    taken = sum(results.get() for _ in workers)
    for worker in workers:
        worker.join()
    allowed = 600 + 10 * seconds
    return {
        "calls admitted": taken,
        "calls allowed": allowed,
        "above the limit": max(0, taken - allowed),
        "share of the limit used": round(taken / allowed, 3),
    }


MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": HAIKU,
    "content": [{"type": "text", "text": "Done: Tuesday at ten, in the small room."}],
    "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 30, "output_tokens": 12},
}  # fmt: skip
ASKED = itertools.count()


def ask() -> Any:
    """A call with a text that no policy has seen, as a new turn is."""
    text = f"Move Ada's meeting {next(ASKED)} (ada@example.com) to Tuesday."
    return {"model": HAIKU, "max_tokens": 100, "messages": [{"role": "user", "content": text}]}


def chain(folder: str) -> dict[str, float]:
    """CPU of a call through every policy over that of a bare SDK call."""
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, json=MESSAGE, headers={"request-id": "req_1"})
    )
    options: dict[str, Any] = {
        "log": AuditLog(f"{folder}/chain.db", KEY),
        "user_key": KEY,
        "rules": [Rule("analyst")],
        "limits": Limits(10**9, 10**9, 10**9),
        "privacy": PIIMiddleware(),
    }
    bare = Anthropic(api_key="t", http_client=httpx2.Client(transport=transport))
    vault = {**options, "privacy": PIIMiddleware("vault")}
    clients = {"bare": bare, "guarded": guarded(bare, **options), "vault": guarded(bare, **vault)}
    loop = asyncio.new_event_loop()
    bare_async = AsyncAnthropic(api_key="t", http_client=httpx2.AsyncClient(transport=transport))
    asyncs = {
        "bare": bare_async,
        "guarded": guarded(bare_async, **options),
        "vault": guarded(bare_async, **vault),
    }

    def steps(name: str) -> Step:
        return lambda: clients[name].messages.create(**ask())

    def async_steps(name: str) -> Step:
        return lambda: loop.run_until_complete(asyncs[name].messages.create(**ask()))

    found: dict[str, float] = {}
    with acting_as(Principal("ada", frozenset({"analyst"}), "lab")):
        for kind, make in (("sync", steps), ("async", async_steps)):
            times = interleaved(
                {name: make(name) for name in clients}, rounds=25, calls=30, timer=time.process_time
            )
            found[f"{kind}: microseconds bare"] = round(times["bare"] * 1e6)
            found[f"{kind}: microseconds guarded"] = round(times["guarded"] * 1e6)
            found[f"{kind}: ratio"] = round(times["guarded"] / times["bare"], 2)
            found[f"{kind}: ratio with a vault"] = round(times["vault"] / times["bare"], 2)
    loop.close()
    return found


def _write(path: str, rows: int, start: float, results: Any) -> None:
    log = AuditLog(path, KEY, wait=60)
    while time.time() < start:
        time.sleep(0.01)
    usage = {"input_tokens": 30, "output_tokens": 12}
    for number in range(rows):
        log.append("response", call=f"call-{number}", status=200, usage=usage, ms=812.5)
    results.put(time.time())
    log.close()


def audit(folder: str, rows: int = 3_000) -> dict[str, Any]:
    """Eight processes that write into one log."""
    path = f"{folder}/audit.db"
    AuditLog(path, KEY).close()
    rates = []
    for _ in range(3):
        results: Any = multiprocessing.Queue()
        start = time.time() + 2
        writers = [
            multiprocessing.Process(target=_write, args=(path, rows, start, results))
            for _ in range(8)
        ]
        for writer in writers:
            writer.start()
        ended = max(results.get() for _ in writers)
        for writer in writers:
            writer.join()
        rates.append(8 * rows / (ended - start))
    with AuditLog(path, KEY) as log:
        verdict = log.verify()
    return {
        "rows/s, median of 3": round(statistics.median(rates)),
        "rows/s, best of 3": round(max(rates)),
        "intact": verdict.intact,
        "rows verified": verdict.rows,
    }


def operations(folder: str, rows: int = 1_000_000) -> dict[str, float]:
    """`tail` of a long log, and an event loop while another process holds the file for a second."""
    log = AuditLog(f"{folder}/long.db", KEY)
    with log.writing():
        for number in range(rows):
            log.insert(log.row("response", call=f"call-{number}", status=200, ms=812.5))
    times = []
    for _ in range(5):
        started = time.perf_counter()
        log.tail(10)
        times.append(time.perf_counter() - started)
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json=MESSAGE))
    client = guarded(
        AsyncAnthropic(api_key="t", http_client=httpx2.AsyncClient(transport=transport)),
        log=log, user_key=KEY, rules=[Rule("analyst")], privacy=PIIMiddleware(),
    )  # fmt: skip
    other = sqlite3.connect(log.path, isolation_level=None)

    async def gaps() -> float:
        longest, last, done = 0.0, time.perf_counter(), False
        calls = [asyncio.create_task(client.messages.create(**ask())) for _ in range(3)]
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(1, other.execute, "ROLLBACK")
        while not done:
            done = all(call.done() for call in calls)
            await asyncio.sleep(0.001)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
        return longest

    with acting_as(Principal("ada", frozenset({"analyst"}))):
        longest = min(asyncio.run(gaps()) for _ in range(5))
    other.close()
    log.close()
    return {
        "rows": rows,
        "tail of 10: milliseconds": round(max(times) * 1000, 2),
        "loop while locked: longest gap in milliseconds": round(longest * 1000, 1),
    }


def docstrings() -> list[str]:
    """Ordinary prose that nobody here wrote: that of the standard library."""
    root = Path(sysconfig.get_path("stdlib"))
    found: set[str] = set()
    for file in sorted(root.rglob("*.py")):
        if {"site-packages", "test", "tests"} & set(file.relative_to(root).parts):
            continue
        with contextlib.suppress(SyntaxError, ValueError):
            tree = ast.parse(file.read_text("utf-8"))
            documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            for node in ast.walk(tree):
                if isinstance(node, documented) and len(text := ast.get_docstring(node) or "") > 60:
                    found.add(text)
    return sorted(found)


HOSTILE = ["1 ", "4111 ", "a@", "DE89 ", "1:", "call 555-1234 ", "sk-", "(", "123-45-6789 ", "123 ",
           "12345 ", "\u200b", "é", "ignore ", "<", "# ", "token=", "-----BEGIN "]  # fmt: skip


def texts() -> dict[str, Any]:
    """Quality on generated halves, speed on short texts, and the worst hostile text."""

    def find(text: str) -> list[tuple[str, int, int]]:
        return [(one.type, one.start, one.end) for one in find_pii(text)]

    found: dict[str, Any] = {}
    for name, half in (("tuning", TUNING), ("held-out", HELD_OUT)):
        quality = measure(find, half, 11)
        found[f"{name}: precision"] = round(quality.precision, 4)
        found[f"{name}: recall"] = round(quality.recall, 4)
        found[f"{name}: recall by type"] = {k: round(v, 3) for k, v in quality.recall_of.items()}
        found[f"{name}: benign flagged"] = round(quality.flagged, 4)
    short = [one.text for one in positives(HELD_OUT, 3_000, 12)]
    started = time.process_time()
    for text in short:
        find_pii(text)
    found["short texts/s"] = round(len(short) / (time.process_time() - started))
    ordinary = docstrings()
    found["docstrings"] = len(ordinary)
    found["docstrings: screened out"] = round(
        sum(injection_score(one) >= 1 for one in ordinary) / len(ordinary), 5
    )
    worst = 0.0, ""
    ratio = 0.0
    for unit in HOSTILE:
        once, twice = (_cpu(unit * (size // len(unit.encode()))) for size in (100_000, 200_000))
        worst = max(worst, (once, unit))
        ratio = max(ratio, twice / once if once > 0.005 else 0)
    found["hostile 100 kB: worst milliseconds"] = round(worst[0] * 1000)
    found["hostile 100 kB: worst text"] = repr(worst[1])
    found["hostile: time for twice the text"] = round(ratio, 2)
    return found


def _cpu(text: str) -> float:
    """Seconds of CPU for both scans of a text, the best of three."""
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        find_pii(text)
        injection_score(text)
        best = min(best, time.process_time() - started)
    return best


def main() -> None:
    """Measure, print and write `results/policy.json`."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        figures["texts"] = texts()
        figures["chain"] = chain(folder)
        figures["audit"] = audit(folder)
        figures["operations"] = operations(folder)
        with redis_server() as port:
            figures["decisions"] = decisions(port, 1) | decisions(port, 1_000)
            figures["eight processes"] = eight_processes(port)
    held, eight = figures["texts"], figures["eight processes"]
    operated = figures["operations"]
    write_results(
        "policy",
        figures,
        packages=PACKAGES,
        targets={
            "held-out precision and recall at least .90": held["held-out: precision"] >= 0.9
            and held["held-out: recall"] >= 0.9,
            "benign texts flagged at most 1.5 %": held["held-out: benign flagged"] <= 0.015,
            "docstrings screened out at most 0.5 %": held["docstrings: screened out"] <= 0.005,
            "at least 2,000 short texts/s": held["short texts/s"] >= 2_000,
            "100 kB of hostile text under 250 ms": held["hostile 100 kB: worst milliseconds"] < 250,
            "twice the hostile text in at most 3 times": held["hostile: time for twice the text"]
            <= 3,
            "whole chain at most 1.7 times the CPU, sync": figures["chain"]["sync: ratio"] <= 1.7,
            "whole chain at most 1.7 times the CPU, async": figures["chain"]["async: ratio"] <= 1.7,
            "at least 5,000 audit rows/s with 8 writers": figures["audit"]["rows/s, median of 3"]
            >= 5_000,
            "audit chain intact": figures["audit"]["intact"],
            "tail of a million rows under 100 ms": operated["tail of 10: milliseconds"] < 100,
            "a locked log stops no loop for 20 ms": operated[
                "loop while locked: longest gap in milliseconds"
            ]
            <= 20,
            "8 processes: nothing above the limit": eight["above the limit"] == 0,
            "8 processes: at least 97 % used": eight["share of the limit used"] >= 0.97,
        },
    )


if __name__ == "__main__":
    main()
