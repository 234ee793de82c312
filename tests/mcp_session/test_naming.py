"""What a server is called: enough to find it, no key that was put into a URL or a command line."""

import logging
from typing import Any

import pytest
from mcp import StdioServerParameters
from mcp.server import MCPServer

from patterns.mcp_session import http_server, stdio_server
from patterns.mcp_session.connect import name_of
from patterns.mcp_session.naming import HideSecrets, url_name, without_secrets

KEY = "k4fJ2kQ9pLx81ZmTn"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:8765/mcp", "http://127.0.0.1:8765/…"),
        (f"https://me:{KEY}@mcp.example.com/v1/mcp", "https://mcp.example.com/…"),
        (f"https://mcp.example.com/sse?api_key={KEY}", "https://mcp.example.com/…"),
        (f"https://mcp.example.com/mcp#{KEY}", "https://mcp.example.com/…"),
        ("https://mcp.example.com/s/k3y/mcp", "https://mcp.example.com/…"),
        (f"stdio:///srv/{KEY}", "stdio:///…"),
        ("http://[broken", "…"),
        ("http://host:port/mcp", "…"),
    ],
)
def test_a_url_keeps_what_finds_the_server(url: str, name: str) -> None:
    """The host; a key may stand in every other part."""
    assert url_name(url) == name


def test_urls_inside_a_message_are_renamed() -> None:
    """The rest of the message stays."""
    told = without_secrets(f"Redirect to https://a.example/x?key={KEY} not followed, see 'ftp://b'")
    assert told == "Redirect to https://a.example/… not followed, see 'ftp://b/…'"


def test_a_log_line_is_renamed_and_others_stay() -> None:
    """As the filter of httpx's logger sees them."""
    with_url = logging.LogRecord("x", 20, "", 0, "POST %s", (f"http://h/p?k={KEY}",), None)
    without = logging.LogRecord("x", 20, "", 0, "%s left", (3,), None)
    assert all(HideSecrets().filter(record) for record in (with_url, without))
    assert [with_url.getMessage(), without.getMessage()] == ["POST http://h/…", "3 left"]


def test_no_way_to_a_server_shows_its_key() -> None:
    """Neither its name nor its repr."""
    ways: list[Any] = [
        http_server(f"https://me:{KEY}@h/mcp?key={KEY}", token=KEY),
        stdio_server("server", "--key", KEY, env={"KEY": KEY}),
        StdioServerParameters(command="server", args=[f"--key={KEY}"]),
        f"https://h/mcp?key={KEY}",
    ]
    assert not any(KEY in name_of(way) for way in ways)
    assert KEY not in repr(ways[:2])
    assert [name_of(way) for way in ways] == [
        "'https://h/…'",
        "'server'",
        "'server'",
        "'https://h/…'",
    ]
    assert name_of(stdio_server("/usr/bin/python3", "-S")) == "'python3'"
    assert name_of(MCPServer("shop", log_level="ERROR")) == "'shop'"
    unnamed: Any = object()
    assert name_of(lambda: unnamed) == "'the server'"
