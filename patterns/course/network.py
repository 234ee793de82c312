"""The way to the network: what `anthropic.Anthropic()` would use, as a transport.

A client that is given a transport no longer looks at HTTPS_PROXY, ALL_PROXY and NO_PROXY; so these
transports send through a client of their own, which does. Loopback never goes through a proxy.

Taught in chapter 00.
"""

import os
import re
from typing import Final

import anthropic
import httpx2

from patterns.course.budget import BadSetting

_LOOPBACK: Final = dict.fromkeys(("all://localhost", "all://127.0.0.1", "all://[::1]"))
_PROXIES: Final = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def network(*, asynchronous: bool) -> httpx2.BaseTransport | httpx2.AsyncBaseTransport:
    """A transport that honours the proxy settings of the environment.

    Raises:
        BadSetting: a proxy has an address that cannot be used.
    """
    try:
        return _AsyncNetwork() if asynchronous else _Network()
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        raise _bad_proxy(error) from None


class _Network(httpx2.BaseTransport):
    def __init__(self) -> None:
        self._client = anthropic.DefaultHttpxClient(mounts=_LOOPBACK, follow_redirects=False)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return self._client.send(request, stream=True)

    def close(self) -> None:
        self._client.close()


class _AsyncNetwork(httpx2.AsyncBaseTransport):
    def __init__(self) -> None:
        self._client = anthropic.DefaultAsyncHttpxClient(mounts=_LOOPBACK, follow_redirects=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await self._client.send(request, stream=True)

    async def aclose(self) -> None:
        await self._client.aclose()


def _bad_proxy(error: Exception) -> BadSetting:
    found = ((name, os.environ.get(name.lower()) or os.environ.get(name)) for name in _PROXIES)
    used = [(name, value) for name, value in found if value and not value.startswith("http")]
    name, value = (used or [("a proxy", "")])[0]
    advice = f"give a proxy as http://host:port, or unset it ({error})"
    if isinstance(error, ImportError):
        advice = "SOCKS needs one package more: pip install socksio; or use an http:// proxy"
    return BadSetting(name, re.sub("//.*@", "//…@", value), advice)  # a password may stand there
