"""The fake API as strangers see it: clients that nobody here wrote ask it over a socket.

Each is a script in `python/` or `node/`, run in an environment that `make clients` sets up. The
call of a tool comes after a signed thinking block, and whoever asks again has to bring it along.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chapters import ROOT

pytestmark = pytest.mark.stage
HERE = Path(__file__).parent
ENVIRONMENTS = ROOT / ".venv-clients"
HELLO = "Grüße aus Bergen: ☂ and then some more rain."
CLIENTS = {
    "newest": ("agno", "haystack", "instructor", "langchain", "litellm", "pydantic_ai"),
    "older": ("instructor", "llama_index", "mirascope", "strands"),
    "node": ("langchain", "sdk", "vercel"),
}
QUIET = {
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "PYTHONWARNINGS": "ignore",
}
"""Nothing is fetched from elsewhere."""
Outcomes = Callable[[str, str], dict[str, Any]]


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """The fake API on a loopback port, without an echo."""
    server = subprocess.Popen(
        [sys.executable, "-m", "patterns.fake_api", "--strict", "--replies", HERE / "replies.toml"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout
    yield server.stdout.readline().strip()
    server.terminate()
    server.wait()
    server.stdout.close()


@pytest.fixture(scope="session")
def outcomes(url: str) -> Outcomes:
    """What came out of a client's four functions, each client run once."""
    known: dict[tuple[str, str], dict[str, Any]] = {}

    def of(where: str, name: str) -> dict[str, Any]:
        if (where, name) not in known:
            known[where, name] = run(where, name, url)
        return known[where, name]

    return of


def run(where: str, name: str, url: str) -> dict[str, Any]:
    """Run a client's script in its environment."""
    program = ENVIRONMENTS / ("newest/bin/node" if where == "node" else f"{where}/bin/python")
    script = ENVIRONMENTS / "node/judge.mjs" if where == "node" else HERE / "python/judge.py"
    if not script.exists() or not program.exists():
        pytest.skip("the clients are not installed: make clients")
    done = subprocess.run(
        [program, script, name, url],
        env={**os.environ, **QUIET},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


each = pytest.mark.parametrize(
    ("where", "name"),
    [
        pytest.param(where, name, marks=pytest.mark.xdist_group(f"{where}-{name}"))
        for where, names in CLIENTS.items()
        for name in names
    ],
)


@each
def test_a_stranger_gets_the_text(where: str, name: str, outcomes: Outcomes) -> None:
    """In one piece."""
    assert outcomes(where, name)["plain"] == HELLO


@each
def test_a_stranger_gets_the_text_in_pieces(where: str, name: str, outcomes: Outcomes) -> None:
    """More than one, and together they are the text."""
    pieces = outcomes(where, name)["streamed"]
    assert len(pieces) > 1
    assert "".join(pieces).strip() == HELLO


@each
def test_a_stranger_calls_its_tool_and_gets_an_answer(
    where: str, name: str, outcomes: Outcomes
) -> None:
    """The call is streamed where the client can, and its result goes back with all that came."""
    tool, given, answer = outcomes(where, name)["tools"]
    assert (tool, given) == ("get_weather", {"city": "Oslo"})
    assert answer.endswith("It is 21 degrees in Oslo.")


@each
def test_a_stranger_gets_an_object(where: str, name: str, outcomes: Outcomes) -> None:
    """By the output format of today or of before, or by a tool that it forces."""
    assert outcomes(where, name)["structured"] == {"city": "Oslo", "degrees": 21}
