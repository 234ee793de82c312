"""The SDK's own sign-in against the fake: exchange, refresh, failures, rotation, many at once."""

import asyncio
import json
import logging
import threading
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import AccessToken, Anthropic, AsyncAnthropic, WorkloadIdentityError
from anthropic.lib.credentials import IdentityTokenFile
from signing_in import ASK, SHADOWED, Client, Kind, Service, virtual_clock

from patterns.course.issuer import Issuer
from patterns.fake_api import FakeAPI, Fault, VirtualClock
from patterns.fake_api.wire.server import serve

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])
TOKEN, CALL = ("token", 200), ("messages", 200)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    """One time for everybody."""
    return virtual_clock(monkeypatch)


@BOTH
def test_one_exchange_serves_many_calls(clock: VirtualClock, kind: Kind) -> None:
    """And copies of the client share the token."""
    service = Service(clock, kind)
    client = service.client()
    for each in (client, client, client.with_options(timeout=9)):
        service.ask(each)
    assert service.trace == [TOKEN, CALL, CALL, CALL]
    sent = [each.headers["anthropic-beta"] for each in service.api.journal]
    assert sent[:2] == ["oauth-2025-04-20,oidc-federation-2026-04-01", "oauth-2025-04-20"]


@BOTH
@pytest.mark.parametrize(("left", "exchanges"), [(121, 1), (119, 2), (29, 2), (-1, 2)])
def test_a_token_is_refreshed_before_it_ends(
    clock: VirtualClock, kind: Kind, left: int, exchanges: int
) -> None:
    """From two minutes before its end on; no call meets a 401."""
    service = Service(clock, kind, seconds=600)
    client = service.client()
    service.ask(client)
    clock.advance(600 - left)
    service.ask(client)
    assert service.exchanges() == exchanges
    assert {status for _, status in service.trace} == {200}


@BOTH
def test_a_short_token_is_exchanged_before_every_call(clock: VirtualClock, kind: Kind) -> None:
    """A rule of two minutes or less never leaves the time in which the SDK refreshes."""
    service = Service(clock, kind, seconds=120)
    client = service.client()
    for _ in range(3):
        service.ask(client)
    assert service.trace == [TOKEN, CALL] * 3


@BOTH
def test_a_token_that_ends_in_the_middle_of_a_stream_breaks_nothing(
    clock: VirtualClock, kind: Kind
) -> None:
    """The stream goes on to its end, and the next call has a new token."""
    service = Service(clock, kind)
    client = service.client()
    text = service.stream(client, lambda: clock.advance(3_601))
    assert "echo of the fake API" in text
    service.ask(client)
    assert service.trace == [TOKEN, CALL, TOKEN, CALL]


@BOTH
def test_a_clock_that_is_behind_costs_one_retry(clock: VirtualClock, kind: Kind) -> None:
    """The API says 401 where the SDK thinks that its token is good: it exchanges and asks again."""
    service = Service(clock, kind)
    client = service.client()
    service.ask(client)
    service.api.clock = VirtualClock(clock.now() + 3_700)
    service.issuer.clock = service.api.clock.now
    service.ask(client)
    assert service.trace == [TOKEN, CALL, ("messages", 401), TOKEN, CALL]


@BOTH
def test_without_retries_a_refused_token_is_kept(clock: VirtualClock, kind: Kind) -> None:
    """With `max_retries=0` the SDK looks at no 401: every call fails until its own clock is up."""
    service = Service(clock, kind)
    client = service.client(max_retries=0)
    service.ask(client)
    service.api.clock = VirtualClock(clock.now() + 3_700)
    service.issuer.clock = service.api.clock.now
    for _ in range(2):
        with pytest.raises(anthropic.AuthenticationError):
            service.ask(client)
    assert service.trace == [TOKEN, CALL, ("messages", 401), ("messages", 401)]
    service.ask(client.with_options(max_retries=1))
    assert service.trace[4:] == [("messages", 401), TOKEN, CALL]


@BOTH
def test_the_token_endpoint_may_be_down_while_the_token_is_good(
    clock: VirtualClock, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning; in the last half minute it is an error, and afterwards all is well."""
    service = Service(clock, kind, seconds=600)
    client = service.client()
    service.ask(client)
    service.api.add_faults(Fault.status(529, path="/v1/oauth/token", times=2))
    clock.advance(500)
    service.ask(client)
    assert "serving cached token" in caplog.text
    clock.advance(80)
    with pytest.raises(WorkloadIdentityError, match="HTTP 529"):
        service.ask(client)
    service.ask(client)
    assert service.trace == [TOKEN, CALL, ("token", 529), CALL, ("token", 529), TOKEN, CALL]


@BOTH
def test_a_wrong_audience_says_what_to_do(clock: VirtualClock, kind: Kind) -> None:
    """A typed error with the request's id, which no retry of the call repeats."""
    service = Service(clock, kind)
    wrong = service.credentials(lambda: service.issuer.token(aud="https://vault.example"))
    with pytest.raises(WorkloadIdentityError, match="federation rule matches") as caught:
        service.ask(service.client(wrong))
    assert caught.value.status_code == 401
    assert caught.value.request_id == service.api.journal[-1].request_id
    assert "Workload identity page" in str(caught.value)
    assert service.trace == [("token", 401)] * 2  # the SDK asks for the identity token once more
    assert [each.reason for each in service.api.sign_ins] == ["match_audience"] * 2


@BOTH
def test_an_identity_token_that_was_used_is_no_good(
    clock: VirtualClock, kind: Kind, tmp_path: Path
) -> None:
    """Two processes with one file: the second gets the 401 of a wrong rule, until it is new."""
    service = Service(clock, kind)
    path = tmp_path / "token"
    path.write_text(service.issuer.token())
    first, second = (service.client(service.credentials(IdentityTokenFile(path))) for _ in range(2))
    service.ask(first)
    with pytest.raises(WorkloadIdentityError, match="Authentication failed"):
        service.ask(second)
    assert service.api.sign_ins[-1].reason == "jti_reused"
    path.write_text(service.issuer.token())
    service.ask(second)


@BOTH
@pytest.mark.parametrize(
    ("rule", "options", "reason"),
    [
        ({"workspaces": ("wrkspc_01A", "wrkspc_01B")}, {}, "workspace_id_required"),
        ({}, {"workspace_id": "wrkspc_01A"}, "workspace_not_enabled"),
    ],
)
def test_a_missing_or_wrong_workspace_is_the_same_error(
    clock: VirtualClock, kind: Kind, rule: Any, options: Any, reason: str
) -> None:
    """Only the history knows which."""
    service = Service(clock, kind, **rule)
    with pytest.raises(WorkloadIdentityError, match="Authentication failed"):
        service.ask(service.client(service.credentials(**options)))
    assert service.api.sign_ins[-1].reason == reason


@BOTH
def test_a_scope_that_is_too_small_is_a_permission_error(clock: VirtualClock, kind: Kind) -> None:
    """Messages go through, files do not; a new token would not help, and none is asked for."""
    service = Service(clock, kind, scope="workspace:inference")
    client = service.client()
    service.ask(client)
    with pytest.raises(anthropic.PermissionDeniedError):
        if isinstance(client, AsyncAnthropic):
            clock.run(client.files.retrieve_metadata("file_1"))
        else:
            client.files.retrieve_metadata("file_1")
    assert service.exchanges() == 1


def federated(monkeypatch: pytest.MonkeyPatch, path: Path, url: str, service_rule: Any) -> None:
    """What a platform sets for a workload."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
    monkeypatch.setenv("ANTHROPIC_FEDERATION_RULE_ID", service_rule.id)
    monkeypatch.setenv("ANTHROPIC_ORGANIZATION_ID", service_rule.organization_id)
    monkeypatch.setenv("ANTHROPIC_SERVICE_ACCOUNT_ID", service_rule.service_account_id)
    monkeypatch.setenv("ANTHROPIC_IDENTITY_TOKEN_FILE", str(path))
    monkeypatch.setattr("anthropic.lib.credentials._auth._warn_once_seen", set())


def test_the_environment_alone_signs_in_and_a_key_in_it_goes_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`Anthropic()` without arguments over a real socket; with a key, one warning says so."""
    issuer = Issuer()
    rule = issuer.rule()
    api = FakeAPI(federation=[rule])
    path = tmp_path / "token"
    path.write_text(issuer.token())
    with serve(api) as url:
        federated(monkeypatch, path, url, rule)
        with Anthropic() as client:
            client.messages.create(**ASK)
        assert [each.path for each in api.journal] == ["/v1/oauth/token", "/v1/messages"]
        assert caplog.messages == []
        monkeypatch.setenv("ANTHROPIC_API_KEY", "left-over")
        with Anthropic() as client, Anthropic() as again:
            client.messages.create(**ASK)
            again.messages.create(**ASK)
        assert [each.path for each in api.journal][2:] == ["/v1/messages"] * 2
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("WARNING", SHADOWED)
    ]


def test_an_argument_goes_before_a_key_in_the_environment(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`credentials=` reads no variable and warns of nothing."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "left-over")
    with caplog.at_level(logging.WARNING):
        service = Service(clock)
        service.ask(service.client())
    assert (service.trace, caplog.messages) == ([TOKEN, CALL], [])


def ask(clock: VirtualClock, client: Client) -> None:
    if isinstance(client, AsyncAnthropic):
        clock.run(client.messages.create(**ASK))
    else:
        client.messages.create(**ASK)


@BOTH
def test_a_revoked_key_is_refused_once_and_can_be_replaced(clock: VirtualClock, kind: Kind) -> None:
    """A fixed key is not asked for again: the 401 is the caller's. The attribute can be set."""
    api = FakeAPI(clock=clock, keys={"old", "new"})
    client = (api.client if kind == "sync" else api.async_client)(api_key="old")
    ask(clock, client)
    api.revoke("old")
    with pytest.raises(anthropic.AuthenticationError):
        ask(clock, client)
    client.api_key = "new"
    ask(clock, client)
    assert [each.status for each in api.journal] == [200, 401, 200]


@BOTH
def test_a_token_from_a_function_is_asked_for_again_after_a_401(
    clock: VirtualClock, kind: Kind
) -> None:
    """A provider is the SDK's way to rotate without a restart: one retry, with the new one."""
    store, forced = {"token": "old"}, []

    def from_secrets(*, force_refresh: bool = False) -> AccessToken:
        forced.append(force_refresh)
        return AccessToken(store["token"], expires_at=int(clock.now()) + 3_600)

    api = FakeAPI(clock=clock, keys={"old", "new"})
    client = (api.client if kind == "sync" else api.async_client)(credentials=from_secrets)
    ask(clock, client)
    store["token"] = "new"
    api.revoke("old")
    ask(clock, client)
    assert [each.status for each in api.journal] == [200, 401, 200]
    assert forced == [False, True]


@BOTH
def test_a_profile_is_read_again_after_a_401(
    clock: VirtualClock, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where something else rotates the credentials file, the SDK follows it."""
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    for folder in ("configs", "credentials"):
        (tmp_path / folder).mkdir()
    config = tmp_path / "configs" / "desk.json"
    config.write_text(json.dumps({"authentication": {"type": "user_oauth"}}))
    config.chmod(0o600)

    def rotate(token: str) -> None:
        path = tmp_path / "credentials" / "desk.json"
        path.touch(0o600)
        path.write_text(json.dumps({"access_token": token}))

    rotate("old")
    api = FakeAPI(clock=clock, keys={"old", "new"})
    client = (api.client if kind == "sync" else api.async_client)(profile="desk")
    ask(clock, client)
    rotate("new")
    api.revoke("old")
    ask(clock, client)
    assert [each.status for each in api.journal] == [200, 401, 200]


@BOTH
def test_a_key_that_stays_revoked_is_tried_twice_and_no_more(
    clock: VirtualClock, kind: Kind
) -> None:
    """However many retries are left."""
    api = FakeAPI(clock=clock, keys={"new"})
    provider = lambda *, force_refresh=False: AccessToken("old")  # noqa: E731
    client = (api.client if kind == "sync" else api.async_client)(
        credentials=provider, max_retries=5
    )
    with pytest.raises(anthropic.AuthenticationError):
        ask(clock, client)
    assert [each.status for each in api.journal] == [401, 401]


@pytest.mark.parametrize("left", [100, 10, -5])
def test_many_threads_at_the_end_of_a_token_make_one_exchange(
    clock: VirtualClock, left: int
) -> None:
    """All of them are inside the SDK before the exchange is answered."""
    service = Service(clock, seconds=600)
    threads, arrived, released = 16, threading.Barrier(17), threading.Event()

    def slow() -> str:
        if service.exchanges():
            assert released.wait(60)
        return service.issuer.token()

    client = service.client(service.credentials(slow))
    assert isinstance(client, Anthropic)
    service.ask(client)
    clock.advance(600 - left)

    def work() -> None:
        arrived.wait()
        service.ask(client)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    arrived.wait()
    released.set()
    for worker in workers:
        worker.join()
    assert service.exchanges() == 2
    assert service.trace.count(CALL) == threads + 1


@pytest.mark.parametrize("left", [100, 10, -5])
def test_many_tasks_at_the_end_of_a_token_make_one_exchange(clock: VirtualClock, left: int) -> None:
    """More of them than the SDK has worker threads."""
    service = Service(clock, "async", seconds=600)
    client = service.client()
    assert isinstance(client, AsyncAnthropic)
    service.ask(client)
    clock.advance(600 - left)

    async def all_at_once() -> None:
        await asyncio.gather(*(client.messages.create(**ASK) for _ in range(100)))

    clock.run(all_at_once())
    assert service.exchanges() == 2
    assert service.trace.count(CALL) == 101
