"""A service that signs in with an identity token, on a clock that only tests move."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic, WorkloadIdentityCredentials
from anthropic.lib.credentials import TokenCache

from patterns.core.models import HAIKU
from patterns.course.issuer import Issuer
from patterns.fake_api import FakeAPI, VirtualClock
from patterns.fake_api.federation import FederationRule

ASK: Any = {"model": HAIKU, "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
SHADOWED = (
    "ANTHROPIC_API_KEY is set and takes precedence over the SDK's profile / federation "
    "auto-discovery; unset ANTHROPIC_API_KEY to use the auto-discovered credential."
)
"""What the SDK logs where a key in the environment goes before federation."""

Client = Anthropic | AsyncAnthropic
Kind = Literal["sync", "async"]


def virtual_clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    """A clock for the issuer, the fake and the SDK, whose pauses move it on."""
    clock = VirtualClock()
    monkeypatch.setattr("time.time", clock.now)
    monkeypatch.setattr("time.sleep", clock.sleep)
    monkeypatch.setitem(TokenCache.__init__.__kwdefaults__ or {}, "time_source", clock.now)
    return clock


class Service:
    """An issuer, a rule for it, and the fake that knows the rule."""

    def __init__(self, clock: VirtualClock, kind: Kind = "sync", **rule: Any) -> None:
        self.clock, self.kind = clock, kind
        self.issuer = Issuer(clock=clock.now)
        self.rule: FederationRule = self.issuer.rule(**rule)
        self.api = FakeAPI(clock=clock, federation=[self.rule])
        self.shown: list[str] = []

    def credentials(
        self, identity: Callable[[], str] | None = None, **options: Any
    ) -> WorkloadIdentityCredentials:
        """The SDK's credentials for this service; `identity` is its own issuer's otherwise."""

        def shown() -> str:
            self.shown.append((identity or self.issuer.token)())
            return self.shown[-1]

        return WorkloadIdentityCredentials(
            identity_token_provider=shown,
            federation_rule_id=self.rule.id,
            organization_id=self.rule.organization_id,
            service_account_id=self.rule.service_account_id,
            http_client=httpx2.Client(transport=self.api.transport),
            **options,
        )

    def client(self, credentials: Any = None, **options: Any) -> Client:
        """The SDK's client of this service's kind."""
        options["credentials"] = credentials or self.credentials()
        make = self.api.client if self.kind == "sync" else self.api.async_client
        return make(**options)

    def ask(self, client: Client) -> str:
        """One call; the id of its message."""
        if isinstance(client, AsyncAnthropic):
            return str(self.clock.run(client.messages.create(**ASK)).id)
        return str(client.messages.create(**ASK).id)

    def stream(self, client: Client, halfway: Callable[[], None]) -> str:
        """One stream, in the middle of which something happens; its text."""
        if isinstance(client, AsyncAnthropic):
            return self.clock.run(_read(client, halfway))
        with client.messages.stream(**ASK) as stream:
            texts = iter(stream.text_stream)
            start = next(texts)
            halfway()
            return start + "".join(texts)

    @property
    def trace(self) -> list[tuple[str, int]]:
        """What the fake was asked, and how it answered: the end of the path, and the status."""
        return [(each.path.rpartition("/")[2], each.status) for each in self.api.journal]

    def exchanges(self) -> int:
        """How many access tokens were given."""
        return self.trace.count(("token", 200))


async def _read(client: AsyncAnthropic, halfway: Callable[[], None]) -> str:
    async with client.messages.stream(**ASK) as stream:
        parts: list[str] = []
        async for text in stream.text_stream:
            if not parts:
                halfway()
            parts.append(text)
        return "".join(parts)


def secrets_of(service: Service) -> Iterator[str]:
    """What must be in no log: the identity tokens, and the access tokens that came for them."""
    yield from service.shown
    for identity in service.shown:
        yield identity.rpartition(".")[2]
    yield "sk-ant-oat01-"
