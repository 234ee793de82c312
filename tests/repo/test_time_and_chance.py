"""No test sleeps, asks what time it is, or rolls dice: what it waits for is an event.

Virtual time (`VirtualClock`) may pass as it likes. Tests of real processes are named here, each
with what it does and why; an entry that nothing needs any more fails.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from chapters import ROOT

CLOCK = {
    "time.sleep",
    "time.time",
    "time.monotonic",
    "time.perf_counter",
    "datetime.now",
    "datetime.utcnow",
    "date.today",
}
CHANCE = {"uuid4", "uuid.uuid4", "uuid.uuid1", "random.SystemRandom", "os.urandom"}
POLLS = "another process can only be asked again and again"
BEGINS = "a call over real streams is given a moment to begin"
ENDS = "the outcome is that a real wait ends"
WORKS = "work that lasts, so that a worker can be killed in it"
ALLOWED = {
    "batching/test_fleet.py": {"time.sleep": POLLS, "time.monotonic": ENDS},
    "fake_api/test_clock.py": {
        "time.perf_counter": "real work is shown to move no virtual clock",
        "time.time": "the real clock is compared with ours",
    },
    "mcp_session/test_conversation.py": {"asyncio.sleep": "tools that could overlap"},
    "mcp_session/test_mcp_session.py": {"asyncio.sleep": BEGINS},
    "mcp_session/test_watch.py": {"asyncio.sleep": "nothing more comes"},
    "support/agents_worker.py": {"asyncio.sleep": WORKS},
    "support/batching_worker.py": {"time.sleep": WORKS},
    "support/drift.py": {"datetime.now": "a command, whose date is an option"},
    "support/faults.py": {"time.monotonic": "a real clock is made to jump"},
    "support/fleet_worker.py": {"asyncio.sleep": WORKS, "time.sleep": POLLS},
    "support/mcp_session_support.py": {
        "asyncio.sleep": POLLS,
        "time.sleep": POLLS,
        "time.monotonic": POLLS,
    },
    "system/test_agents_durable.py": {
        "asyncio.sleep": WORKS,
        "time.time": "another process begins an hour later than the machine's clock says",
        "time.sleep": POLLS,
        "time.monotonic": POLLS,
    },
    "system/test_batching_fleet.py": {"time.sleep": POLLS},
    "system/test_desk_service.py": {"time.sleep": POLLS},
    "system/test_mcp_session_foreign.py": {"time.time": "a foreign clock shows whole seconds"},
    "system/test_mcp_session_in_time.py": {
        "asyncio.sleep": BEGINS,
        "time.sleep": POLLS,
        "time.monotonic": POLLS,
        "time.perf_counter": ENDS,
    },
    "system/test_mcp_session_restart.py": {"asyncio.sleep": BEGINS, "time.perf_counter": ENDS},
}
"""What a file of tests may use, and why."""


def calls(tree: ast.AST) -> Iterator[tuple[str, list[ast.expr]]]:
    """Every call by its dotted name, with its arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.args


def real(source: str) -> Iterator[str]:
    """What a test does with the real clock, or by chance."""
    virtual = "VirtualClock" in source or "SimulatedClock" in source
    for name, arguments in calls(ast.parse(source)):
        if name in CLOCK | CHANCE:
            yield name
        elif name in ("random.Random", "Random") and not arguments:
            yield f"{name}()"
        elif name in ("asyncio.sleep", "anyio.sleep"):
            if not virtual and not nothing(arguments):
                yield name
        elif name.startswith("random.") and name[7:8].islower():
            yield name


def nothing(arguments: list[ast.expr]) -> bool:
    """`sleep(0)` gives others their turn, and no more."""
    first = arguments[0] if arguments else None
    return isinstance(first, ast.Constant) and first.value == 0


def files() -> list[Path]:
    """Every test and what it imports; benchmarks measure time, and clients are strangers."""
    apart = {"bench", "clients"}
    found = sorted((ROOT / "tests").rglob("*.py"))
    return [path for path in found if path.relative_to(ROOT / "tests").parts[0] not in apart]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT / "tests")))
def test_a_test_waits_for_events_and_knows_its_dice(path: Path) -> None:
    """Nothing but what the list allows it."""
    name = path.relative_to(ROOT / "tests").as_posix()
    assert set(real(path.read_text("utf-8"))) - set(ALLOWED.get(name, ())) == set()


def test_the_list_names_files_that_exist() -> None:
    """A renamed one takes its entry along."""
    assert [name for name in ALLOWED if not (ROOT / "tests" / name).exists()] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\ntime.sleep(1)", ["time.sleep"]),
        ("await asyncio.sleep(0.1)", ["asyncio.sleep"]),
        ("await asyncio.sleep(0)", []),
        ("VirtualClock().run(asyncio.sleep(9))", []),
        ("Random()", ["Random()"]),
        ("Random(7).random()", []),
        ("random.choice(x)", ["random.choice"]),
        ("datetime.now(UTC)", ["datetime.now"]),
    ],
)
def test_what_counts_as_real(source: str, found: list[str]) -> None:
    """And what does not."""
    assert list(real(source)) == found
