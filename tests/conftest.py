"""Shared by all tests: no credential from outside gets in, and nothing leaves this machine."""

import os

import pytest
from hypothesis import settings

# No deadline: a slow machine is no failure. Derandomised in CI, so that a red run can be repeated.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

for _name in [name for name in os.environ if name.startswith(("ANTHROPIC_", "PATTERNS_"))]:
    del os.environ[_name]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts from the default settings, whatever an earlier one set."""
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC_", "PATTERNS_")):
            monkeypatch.delenv(name)
