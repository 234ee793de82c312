"""The recording file: API exchanges as readable, diffable JSON, one file per chapter.

Bodies are kept parsed, streams as lists of events; no request headers, and response headers by
allow-list, so that no credential, cookie or organisation id can get in.

Taught in chapter 00.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import anthropic
import httpx2

from patterns.core.errors import Portable
from patterns.course.bodies import Json, json_or_text, usage_in

FORMAT: Final = 1

SourceKind = Literal["authored", "live"]
_KEPT_HEADERS = frozenset(("content-type", "request-id", "retry-after", "x-should-retry"))
_KEPT_PREFIX = "anthropic-ratelimit-"


class CourseError(Portable, anthropic.AnthropicError):
    """Something about the course itself; in a notebook it shows its message and no traceback.

    It subclasses the SDK's base error, so the SDK passes it on at once instead of retrying.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class RecordingUnreadable(CourseError):
    """A recording file cannot be used.

    Attributes:
        path: the file.
        why: what is wrong with it.
    """

    def __init__(self, path: Path, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(
            f"recording {path.name} cannot be read: {why}. Restore the file, or make it again with "
            f"`make record CHAPTER={path.stem}`."
        )


@dataclass(frozen=True)
class Source:
    """Where the answers of a recording come from."""

    kind: SourceKind
    """`authored`: written by this course's authors. `live`: sampled from a model."""
    recorded: str
    """Day of the recording, as YYYY-MM-DD."""
    sdk: str
    """Version of the `anthropic` package that made it."""
    upstream: str
    """Who answered: `fake_api`, `api.anthropic.com` or another host."""

    @property
    def measured(self) -> bool:
        """Whether figures taken from these answers say something about a model."""
        return self.kind == "live" and self.upstream == "api.anthropic.com"


@dataclass(frozen=True)
class Exchange:
    """One request and its answer, as a recording holds them."""

    method: str
    path: str
    """Path and query from `/v1` on; the host is not part of a request's identity."""
    request: Any
    """Parsed JSON body, a string for any other text, None when there is none."""
    status: int
    headers: Mapping[str, str]
    body: Json
    """One of `json`, `events`, `lines`, `text` or `base64`; `cut` if it has no end."""
    elapsed_ms: int
    first_event_ms: int | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Exchange":
        """Read one entry of a recording file."""
        sent, got = data["request"], dict(data["response"])
        return cls(
            method=sent["method"],
            path=sent["path"],
            request=sent.get("body"),
            status=got.pop("status"),
            headers=got.pop("headers"),
            body=got,
            elapsed_ms=data["elapsed_ms"],
            first_event_ms=data.get("first_event_ms"),
        )

    def to_json(self) -> Json:
        """The entry for a recording file."""
        sent = {"method": self.method, "path": self.path}
        entry: Json = {
            "request": sent if self.request is None else {**sent, "body": self.request},
            "response": {"status": self.status, "headers": dict(self.headers), **self.body},
            "elapsed_ms": self.elapsed_ms,
        }
        if self.first_event_ms is not None:
            entry["first_event_ms"] = self.first_event_ms
        return entry

    def usage(self) -> list[tuple[str, Any]]:
        """Model and usage of every message in the answer: one, or one a line for a batch."""
        asked = self.request.get("model") if isinstance(self.request, dict) else None
        return [(model or str(asked or ""), usage) for model, usage in usage_in(self.body)]


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The response headers that a recording may hold; everything else stays out of it."""
    return {
        name: value
        for name, value in sorted((key.lower(), value) for key, value in headers.items())
        if name in _KEPT_HEADERS or name.startswith(_KEPT_PREFIX)
    }


@dataclass(frozen=True)
class Recording:
    """A chapter's recording file, read into memory."""

    path: Path
    source: Source
    exchanges: tuple[Exchange, ...] = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> "Recording":
        """Read a recording file.

        Raises:
            RecordingUnreadable: it is absent, not JSON, of another format, or incomplete.
        """
        try:
            data = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise RecordingUnreadable(path, "there is no such file") from None
        except OSError as error:
            raise RecordingUnreadable(path, error.strerror or str(error)) from error
        except ValueError as error:
            raise RecordingUnreadable(path, f"not valid JSON ({error})") from None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise RecordingUnreadable(path, f"not a recording of format {FORMAT}")
        try:
            source = Source(data["source"], data["recorded"], data["sdk"], data["upstream"])
            exchanges = tuple(Exchange.from_json(each) for each in data["exchanges"])
        except (KeyError, TypeError, AttributeError) as error:
            raise RecordingUnreadable(path, f"a field is missing or misplaced ({error})") from None
        return cls(path, source, exchanges)

    def save(self) -> None:
        """Write the file whole: to a neighbour first, then renamed over the old one."""
        data = {
            "format": FORMAT,
            "chapter": self.path.stem,
            "source": self.source.kind,
            "note": _NOTES[self.source.kind],
            "recorded": self.source.recorded,
            "sdk": self.source.sdk,
            "upstream": self.source.upstream,
            "exchanges": [exchange.to_json() for exchange in self.exchanges],
        }
        draft = self.path.with_suffix(f".{os.getpid()}.part")
        try:
            text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
            draft.write_bytes(text.encode("utf-8", "backslashreplace"))
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)


_NOTES: Final[dict[SourceKind, str]] = {
    "authored": "Replies were written by the authors of this course; no model was asked.",
    "live": "Replies were sampled from the API on the day given.",
}


def canonical(body: Any) -> str:
    """The form in which two request bodies are compared: key order does not matter."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def request_path(url: httpx2.URL) -> str:
    """Path and query from `/v1` on, so that a proxy's prefix changes nothing."""
    path = url.raw_path.decode("ascii")
    return path[max(path.find("/v1/"), 0) :]


def request_body(content: bytes) -> Any:
    """A request's body as a recording keeps it."""
    return json_or_text(content.decode("utf-8", "replace")) if content else None
