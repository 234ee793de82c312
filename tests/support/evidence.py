"""Sourced facts about the real Messages API, and whether the fake agrees with them.

    python tests/support/evidence.py [FILE.jsonl] [-v]

A fact is one line of `tests/evidence/*.jsonl`; `tests/evidence/README.md` says what it holds. The
verdict is "agree", or what differs. Prints those that do not agree and exits 1 if there are any.
"""

import base64
import binascii
import gzip
import json
import random
import re
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx2

from patterns.course.issuer import Issuer
from patterns.fake_api import Error, FakeAPI, Fault, Reply, VirtualClock
from patterns.fake_api.federation import ORGANIZATION
from patterns.fake_api.sign_in import GRANT

FOLDER: Final = Path(__file__).parents[1] / "evidence"
HEADERS: Final = {
    "x-api-key": "k",
    "anthropic-version": "2023-06-01",
    "content-type": "application/json",
}
NOON: Final = 43_200
EXCHANGE: Final = {
    "grant_type": GRANT,
    "federation_rule_id": "fdrl_01FakeRule",
    "organization_id": ORGANIZATION,
}
Fact = Mapping[str, Any]


def facts(path: Path | None = None) -> list[dict[str, Any]]:
    """The facts of one file, or of all."""
    paths = sorted(FOLDER.glob("*.jsonl")) if path is None else [path]
    lines = [line for each in paths for line in each.read_text("utf-8").splitlines()]
    return [json.loads(line) for line in lines]


@cache
def png(width: int, height: int) -> str:
    """A black picture, as base64."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        tail = struct.pack(">I", binascii.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + tail

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes((width + 7) // 8)) * height, 9)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + data).decode()


def expand(value: Any) -> Any:
    """A request with its large values written out."""
    match value:
        case {"$png": [width, height]}:
            return png(width, height)
        case {"$b64": size}:
            return base64.b64encode(random.Random(0).randbytes(size * 3 // 4)).decode()
        case {"$text": size}:
            return ("some words " * (size // 11 + 1))[:size]
        case {"$props": [count, schema]}:
            return {f"p{n}": schema for n in range(count)}
        case dict():
            return {key: expand(part) for key, part in value.items()}
        case list():
            return [each for part in value for each in _repeated(part)]
    return value


def _repeated(part: Any) -> list[Any]:
    if isinstance(part, dict) and "$repeat" in part:
        return [expand(part["$repeat"][1])] * part["$repeat"][0]
    return [expand(part)]


def dig(value: Any, path: str) -> Any:
    """What stands at a dotted path; the string `missing` where nothing does."""
    for part in path.split("."):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return "missing"
    return value


def verdict(fact: Fact) -> str:
    """ "agree", or what differs."""
    return next(_differences(fact), "agree")


def _differences(fact: Fact) -> Iterator[str]:
    session = _Session(fact)
    response = session.run()
    streamed = "event-stream" in response.headers.get("content-type", "")
    body = {} if streamed else response.json()
    error = body.get("error") or {} if response.status_code != 200 else {}
    if response.status_code != fact["status"]:
        yield f"{response.status_code} {error.get('type')}: {error.get('message')}"
    elif response.status_code != 200:
        yield from _error_differences(fact, response, body, error)
    else:
        yield from _answer_differences(fact, response, body, session)


def _error_differences(
    fact: Fact, response: httpx2.Response, body: Any, error: Any
) -> Iterator[str]:
    code = (error.get("details") or {}).get("error_code")
    if fact["type"] and error.get("type") != fact["type"]:
        yield f"error type {error.get('type')}"
    if fact.get("error_code") not in (None, code):
        yield f"error_code {code}"
    if fact.get("expect_error_request_id") and body["request_id"] != response.headers["request-id"]:
        yield "request_id differs from the header"
    yield from (f"header {n}" for n in fact.get("absent_headers", ()) if n in response.headers)
    said = str(error.get("message"))
    if fact["message_pattern"] and not re.search(fact["message_pattern"], said):
        yield f"the message does not speak of it: {said}"


def _answer_differences(
    fact: Fact, response: httpx2.Response, body: Any, session: "_Session"
) -> Iterator[str]:
    for name in fact.get("response_headers", ()):
        if name not in response.headers:
            yield f"no header {name}"
    if fact.get("input_grows") and inputs(body) <= session.first_input:
        yield f"{inputs(body)} input tokens do not hold the turn before"
    yield from _stream_differences(fact.get("stream") or {}, response)
    for path, value in (fact.get("expect") or {}).items():
        if (found := dig(body, path)) != value:
            yield f"{path} is {found!r}"
    if "batch_result" in fact:
        yield from _batch_differences(fact["batch_result"], session.batch_result(body["id"]))


def _stream_differences(want: Fact, response: httpx2.Response) -> Iterator[str]:
    if not want:
        return
    seen = _events(response.text)
    kinds = [event["type"] for event in seen]
    deltas = [e["delta"]["type"] for e in seen if e["type"] == "content_block_delta"]
    starts = [e["content_block"] for e in seen if e["type"] == "content_block_start"]
    if "order" in want and [k for k in dict.fromkeys(kinds) if k != "ping"] != want["order"]:
        yield f"events {kinds}"
    for kind, path in want.get("has", ()):
        if not any(e["type"] == kind and dig(e, path) != "missing" for e in seen):
            yield f"no {path} in {kind}"
    for key, among in (("event", kinds), ("delta", deltas)):
        if key in want and want[key] not in among:
            yield f"no {want[key]} among {among}"
    if want.get("no_delta") in deltas:
        yield f"{want['no_delta']} is sent"
    if "delta_order" in want and list(dict.fromkeys(deltas)) != want["delta_order"]:
        yield f"deltas {deltas}"
    if "start_of" in want:
        kind, key, value = want["start_of"]
        if next((b.get(key) for b in starts if b["type"] == kind), "missing") != value:
            yield f"{kind} does not start with {key} {value}"
    errors = [e["error"]["type"] for e in seen if e["type"] == "error"]
    if want.get("error_event") not in (None, *errors):
        yield f"errors {errors}"
    if not response.headers["content-type"].startswith(want.get("content_type", "")):
        yield "content type"


def _events(text: str) -> list[Any]:
    blocks = (re.findall(r"^data: ?(.*)$", block, re.M) for block in text.split("\n\n"))
    return [json.loads("".join(lines)) for lines in blocks if lines]


def _batch_differences(want: Fact, result: Any) -> Iterator[str]:
    error = result["error"]["error"]["type"] if result["type"] == "errored" else None
    if (result["type"], error) != (want["type"], want.get("error_type", error)):
        yield f"result {result}"


def inputs(message: Any) -> int:
    """All input tokens of a message."""
    keys = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    usage = message.get("usage") or {}
    return sum(usage.get(key) or 0 for key in keys)


class _Session:
    """One fact's own fake, set up as the fact wants it."""

    def __init__(self, fact: Fact) -> None:
        self.fact = fact
        self.first_input = 0
        setup = fact.get("setup") or {}
        start = datetime.fromisoformat(setup.get("now", "2026-11-26")).replace(tzinfo=UTC)
        self.clock = VirtualClock(start.timestamp() + NOON)
        self.issuer = Issuer(clock=self.clock.now)
        rules = [self.issuer.rule(**setup["federation"])] if "federation" in setup else []
        api = FakeAPI(clock=self.clock, batch_seconds=10, keys=setup.get("keys"), federation=rules)
        if "reply" in setup:
            api.enqueue(Reply(**setup["reply"]))
        if "error" in setup:
            api.enqueue(Error(**setup["error"]))
        if "fault" in setup:
            api.add_faults(getattr(Fault, setup["fault"])())
        url = "https://api.anthropic.com"
        self.client = httpx2.Client(transport=api.transport, base_url=url)
        beta = {"anthropic-beta": ",".join(fact["beta"])} if fact.get("beta") else {}
        headers = {**HEADERS, **beta, **(fact.get("headers") or {})}
        self.headers = {name: value for name, value in headers.items() if value is not None}

    def run(self) -> httpx2.Response:
        """The answer to the request, or to the last of its steps."""
        if "$token" in self.headers.get("authorization", ""):
            self._sign_in(self.fact["setup"].get("later", 0))
        steps = self.fact.get("steps")
        if steps is None:
            return self._send(self.fact.get("request"))
        saved = ""
        for n, step in enumerate(steps):
            response = self._send(json.loads(json.dumps(step).replace("$id", saved)))
            if response.status_code != 200:
                break
            if n == 0:
                saved, self.first_input = response.json().get("id", ""), inputs(response.json())
        return response

    def _sign_in(self, later: float) -> None:
        """Put the access token for an identity token where `$token` stands, some time later."""
        body = {**EXCHANGE, "assertion": self.issuer.token()}
        token = self.client.post("/v1/oauth/token", json=body).json()["access_token"]
        self.headers["authorization"] = self.headers["authorization"].replace("$token", token)
        self.clock.advance(later)

    def _send(self, body: Any) -> httpx2.Response:
        if isinstance(assertion := (body or {}).get("assertion"), dict):
            body = {**body, "assertion": self.issuer.token(**self._claims(assertion))}
        text = self.fact.get("raw", "" if body is None else json.dumps(expand(body)))
        data = gzip.compress(text.encode()) if self.fact.get("gzip") else text.encode()
        path, method = self.fact.get("path", "/v1/messages"), self.fact.get("method", "POST")
        return self.client.request(method, path, headers=self.headers, content=data)

    def _claims(self, claims: Fact) -> dict[str, Any]:
        """Claims of an identity token, in which `+60` is a minute from now."""
        now = self.clock.now()
        return {
            name: int(now + float(value)) if re.match(r"[+-]\d", str(value)) else value
            for name, value in claims.items()
        }

    def batch_result(self, batch_id: str) -> Any:
        """The first result of a batch, once it has ended."""
        self.clock.sleep(60)
        path = f"/v1/messages/batches/{batch_id}/results"
        lines = self.client.get(path, headers=self.headers).text.splitlines()
        return json.loads(lines[0])["result"]


def main(arguments: list[str]) -> int:
    """Print what does not agree, or with `-v` every fact; 1 where something does not."""
    paths = [Path(each) for each in arguments if not each.startswith("-")]
    given = facts(paths[0] if paths else None)
    rows = [(fact["id"], verdict(fact)) for fact in given]
    for name, said in rows:
        if said != "agree" or "-v" in arguments:
            sys.stdout.write(f"{name:8}{said}\n")
    agreed = sum(said == "agree" for _, said in rows)
    sys.stdout.write(f"{agreed} of {len(rows)} agree\n")
    return int(agreed < len(rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
