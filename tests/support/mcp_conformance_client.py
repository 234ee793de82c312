"""The clients that the public conformance suite of MCP looks at: `mcp.Client`, and a session.

The suite names a scenario, a protocol version and what else it takes, and watches what arrives at
its server. Both clients do the same: list the tools, call each of them, answer what is asked.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from mcp.types import ElicitRequestFormParams, ElicitResult

from patterns.mcp_session import ToolSession, http_server

CALLBACK = "http://localhost:3000/callback"


@dataclass(frozen=True)
class Scenario:
    """What the suite tells a client: its name, the protocol version, the server, further facts."""

    name: str
    version: str
    url: str
    given: Mapping[str, Any]


class Storage:
    """Tokens in memory, and the client that the scenario has registered already."""

    tokens: OAuthToken | None = None

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.client: OAuthClientInformationFull | None = None
        if "client_id" in given:
            secret = given.get("client_secret")
            self.client = OAuthClientInformationFull.model_validate(
                {
                    "client_id": given["client_id"],
                    "client_secret": secret,
                    "redirect_uris": [CALLBACK],
                    "token_endpoint_auth_method": "client_secret_basic" if secret else "none",
                    "issuer": given.get("issuer"),
                }
            )

    async def get_tokens(self) -> OAuthToken | None:
        """What was issued."""
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep it."""
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Who we are registered as."""
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep it."""
        self.client = client_info


class Browser:
    """A person who consents at once: follows the address and brings the code back."""

    async def visit(self, url: str) -> None:
        """Open the page of the authorization server."""
        async with httpx2.AsyncClient() as http:
            answer = await http.get(url)
        self.query = parse_qs(urlsplit(answer.headers["location"]).query)

    async def brought(self) -> AuthorizationCodeResult:
        """What stood in the address that it sent us back to."""
        found = {key: self.query.get(key, [None])[0] for key in ("code", "state", "iss")}
        return AuthorizationCodeResult(**found)  # type: ignore[arg-type]


def auth(scenario: Scenario) -> httpx2.Auth | None:
    """The OAuth flow of a scenario, as the `mcp` package has it."""
    if not scenario.name.startswith("auth/"):
        return None
    url, given = scenario.url, scenario.given
    if "private_key_pem" in given:
        me = given["client_id"]
        signed = SignedJWTParameters(
            issuer=me,
            subject=me,
            signing_algorithm=given["signing_algorithm"],
            signing_key=given["private_key_pem"],
        )
        assertion = signed.create_assertion_provider()
        return PrivateKeyJWTOAuthProvider(url, Storage({}), me, assertion)
    if scenario.name == "auth/client-credentials-basic":
        secrets = given["client_id"], given["client_secret"]
        return ClientCredentialsOAuthProvider(url, Storage({}), *secrets)
    browser = Browser()
    about = OAuthClientMetadata.model_validate(
        {
            "client_name": "conformance",
            "redirect_uris": [CALLBACK],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
        }
    )
    document = "https://conformance-test.local/client-metadata.json"
    asks = browser.visit, browser.brought, document
    return OAuthClientProvider(url, about, Storage(given), *asks)


async def accept(context: ClientRequestContext, asked: Any) -> ElicitResult:
    """Answer a form with its defaults."""
    form = isinstance(asked, ElicitRequestFormParams)
    fields = asked.requested_schema["properties"] if form else {}
    content = {key: field["default"] for key, field in fields.items() if "default" in field}
    return ElicitResult(action="accept", content=content or {"confirmed": True})


def arguments(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A value of the right type for every field that a tool requires."""
    values = {"number": 5, "integer": 5, "boolean": True, "array": [], "object": {}}
    kinds = {key: field.get("type") for key, field in schema.get("properties", {}).items()}
    return {key: values.get(str(kinds.get(key)), "x") for key in schema.get("required", ())}


@asynccontextmanager
async def bare(scenario: Scenario, options: dict[str, Any]) -> AsyncGenerator[Any, None]:
    """The client of the `mcp` package as it is."""
    timeout = httpx2.Timeout(30, read=300)
    http = httpx2.AsyncClient(auth=auth(scenario), timeout=timeout, trust_env=False)
    way = streamable_http_client(scenario.url, http_client=http)
    async with http, Client(way, **options) as client:
        yield client


def session(
    scenario: Scenario, options: dict[str, Any]
) -> AbstractAsyncContextManager[ToolSession]:
    """A session in which everything is as it is by default."""
    return ToolSession(http_server(scenario.url, auth=auth(scenario)), **options)


async def visit(
    scenario: Scenario,
    connect: Callable[[Scenario, dict[str, Any]], AbstractAsyncContextManager[Any]],
) -> None:
    """List the tools and call them; a call that fails does not end the visit."""
    mode = "auto" if scenario.version >= "2026" else "legacy"
    async with connect(scenario, {"mode": mode, "elicitation_callback": accept}) as client:
        listed = await client.list_tools()
        calls = scenario.given.get("toolCalls") or [
            {"name": tool.name, "arguments": arguments(tool.input_schema)}
            for tool in getattr(listed, "tools", listed)
        ]
        for call in calls:
            with suppress(Exception):
                await client.call_tool(call["name"], call["arguments"])
