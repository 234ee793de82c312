"""A tea shop as an MCP server: tools, resources, prompts, questions back, progress, one method of
its own, and a door that wants a token.

    python -m servers.shop                    talk over stdin and stdout
    python -m servers.shop --http 8765        Streamable HTTP on http://127.0.0.1:8765/mcp
    python -m servers.shop --sse 8765         the superseded HTTP+SSE transport
"""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

from mcp import MCPError
from mcp.server import MCPServer
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp.server.mcpserver.resolve import Elicit, Resolve, Sample
from mcp.types import (
    CONNECTION_CLOSED,
    AudioContent,
    CallToolResult,
    CreateMessageResult,
    Request,
    RequestParams,
    ResourceLink,
    Result,
    SamplingMessage,
    TextContent,
    ToolAnnotations,
)
from pydantic import AnyHttpUrl, BaseModel, Field

SAFE = ToolAnnotations(read_only_hint=True, idempotent_hint=True)
ONCE = ToolAnnotations(read_only_hint=False, idempotent_hint=False)
SUPPLIER_FAILURES = 2
SILENT_WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA="


class Stock(BaseModel):
    """What is on the shelf."""

    tea: str
    grams: int = Field(ge=0)
    cents_per_100g: int


class Receipt(BaseModel):
    """A sale that happened."""

    number: int
    tea: str
    grams: int
    cents: int


class GiftNote(BaseModel):
    """What the shop asks before it wraps a gift."""

    text: str = Field(max_length=60)


class RestockParams(RequestParams):
    """Parameters of the shop's own method."""

    tea: str
    grams: int


class RestockRequest(Request[RestockParams, Literal["shop/restock"]]):
    """A method that is not in the protocol; both sides have to know it."""

    method: Literal["shop/restock"] = "shop/restock"
    params: RestockParams


class RestockResult(Result):
    """Its answer."""

    grams: int


@dataclass
class Shop:
    """The state behind one server."""

    shelf: dict[str, Stock] = field(
        default_factory=lambda: {
            tea: Stock(tea=tea, grams=grams, cents_per_100g=cents)
            for tea, grams, cents in (
                ("assam", 500, 450),
                ("darjeeling", 300, 900),
                ("sencha", 200, 1_200),
            )
        }
    )
    receipts: list[Receipt] = field(default_factory=list)
    supplier_calls: int = 0
    correlation_ids: list[str] = field(default_factory=list)

    def find(self, tea: str) -> Stock:
        if tea not in self.shelf:
            raise ToolError(f"No tea {tea!r} here. Teas: {', '.join(sorted(self.shelf))}.")
        return self.shelf[tea]

    def sell(self, tea: str, grams: int) -> Receipt:
        stock = self.find(tea)
        if grams > stock.grams:
            raise ToolError(f"Only {stock.grams} g of {tea} left; order {stock.grams} g or less.")
        stock.grams -= grams
        cents = stock.cents_per_100g * grams // 100
        self.receipts.append(
            Receipt(number=len(self.receipts) + 1, tea=tea, grams=grams, cents=cents)
        )
        return self.receipts[-1]


def ask_for_note(tea: str) -> Elicit[GiftNote]:
    """The question that goes to the person at the client."""
    return Elicit(f"What should the card on the {tea} say?", GiftNote)


def ask_for_slogan(tea: str) -> Sample:
    """The question that goes to the model at the client."""
    text = f"One sentence, at most 12 words, that sells {tea} tea."
    message = SamplingMessage(role="user", content=TextContent(type="text", text=text))
    return Sample([message], max_tokens=2_000)


def build_shop(
    shop: Shop | None = None,
    *,
    verifier: TokenVerifier | None = None,
    scopes: Sequence[str] = ("shop",),
) -> MCPServer:
    """The server; with `verifier`, only for bearer tokens that hold every scope of `scopes`."""
    shop = shop or Shop()
    server = MCPServer(
        "tea-shop",
        instructions="A small tea shop. Weights in grams, prices in cents.",
        version="1.0",
        log_level="ERROR",
        token_verifier=verifier,
        auth=_auth(scopes) if verifier else None,
    )
    _add_sales(server, shop)
    _add_questions(server, shop)
    _add_trouble(server, shop)
    _add_reading(server, shop)
    _add_restock(server, shop)
    return server


def _add_sales(server: MCPServer, shop: Shop) -> None:
    @server.tool(annotations=SAFE)
    def stock(tea: str) -> Stock:
        """How much of a tea is left, and its price."""
        return shop.find(tea)

    @server.tool(annotations=ONCE)
    async def order(tea: str, grams: Annotated[int, Field(gt=0)], ctx: Context) -> Receipt:
        """Sell some tea. Not repeatable: every call is another sale."""
        meta: Any = ctx.request_context.meta or {}
        shop.correlation_ids += [v for k, v in meta.items() if k.endswith("/correlationId")]
        receipt = shop.sell(tea, grams)
        await ctx.notify_resource_updated(f"stock://{tea}")
        return receipt

    @server.tool(annotations=SAFE)
    async def brew(minutes: Annotated[int, Field(ge=1, le=10)], ctx: Context) -> str:
        """Brew a cup and report each minute (a minute takes no time here)."""
        for minute in range(1, minutes + 1):
            await ctx.report_progress(minute, minutes, f"minute {minute}")
        return f"brewed for {minutes} minutes"


def _add_questions(server: MCPServer, shop: Shop) -> None:
    @server.tool()
    def gift(tea: str, note: Annotated[ElicitationResult[GiftNote], Resolve(ask_for_note)]) -> str:
        """Wrap a tea as a gift; asks the person for the text of the card."""
        if isinstance(note, AcceptedElicitation):
            return f"{shop.find(tea).tea}, wrapped, with a card: {note.data.text}"
        return f"{shop.find(tea).tea}, wrapped, without a card"

    @server.tool()
    def slogan(tea: str, answer: Annotated[CreateMessageResult, Resolve(ask_for_slogan)]) -> str:
        """A slogan for a tea, written by the model of whoever asks."""
        return f"{shop.find(tea).tea}: {getattr(answer.content, 'text', '')}"


def _add_trouble(server: MCPServer, shop: Shop) -> None:
    @server.tool(annotations=SAFE)
    def supplier_price(tea: str) -> int:
        """Ask the supplier for its price in cents; its line is busy twice, then it answers."""
        shop.supplier_calls += 1
        if shop.supplier_calls <= SUPPLIER_FAILURES:
            raise MCPError(CONNECTION_CLOSED, "the supplier's line is busy")
        return shop.find(tea).cents_per_100g // 2

    @server.tool(annotations=ONCE)
    async def order_by_phone(tea: str, grams: int, seconds: float) -> Receipt:
        """Sell some tea at once, and confirm it only after a while: the line is slow."""
        receipt = shop.sell(tea, grams)
        await asyncio.sleep(seconds)
        return receipt

    @server.tool()
    async def nap(seconds: float) -> str:
        """Do nothing for a while."""
        await asyncio.sleep(seconds)
        return "awake"

    @server.tool()
    def jingle() -> CallToolResult:
        """What the door plays, and where the leaflet lies."""
        leaflet = ResourceLink(
            type="resource_link", name="leaflet", uri="shop://hours", description="opening hours"
        )
        audio = AudioContent(type="audio", data=SILENT_WAV, mime_type="audio/wav")
        return CallToolResult(content=[audio, leaflet])


def _add_reading(server: MCPServer, shop: Shop) -> None:
    @server.resource("shop://hours", mime_type="text/plain")
    def hours() -> str:
        """When the shop is open."""
        return "Tuesday to Saturday, 10 to 18"

    @server.resource("stock://{tea}", mime_type="application/json")
    def shelf(tea: str) -> Stock:
        """The live stock of one tea."""
        if tea not in shop.shelf:
            raise ResourceNotFoundError(f"No tea {tea!r}")
        return shop.shelf[tea]

    @server.prompt()
    def recommend(guest: str) -> str:
        """Ask for a tea for a guest."""
        return f"Which of our teas suits {guest}? Look at the stock first; one sentence."


def _add_restock(server: MCPServer, shop: Shop) -> None:
    async def restock(ctx: Any, params: RestockParams) -> RestockResult:
        stock = shop.shelf[params.tea]
        stock.grams += params.grams
        return RestockResult(grams=stock.grams)

    # MCPServer has no public door for methods outside the protocol; its low-level server has.
    server._lowlevel_server.add_request_handler("shop/restock", RestockParams, restock)


def _auth(scopes: Sequence[str]) -> AuthSettings:
    return AuthSettings(
        issuer_url=AnyHttpUrl("https://login.example.com"),
        resource_server_url=AnyHttpUrl("http://127.0.0.1/mcp"),
        required_scopes=list(scopes),
        validate_token_resource=False,  # the verifier checks the audience
    )


@dataclass(frozen=True)
class ListedTokens:
    """A verifier with a list of tokens; in production verify a signed token instead."""

    tokens: dict[str, AccessToken]

    async def verify_token(self, token: str) -> AccessToken | None:
        return self.tokens.get(token)


class Named(Protocol):
    """Whoever a token stands for."""

    @property
    def id(self) -> str: ...

    @property
    def roles(self) -> frozenset[str]: ...


@dataclass(frozen=True)
class SignedTokens:
    """A verifier around a function such as chapter 01's `verify_token`; roles become scopes.

    `verify` returns the principal of a good token and raises for every other.
    """

    verify: Callable[[str], Named]

    async def verify_token(self, token: str) -> AccessToken | None:
        try:
            principal = self.verify(token)
        except Exception:
            return None  # whatever is wrong with it, it opens no door
        return AccessToken(token=token, client_id=principal.id, scopes=sorted(principal.roles))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the shop."""
    parser = argparse.ArgumentParser(prog="servers.shop", description=__doc__)
    parser.add_argument("--http", type=int, metavar="PORT")
    parser.add_argument("--sse", type=int, metavar="PORT")
    options = parser.parse_args(argv)
    server = build_shop()
    if options.http is not None:
        server.run("streamable-http", port=options.http)
    elif options.sse is not None:
        server.run("sse", port=options.sse)
    else:
        server.run("stdio")


if __name__ == "__main__":
    main()
