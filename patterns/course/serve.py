"""A recording on a loopback port, for clients in any language.

    python -m patterns.course serve 05_prompting --port 8080

Needs the extra `fake-api` (starlette and uvicorn). Not for load or faults: `patterns.fake_api`
makes those.

Taught in chapter 00.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from patterns.course.bodies import render_body
from patterns.course.recordings import Exchange, Recording
from patterns.course.replay import RecordingMissing, ReplayTransport, headers_of
from patterns.fake_api.clock import Clock, RealClock
from patterns.fake_api.wire.http import Answer, Cut, Request, Step

_API: Final = b"https://api.anthropic.com/v1/"


class RecordedAPI:
    """Answers HTTP requests from a recording; what `patterns.fake_api`'s server can serve.

    A request without a recorded answer gets a 404 in the API's form; its message says what differs.
    """

    def __init__(self, recording: Recording) -> None:
        self.clock: Clock = RealClock()
        self._replay = ReplayTransport(recording)

    def handle(self, request: Request) -> Answer:
        """Answer one request."""
        query = f"?{urlencode(request.query)}" if request.query else ""
        try:
            found = self._replay.find(request.method, request.path + query, request.body)
        except RecordingMissing as error:
            problem = {"type": "not_found_error", "message": str(error)}
            body = json.dumps({"type": "error", "error": problem}).encode()
            return Answer(404, {"content-type": "application/json"}, body)
        return Answer(found.status, headers_of(found), list(_steps(found, request.base_url)))


def _steps(exchange: Exchange, base_url: str) -> Iterator[Step]:
    for chunk in render_body(exchange.body):
        yield chunk.replace(_API, f"{base_url}/v1/".encode())  # where a batch says its results are
    if exchange.body.get("cut"):
        yield Cut.CLOSE


def together(paths: list[Path]) -> Recording:
    """One recording of several files; equal requests are answered in the order of the files.

    Raises:
        RecordingUnreadable: one of them cannot be used.
    """
    found = [Recording.load(path) for path in paths]
    exchanges = chain.from_iterable(each.exchanges for each in found)
    return Recording(paths[0], found[0].source, tuple(exchanges))


def serve(paths: list[Path], port: int) -> int:
    """Serve recordings until interrupted; the first line printed is the base URL."""
    from patterns.fake_api.wire.server import listen, server_of, url_of

    api = RecordedAPI(together(paths))
    try:
        listener = listen(port)
    except (OSError, OverflowError) as error:
        raise SystemExit(f"port {port} cannot be used ({error}); 0 takes a free one") from None
    with listener, contextlib.suppress(KeyboardInterrupt):
        sys.stdout.write(f"{url_of(listener)}\n")
        sys.stdout.flush()
        server_of(api).run([listener])
    return 0
