"""What a server is called: enough to find it, no key that was put into a URL or a command line."""

import logging
from typing import Any

import pytest
from mcp import StdioServerParameters
from mcp.server import MCPServer

from patterns.mcp_session import http_server, stdio_server
from patterns.mcp_session.connect import name_of
from patterns.mcp_session.naming import HideSecrets, command_name, url_name, without_secrets

KEY = "k4fJ2kQ9pLx81ZmTn"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:8765/mcp", "http://127.0.0.1:8765/mcp"),
        (f"https://me:{KEY}@mcp.example.com/v1/mcp", "https://mcp.example.com/v1/mcp"),
        (f"https://mcp.example.com/sse?api_key={KEY}", "https://mcp.example.com/sse?…"),
        (f"https://mcp.example.com/mcp#{KEY}", "https://mcp.example.com/mcp"),
        (f"https://mcp.example.com/api/s/{KEY}/mcp", "https://mcp.example.com/api/s/…/mcp"),
        (f"https://mcp.example.com/{'x' * 41}/mcp", "https://mcp.example.com/…/mcp"),
        ("http://[broken", "…"),
        ("http://host:port/mcp", "…"),
    ],
)
def test_a_url_keeps_what_finds_the_server(url: str, name: str) -> None:
    """Host and path, without user, query, fragment and what looks like a key."""
    assert url_name(url) == name


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["/usr/bin/python3", "-S", "/srv/bare.py"], "python3 -S bare.py"),
        (["npx", "-y", "@scope/server-files", "/data/me"], "npx -y server-files me"),
        (
            ["server", "--token", KEY, "--verbose", "--port", "80"],
            "server --token … --verbose --port …",
        ),
        (["server", f"--api-key={KEY}", f"KEY={KEY}"], "server --api-key=… KEY=…"),
        (["server", f"postgres://me:{KEY}@db/shop"], "server postgres://db/shop"),
        (["server", KEY], "server …"),
        (["sh", "-c", f"KEY={KEY} server"], "sh -c KEY=…"),
        (["sh", "-c", "exec a server"], "sh -c …"),
        (["server", "x" * 41], "server …"),
    ],
)
def test_a_command_keeps_its_words_without_values(command: list[str], name: str) -> None:
    """Options stay, what follows them does not."""
    assert command_name(command) == name


def test_urls_inside_a_message_are_renamed() -> None:
    """The rest of the message stays."""
    told = without_secrets(f"Redirect to https://a.example/x?key={KEY} not followed, see 'ftp://b'")
    assert told == "Redirect to https://a.example/x?… not followed, see 'ftp://b'"


def test_a_log_line_is_renamed_and_others_stay() -> None:
    """As the filter of httpx's logger sees them."""
    with_url = logging.LogRecord("x", 20, "", 0, "POST %s", (f"http://h/p?k={KEY}",), None)
    without = logging.LogRecord("x", 20, "", 0, "%s left", (3,), None)
    assert all(HideSecrets().filter(record) for record in (with_url, without))
    assert [with_url.getMessage(), without.getMessage()] == ["POST http://h/p?…", "3 left"]


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
    assert name_of(MCPServer("shop", log_level="ERROR")) == "'shop'"
    unnamed: Any = object()
    assert name_of(lambda: unnamed) == "'the server'"
