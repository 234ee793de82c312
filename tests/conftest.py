"""Shared by all tests: nothing from the caller's environment gets in, nothing leaves this machine.

Real servers are started once for a process, on loopback.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings
from real_servers import postgres_server, redis_server

# No deadline: a slow machine is no failure. The same examples each time, so that a red run can be
# repeated; new ones with `--hypothesis-profile explore`.
settings.register_profile("explore", deadline=None)
settings.register_profile("repeat", deadline=None, derandomize=True)
settings.load_profile("repeat")

FOREIGN = ("ANTHROPIC_", "PATTERNS_", "OTEL_", "DBOS_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def foreign(name: str) -> bool:
    """A variable that would change what a test does; proxies are also written in small letters."""
    return name.upper().startswith(FOREIGN)


for _name in filter(foreign, list(os.environ)):
    del os.environ[_name]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts from the default settings, whatever an earlier one set."""
    for name in filter(foreign, list(os.environ)):
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def redis_port() -> Iterator[int]:
    """The port of a real Redis or Valkey; take keys with a prefix of your own."""
    with redis_server() as port:
        yield port


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real PostgreSQL."""
    with postgres_server() as url:
        yield url


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--no-skips`, for CI: there everything that a test needs is installed."""
    parser.addoption("--no-skips", action="store_true", help="fail when a test was skipped")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that passed by leaving something out."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and session.config.getoption("--no-skips") and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
