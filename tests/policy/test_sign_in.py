"""The guard around a client that signs in: nothing changes for it, and no credential is written."""

import asyncio
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic, WorkloadIdentityError
from chapters import NOTEBOOKS
from signing_in import SHADOWED, Client, Kind, Service, secrets_of, virtual_clock

from patterns.core.models import HAIKU
from patterns.course.recorder import Recorder, TapTransport
from patterns.course.recordings import Source
from patterns.fake_api import Fault, VirtualClock
from patterns.fake_api.sign_in import GRANT
from patterns.policy.audit_log import AuditLog
from patterns.policy.authorization import Rule
from patterns.policy.guard import GuardRemoved, guarded
from patterns.policy.identity import Principal, acting_as
from patterns.policy.privacy import PIIMiddleware
from patterns.policy.rate_limit import Limits, RateLimit

KEY = b"k" * 32
BOTH = pytest.mark.parametrize("kind", ["sync", "async"])
ADA = Principal("ada@example.com", frozenset({"analyst"}))
TOKEN, CALL = ("token", 200), ("messages", 200)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    """One time for everybody."""
    return virtual_clock(monkeypatch)


class Desk(Service):
    """A service whose client is guarded, and its log."""

    def __init__(self, clock: VirtualClock, kind: Kind, folder: Path, **rule: Any) -> None:
        super().__init__(clock, kind, **rule)
        self.path = folder / "audit.db"
        self.log = AuditLog(self.path, KEY)
        self.limit = RateLimit(Limits(rpm=60))
        self.said: list[str] = []

    def desk(self, client: Client) -> Client:
        options: Any = {
            "log": self.log,
            "user_key": KEY,
            "rules": [Rule("analyst", "messages.*", HAIKU)],
            "privacy": PIIMiddleware(),
            "limits": self.limit,
        }
        if isinstance(client, AsyncAnthropic):
            return guarded(client, **options)
        return guarded(client, **options)

    def ask(self, client: Client) -> str:
        with acting_as(ADA):
            return super().ask(client)

    def stream(self, client: Client, halfway: Callable[[], None]) -> str:
        with acting_as(ADA):
            return super().stream(client, halfway)

    def refused(self, client: Client, error: type[Exception]) -> None:
        """One call that ends in an error, whose text is kept."""
        with pytest.raises(error) as caught:
            self.ask(client)
        self.said += traceback.format_exception(caught.value)
        self.said.append(repr(vars(caught.value)))

    def events(self) -> list[str]:
        return [row["event"] for row in self.log.rows()]

    def written(self) -> Iterator[bytes]:
        """Every byte of the log, of the errors and of the journal."""
        yield from (path.read_bytes() for path in self.path.parent.glob("audit.db*"))
        yield "".join(self.said).encode()
        yield repr([(each, each.body) for each in self.api.journal]).encode()


def test_the_issuers_tokens_are_looked_for(clock: VirtualClock, tmp_path: Path) -> None:
    """The search below can find something."""
    service = Desk(clock, "sync", tmp_path)
    service.ask(service.desk(service.client()))
    found = [*secrets_of(service)]
    assert service.shown[0] in found
    assert len(found) == 3


def ends_in_a_stream(service: Desk) -> list[str]:
    desk = service.desk(service.client())
    assert service.stream(desk, lambda: service.clock.advance(3_601))
    service.ask(desk)
    assert service.trace == [TOKEN, CALL, TOKEN, CALL]
    return ["request", "response"] * 2


def is_refreshed(service: Desk) -> list[str]:
    desk = service.desk(service.client())
    service.ask(desk)
    service.clock.advance(3_500)
    service.ask(desk)
    assert service.trace == [TOKEN, CALL, TOKEN, CALL]
    return ["request", "response"] * 2


def is_refused_once(service: Desk) -> list[str]:
    desk = service.desk(service.client())
    service.ask(desk)
    service.api.clock = VirtualClock(service.clock.now() + 3_700)
    service.issuer.clock = service.api.clock.now
    service.ask(desk)
    assert service.trace == [TOKEN, CALL, ("messages", 401), TOKEN, CALL]
    return ["request", "response", "request", "error", "response"]


def wrong_audience(service: Desk) -> list[str]:
    wrong = service.credentials(lambda: service.issuer.token(aud="https://vault.example"))
    service.refused(service.desk(service.client(wrong)), WorkloadIdentityError)
    assert service.trace == [("token", 401)] * 2
    return ["request", "error"]


def endpoint_down(service: Desk) -> list[str]:
    service.api.add_faults(Fault.status(529, path="/v1/oauth/token"))
    service.refused(service.desk(service.client()), WorkloadIdentityError)
    return ["request", "error"]


def endpoint_gone(service: Desk) -> list[str]:
    service.api.add_faults(Fault.disconnect(path="/v1/oauth/token"))
    service.refused(service.desk(service.client()), WorkloadIdentityError)
    return ["request", "error"]


def not_a_token(service: Desk) -> list[str]:
    wrong = service.credentials(lambda: "-----BEGIN PRIVATE KEY-----" + "x" * 16_384)
    service.refused(service.desk(service.client(wrong)), WorkloadIdentityError)
    assert service.trace == []
    return ["request", "error"]


def revoked_for_good(service: Desk) -> list[str]:
    desk = service.desk(service.client(lambda *, force_refresh=False: SAME))
    service.api.revoke(SAME.token)
    service.refused(desk, anthropic.AuthenticationError)
    assert service.trace == [("messages", 401)] * 2
    return ["request", "error", "error"]


def scope_too_small(service: Desk) -> list[str]:
    service.refused(service.desk(service.client()), anthropic.PermissionDeniedError)
    return ["request", "error"]


SAME = anthropic.AccessToken("sk-ant-oat01-the-same-for-ever")
STORIES: list[tuple[Callable[[Desk], list[str]], dict[str, Any]]] = [
    (ends_in_a_stream, {}),
    (is_refreshed, {}),
    (is_refused_once, {}),
    (wrong_audience, {}),
    (endpoint_down, {}),
    (endpoint_gone, {}),
    (not_a_token, {}),
    (revoked_for_good, {}),
    (scope_too_small, {"scope": "workspace:manage_tunnels"}),
]


@BOTH
@pytest.mark.parametrize(("story", "rule"), STORIES, ids=[each.__name__ for each, _ in STORIES])
def test_the_guard_keeps_working_and_writes_no_credential(
    clock: VirtualClock, kind: Kind, tmp_path: Path, story: Callable[[Desk], list[str]], rule: Any
) -> None:
    """Each attempt is closed by one row, a call is charged once, and no token is anywhere."""
    service = Desk(clock, kind, tmp_path, **rule)
    expected = story(service)
    assert service.events() == expected
    assert service.log.verify().intact
    wrote = b"".join(service.written())
    assert [secret for secret in secrets_of(service) if secret.encode() in wrote] == []


@BOTH
def test_a_call_that_is_asked_again_after_a_401_is_charged_once(
    clock: VirtualClock, kind: Kind, tmp_path: Path
) -> None:
    """The budget is per call, whatever the sign-in needs."""
    service = Desk(clock, kind, tmp_path)
    service.limit = RateLimit(Limits(rpm=2), max_wait=0)
    is_refused_once(service)


@BOTH
def test_copies_share_the_guard_and_the_token(
    clock: VirtualClock, kind: Kind, tmp_path: Path
) -> None:
    """A copy makes no exchange of its own, and loses no policy."""
    service = Desk(clock, kind, tmp_path)
    desk = service.desk(service.client())
    service.ask(desk)
    service.ask(desk.with_options(timeout=9))
    assert service.trace == [TOKEN, CALL, CALL]
    assert service.events() == ["request", "response"] * 2
    with pytest.raises(GuardRemoved):
        desk.with_options(middleware=[], credentials=service.credentials())


@BOTH
def test_new_credentials_keep_the_guard(clock: VirtualClock, kind: Kind, tmp_path: Path) -> None:
    """Also where a client changes from a key to federation."""
    service = Desk(clock, kind, tmp_path)
    make = service.api.client if kind == "sync" else service.api.async_client
    keyed = service.desk(make(api_key="old"))
    service.ask(keyed)
    service.ask(keyed.with_options(credentials=service.credentials()))
    assert service.trace == [CALL, TOKEN, CALL]
    assert service.events() == ["request", "response"] * 2


@BOTH
def test_a_revoked_key_of_a_guarded_client_is_replaced(
    clock: VirtualClock, kind: Kind, tmp_path: Path
) -> None:
    """Without a new guard; each attempt leaves its row."""
    service = Desk(clock, kind, tmp_path)
    make = service.api.client if kind == "sync" else service.api.async_client
    desk = service.desk(make(api_key="the-old-key"))
    service.api.revoke("the-old-key")
    service.refused(desk, anthropic.AuthenticationError)
    desk.api_key = "the-new-key"
    service.ask(desk)
    assert service.trace == [("messages", 401), CALL]
    assert service.events() == ["request", "error", "request", "response"]
    wrote = b"".join(service.written())
    assert [key for key in (b"the-old-key", b"the-new-key") if key in wrote] == []


def test_a_denied_call_signs_in_nobody(clock: VirtualClock, tmp_path: Path) -> None:
    """The exchange belongs to the call: what a policy denies needs none."""
    service = Desk(clock, "sync", tmp_path)
    desk = service.desk(service.client())
    with pytest.raises(Exception, match="no principal"):
        Service.ask(service, desk)
    assert service.trace == []


@BOTH
def test_a_recording_holds_no_token(clock: VirtualClock, kind: Kind, tmp_path: Path) -> None:
    """Also where the exchange goes through the recorder."""
    service = Desk(clock, kind, tmp_path)
    recorder = Recorder(
        tmp_path / "chapter.json", Source("authored", "2026-11-27", "2.14.0", "fake_api")
    )
    tap = TapTransport(
        service.api.transport,
        on_request=recorder.start,
        on_exchange=recorder.finish,
        on_error=lambda request, response: None,
        clock=clock.now,
    )
    service.api.transport = tap  # type: ignore[assignment]
    service.ask(service.desk(service.client()))
    assert service.trace == [TOKEN, CALL]
    wrote = (tmp_path / "chapter.json").read_text()
    assert "/v1/messages" in wrote
    assert [secret for secret in secrets_of(service) if secret in wrote] == []


@pytest.mark.parametrize("status", [200, 401])
def test_an_exchange_goes_through_the_recorder_unseen(
    clock: VirtualClock, tmp_path: Path, status: int
) -> None:
    """Also asked by an async client, which the SDK does not do today."""
    service = Desk(clock, "async", tmp_path)
    told: list[Any] = []
    tap = TapTransport(
        service.api.transport,
        on_request=lambda: len(told),
        on_exchange=lambda *told_: told.append(told_),
        on_error=lambda *told_: told.append(told_),
        clock=clock.now,
    )
    body = {
        "grant_type": GRANT,
        "assertion": service.issuer.token() if status == 200 else "none",
        "federation_rule_id": service.rule.id,
        "organization_id": service.rule.organization_id,
    }

    async def exchange() -> int:
        async with httpx2.AsyncClient(transport=tap) as http:
            return (await http.post("https://api.test/v1/oauth/token", json=body)).status_code

    assert (clock.run(exchange()), told) == (status, [])


def test_many_guarded_tasks_make_one_exchange(clock: VirtualClock, tmp_path: Path) -> None:
    """At the end of a token, with every policy around each of them."""
    service = Desk(clock, "async", tmp_path)
    service.limit = RateLimit(Limits(rpm=1_000))
    desk = service.desk(service.client())
    assert isinstance(desk, AsyncAnthropic)
    service.ask(desk)
    clock.advance(3_590)

    async def all_at_once() -> None:
        ask: Any = {
            "model": HAIKU,
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "hi"}],
        }
        await asyncio.gather(*(desk.messages.create(**ask) for _ in range(20)))

    with acting_as(ADA):
        clock.run(all_at_once())
    assert service.exchanges() == 2
    assert sorted(service.events()) == ["request"] * 21 + ["response"] * 21


def test_the_chapter_shows_the_sdks_own_warning() -> None:
    """Word for word, so that a reader finds it in a log."""
    chapter = (NOTEBOOKS / "01_auth_and_policy.ipynb").read_text("utf-8")
    assert f"`{SHADOWED}`" in chapter
