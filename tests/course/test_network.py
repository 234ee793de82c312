"""patterns.course.network: live calls take the way that the environment says."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from patterns.course.budget import BadSetting
from patterns.course.network import network
from patterns.fake_api import FakeAPI
from patterns.fake_api.wire.server import serve

OUTSIDE = "http://api.example.test/v1/models"
HEADERS = {"authorization": "Bearer k", "anthropic-version": "2026-10-21"}


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    """A forward proxy that answers by itself, and the request lines that it saw."""
    seen: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                seen.append(lines.readline().decode())
                while lines.readline().strip():
                    pass
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def get(url: str, *, asynchronous: bool) -> int:
    """The status of one request through the transport."""
    request = httpx2.Request("GET", url, headers=HEADERS)

    async def main() -> int:
        transport: Any = network(asynchronous=True)
        async with transport:
            response = await transport.handle_async_request(request)
            await response.aread()
            return int(response.status_code)

    if asynchronous:
        return asyncio.run(main())
    transport: Any = network(asynchronous=False)
    with transport:
        response = transport.handle_request(request)
        response.read()
        return int(response.status_code)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("setting", ["HTTP_PROXY", "all_proxy"])
def test_a_proxy_is_used_but_not_for_loopback(
    monkeypatch: pytest.MonkeyPatch, setting: str, asynchronous: bool
) -> None:
    """The fake API on a socket is reached directly, whatever is set."""
    with proxy() as (address, seen), serve(FakeAPI()) as url:
        monkeypatch.setenv(setting, f"http://{address}")
        assert get(f"{url}/v1/models", asynchronous=asynchronous) == 200
        assert seen == []
        assert get(OUTSIDE, asynchronous=asynchronous) == 200
    assert seen == [f"GET {OUTSIDE} HTTP/1.1\r\n"]


@pytest.mark.parametrize("excepted", ["api.example.test", ".example.test", "*", "example.test"])
def test_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch, excepted: str) -> None:
    """The request then goes out directly, here to nowhere."""
    with proxy() as (address, seen):
        monkeypatch.setenv("HTTP_PROXY", address)
        monkeypatch.setenv("NO_PROXY", f"other.test, {excepted}")
        with pytest.raises(httpx2.ConnectError):
            get(OUTSIDE, asynchronous=False)
    assert seen == []


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ("socks5://user:secret@127.0.0.1:1", "SOCKS needs one package more: pip install socksio"),
        ("ftp://user:secret@127.0.0.1", "give a proxy as http://host:port, or unset it"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, value: str, advice: str
) -> None:
    """At the set-up cell, not at the first request."""
    monkeypatch.setitem(__import__("sys").modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(BadSetting, match=advice) as caught:
        network(asynchronous=True)
    assert caught.value.setting == "ALL_PROXY"
    assert "secret" not in str(caught.value)
