"""The protocol project's own conformance suites: a session is seen like the bare client.

`bash .ci/run conformance` installs the suites. Each one plays a server for every scenario that it
has for clients and writes down what it sees; here that is compared check by check, failures of the
bare client included.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mcp_conformance_client import Scenario, bare, session, visit

pytestmark = pytest.mark.stage

INSTALL = "bash .ci/run conformance"
CLIENTS: dict[str, Any] = {"bare": bare, "session": session}
TIMED = {"client-sse-retry-timing"}
"""Checks whose verdict depends on how busy the machine is."""

RELAY = """
import json, os, socket, sys
port, client, url = sys.argv[1:]
keys = "SCENARIO", "PROTOCOL_VERSION", "CONTEXT"
told = {key: os.environ.get(f"MCP_CONFORMANCE_{key}") for key in keys}
with socket.create_connection(("127.0.0.1", int(port))) as there:
    there.sendall(json.dumps({"client": client, "url": url, **told}).encode() + b"\\n")
    sys.exit(int(there.makefile().readline() or 1))
"""
"""What a suite starts as a client: it hands the scenario to this process, which is warm already."""


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    told = json.loads(await reader.readline())
    given = json.loads(told["CONTEXT"] or "{}")
    version = told["PROTOCOL_VERSION"] or "2025-11-25"
    scenario = Scenario(told["SCENARIO"], version, told["url"], given)
    # A refused request cancels the task of a bare client, so each visit has one of its own.
    visiting = asyncio.create_task(visit(scenario, CLIENTS[told["client"]]))
    await asyncio.wait([visiting])
    failed = visiting.cancelled() or visiting.exception() is not None
    writer.write(f"{int(failed)}\n".encode())
    writer.close()


async def _seen(suite: Path, options: list[str], client: str, folder: Path) -> dict[str, Any]:
    """How often which check ended how, for each scenario."""
    relay, results = folder / "relay.py", folder / client
    relay.write_text(RELAY)
    async with await asyncio.start_server(_answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        command = f"{sys.executable} -S -E {relay} {port} {client}"
        run = [str(suite / "dist" / "index.js"), "client", "--command", command, "-o", str(results)]
        running = await asyncio.create_subprocess_exec(
            str(suite.parent / "node" / "bin" / "node"),
            *run,
            *("--timeout", "120000", *options),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await running.wait()
    found = results.rglob("checks.json")
    return {_scenario(file.parent, results): _verdicts(file) for file in found}


def _scenario(folder: Path, results: Path) -> str:
    """The name of a folder without the moment at its end."""
    return str(folder.relative_to(results)).rpartition("-20")[0]


def _verdicts(file: Path) -> Counter[tuple[str, str]]:
    checks = [check for check in json.loads(file.read_text()) if check["status"] != "INFO"]
    return Counter((c["id"], "" if c["id"] in TIMED else c["status"]) for c in checks)


@pytest.mark.parametrize(
    ("suite", "options", "least"),
    [
        ("conformance-old", ["--suite", "all"], 26),
        ("conformance-new", ["--suite", "all", "--spec-version", "2025-11-25"], 12),
        ("conformance-new", ["--suite", "all", "--spec-version", "2026-07-28"], 33),
        ("conformance-new", ["--suite", "all"], 48),
    ],
    ids=["the older suite", "2025-11-25", "2026-07-28", "everything"],
)
def test_a_suite_sees_a_session_as_it_sees_the_bare_client(
    suite: str, options: list[str], least: int, tmp_path: Path
) -> None:
    """Every scenario, every check: the same verdicts, as often."""
    modules = Path(os.environ.get("MCP_CONFORMANCE", "nowhere")) / "node_modules"
    if not (modules / suite).exists():
        pytest.skip(f"needs the conformance suites: {INSTALL}")

    async def run() -> list[dict[str, Any]]:
        return [await _seen(modules / suite, options, client, tmp_path) for client in CLIENTS]

    as_bare, as_session = asyncio.run(run())
    differ = [name for name in as_bare if as_bare[name] != as_session.get(name)]
    shown = {name: (as_bare[name], as_session.get(name)) for name in differ}
    assert shown == {}
    assert set(as_session) == set(as_bare)
    assert len(as_bare) >= least
