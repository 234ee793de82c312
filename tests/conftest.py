"""Shared by all tests: no credential from outside gets in, and nothing leaves this machine."""

import os

import pytest

for _name in [name for name in os.environ if name.startswith(("ANTHROPIC_", "PATTERNS_"))]:
    del os.environ[_name]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts from the default settings, whatever an earlier one set."""
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC_", "PATTERNS_")):
            monkeypatch.delenv(name)
