"""Side-by-side measurement: ratios of interleaved runs, kept with their versions and date.

Machines differ and drift, so a figure means something only beside a peer's from the same run.
Candidates take turns within each round; what is compared is the median over the rounds.
"""

import gc
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def interleaved(
    candidates: Mapping[str, Callable[[], Any]],
    *,
    rounds: int = 15,
    calls: int = 1,
    timer: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds per call of each candidate, which take turns in every round.

    `timer` may be `time.process_time`, for CPU instead of wall time. One unmeasured turn
    of each candidate goes first.
    """
    for candidate in candidates.values():
        candidate()
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            gc.collect()
            started = timer()
            for _ in range(calls):
                candidate()
            samples[name].append((timer() - started) / calls)
    return {name: statistics.median(times) for name, times in samples.items()}


def write_results(
    name: str, figures: Mapping[str, Any], *, packages: Sequence[str], targets: Mapping[str, bool]
) -> None:
    """Print the figures and write them to `results/<name>.json` with date, machine and versions.

    `targets` says of each target, in words, whether this run met it.
    """
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "cpu": f"{platform.machine()}, {_cores()} cores",
        "versions": {package: version(package) for package in packages},
        "figures": dict(figures),
        "targets": dict(targets),
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(record, indent=2, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
