"""What the folder exports, and the smallest parts alone."""

from pathlib import Path

import pytest

from patterns.fake_api import FakeAPI
from patterns.policy import AuditLog, Principal, Rule, acting_as, guarded, redact
from patterns.policy.flow import Policy

KEY = b"k" * 32


def test_a_policy_without_a_flow_passes_everything_on() -> None:
    """The base class is a middleware that does nothing."""
    assert FakeAPI().client(middleware=[Policy()]).models.list().data


def test_an_absolute_url_of_the_clients_own_host_is_its_own(tmp_path: Path) -> None:
    """The API's answers hold such URLs; behind a gateway they have its host and path."""
    client = FakeAPI().client(base_url="https://gateway.example/claude/")
    with AuditLog(tmp_path / "audit.db", KEY) as log:
        rules = [Rule("analyst", "GET /v1/models")]
        desk = guarded(client, log=log, user_key=KEY, rules=rules, privacy=None)
        with acting_as(Principal("ada", frozenset({"analyst"}))), pytest.raises(Exception):  # noqa: B017, PT011
            desk.get("https://gateway.example/claude/v1/files?limit=1", cast_to=object)
        assert [row["endpoint"] for row in log.rows()] == ["GET /v1/files"] * 2


def test_a_hash_without_a_key_is_refused() -> None:
    """It would be undone with a list of addresses."""
    with pytest.raises(ValueError, match="needs a key"):
        redact("ada@example.com", strategy="hash")
    assert redact("ada@example.com", strategy="allow").text == "ada@example.com"
