"""A real Anthropic client for a chapter: it replays, goes live, or records.

`connect("05_prompting")` is all a notebook needs. Replay is the default even when a key is set;
nothing is sent anywhere until PATTERNS_MODE says so. In your own project, once you have a key,
`anthropic.Anthropic()` takes its place and everything else stays.

Taught in chapter 00.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

import anthropic
import httpx2
from anthropic import Anthropic, AsyncAnthropic

from patterns.course.budget import (
    BUDGET,
    BadSetting,
    Budget,
    budget_limit,
    dollars,
    estimate_usd,
    price_of,
)
from patterns.course.network import network
from patterns.course.notebook import show_errors_short
from patterns.course.recorder import Recorder, TapTransport, raise_if_refused
from patterns.course.recordings import CourseError, Exchange, Recording, Source
from patterns.course.replay import REPLAY_LOG, RecordingMissing, ReplayLog, ReplayTransport
from patterns.course.turns import Turns, running_cell

Mode = Literal["replay", "record", "record-live", "live"]
"""`record` asks the fake API with the chapter's authored replies, `record-live` the real one."""

MODES: Final[tuple[Mode, ...]] = get_args(Mode)
API_HOST: Final = "api.anthropic.com"
KEEP: Final = "PATTERNS_KEEP"
"""Environment variable: 1 makes the recording modes ask only for what the recording lacks."""


class UnknownChapter(CourseError, LookupError):
    """There is no recording for this chapter.

    Attributes:
        chapter: what was asked for.
        known: the chapters that have one.
    """

    def __init__(self, chapter: str, known: Sequence[str], folder: Path) -> None:
        self.chapter, self.known = chapter, tuple(known)
        listed = ", ".join(known) or "none"
        super().__init__(
            f"no recording {chapter}.json in {folder.name}/; there is: {listed}. "
            "Correct the name, or set PATTERNS_RECORDINGS to the folder that holds it."
        )


class NoCredential(CourseError):
    """Live mode without anything to authenticate with."""

    def __init__(self) -> None:
        super().__init__(
            "live mode needs a credential: set ANTHROPIC_API_KEY, or unset PATTERNS_MODE to "
            "replay without one."
        )


@dataclass(frozen=True)
class Connection:
    """How a chapter's client is connected, for banners and for notes on figures."""

    chapter: str
    mode: Mode
    source: Source
    """Where the answers come from."""
    exchanges: int
    """How many recorded exchanges there are, whatever the mode."""
    models: tuple[str, ...]
    """Models that answer in the recording, sorted."""
    estimate: Decimal | None
    """About what the chapter costs live, in US dollars, from recorded usage; None if unknown."""
    budget: Budget | None
    """What live calls may cost and have cost; None where nothing is spent."""

    def __str__(self) -> str:
        cost = "an unknown amount" if self.estimate is None else "less than a cent"
        if self.estimate:
            cost = f"about {dollars(self.estimate)}"
        if self.mode == "replay":
            origin = f"{self.exchanges} {self.source.kind} exchanges ({self.source.recorded})"
            return f"replay · {origin} · no key, nothing is sent · going live: {cost}"
        if self.budget is None:
            return f"record · authored replies from the fake API · writes {self.chapter}.json"
        if self.estimate is not None and self.budget.limit < self.estimate:
            more = dollars(budget_limit(None, self.estimate))
            stop = f"stops early, at ${self.budget.limit:.2f}: set {BUDGET}={more[1:]} to finish"
        else:
            stop = f"stops at ${self.budget.limit:.2f}"
        return f"{self.mode} · this chapter costs {cost} · {stop}"


def connect(
    chapter: str,
    *,
    mode: Mode | None = None,
    recordings: Path | None = None,
    ignore: Sequence[str] = (),
    **options: Any,
) -> Anthropic:
    """The SDK's own client, connected the way `PATTERNS_MODE` says; replay unless it says more.

    Args:
        chapter: stem of the notebook and of its recording, such as `05_prompting`.
        mode: in place of the environment variable.
        recordings: folder of the recordings; PATTERNS_RECORDINGS, `recordings/` in the working
            directory, or the course's own folder, if not given.
        ignore: body fields that do not count when a recorded answer is looked for, such as
            `metadata.user_id`.
        options: for `Anthropic`, such as `middleware=[…]` or `max_retries=0`.

    Raises:
        UnknownChapter: replay without a recording of that name.
        RecordingUnreadable: the recording is damaged.
        RecordingsReadOnly: recording into a folder that cannot be written to.
        BadSetting: an unknown mode, two different modes, a budget that is no amount, or a proxy
            that cannot be used.
        NoCredential: live without a key.
    """
    transport, given = _transport(chapter, _mode(mode), recordings, ignore, asynchronous=False)
    http = anthropic.DefaultHttpxClient(transport=cast(httpx2.BaseTransport, transport))
    client = Anthropic(http_client=http, **{**given, **options})
    _require_credential(client)
    return client


def connect_async(
    chapter: str,
    *,
    mode: Mode | None = None,
    recordings: Path | None = None,
    ignore: Sequence[str] = (),
    **options: Any,
) -> AsyncAnthropic:
    """`connect` for the async client; both share one recording, one budget and one fake API."""
    transport, given = _transport(chapter, _mode(mode), recordings, ignore, asynchronous=True)
    http = anthropic.DefaultAsyncHttpxClient(transport=cast(httpx2.AsyncBaseTransport, transport))
    client = AsyncAnthropic(http_client=http, **{**given, **options})
    _require_credential(client)
    return client


def connection_of(client: Anthropic | AsyncAnthropic) -> Connection:
    """How a client made by `connect` is connected.

    Raises:
        BadSetting: the client was made in some other way.
    """
    # The SDK hands its HTTP client on to every copy of a client, and shows it nowhere else.
    transport = getattr(client._client, "_transport", None)
    connection = getattr(transport, "connection", None)
    if not isinstance(connection, Connection):
        raise BadSetting("client", type(client).__name__, "it was not made by patterns.connect")
    return connection


def source_of(client: Anthropic | AsyncAnthropic) -> Source:
    """Where the answers of a client made by `connect` come from."""
    return connection_of(client).source


class _ReplayChapter(ReplayTransport):
    connection: Connection


class _TapChapter(TapTransport):
    connection: Connection


def _transport(
    chapter: str, mode: Mode, recordings: Path | None, ignore: Sequence[str], *, asynchronous: bool
) -> tuple[httpx2.BaseTransport | httpx2.AsyncBaseTransport, dict[str, Any]]:
    show_errors_short()
    folder = recordings or find_recordings()
    path = folder / f"{chapter}.json"
    if mode == "replay" and not path.exists():
        raise UnknownChapter(chapter, sorted(each.stem for each in folder.glob("*.json")), folder)
    recording = Recording.load(path) if path.exists() else None
    # Fixed, so that no setting for live calls can change what a replayed request looks like.
    fixed = {"api_key": mode, "base_url": f"https://{API_HOST}"}
    if mode == "replay":
        assert recording is not None
        replay = _ReplayChapter(
            recording, log=_replay_log(chapter), price=price_of, ignore=ignore, turns=_turns(path)
        )
        replay.connection = _connection(chapter, mode, recording, recording.source, None)
        return replay, fixed
    budget = None if mode == "record" else _budget(recording)
    tap = _tap(chapter, mode, path, recording, budget, asynchronous=asynchronous)
    tap.connection = _connection(chapter, mode, recording, _source(mode), budget)
    return tap, {} if budget else fixed


def _connection(
    chapter: str, mode: Mode, recording: Recording | None, source: Source, budget: Budget | None
) -> Connection:
    exchanges = recording.exchanges if recording else ()
    models = sorted({model for each in exchanges for model, _ in each.usage()})
    estimate = estimate_usd(exchanges) if recording else None
    return Connection(chapter, mode, source, len(exchanges), tuple(models), estimate, budget)


def _tap(
    chapter: str,
    mode: Mode,
    path: Path,
    recording: Recording | None,
    budget: Budget | None,
    *,
    asynchronous: bool,
) -> _TapChapter:
    recorder = None if mode == "live" else _recorder(path, _source(mode), recording)
    recall = recorder.recall if recorder else lambda request: None
    if budget is None:
        assert recorder is not None
        fake = _fake_api(chapter, path.parent)
        return _TapChapter(
            fake.transport,
            on_request=recorder.start,
            on_exchange=recorder.finish,
            on_error=partial(_raise_if_unscripted, path),
            clock=fake.clock.now,
            recall=recall,
            hasten=True,
        )
    return _TapChapter(
        network(asynchronous=asynchronous),
        on_request=partial(_start_live, budget, recorder),
        on_exchange=partial(_finish_live, budget, recorder),
        on_error=raise_if_refused,
        clock=time.monotonic,
        recall=recall,
    )


def _raise_if_unscripted(path: Path, request: httpx2.Request, response: httpx2.Response) -> None:
    # Nothing is recorded where the authors wrote no answer: replay will miss it in the same way.
    if "no scripted reply fits" in response.text:
        why = f"replies/{path.stem}.toml: {response.json()['error']['message']}"
        raise RecordingMissing(path, f"{request.method} {request.url.path}", why)


def _start_live(budget: Budget, recorder: Recorder | None) -> int:
    budget.check()
    return recorder.start() if recorder else 0


def _finish_live(budget: Budget, recorder: Recorder | None, slot: int, exchange: Exchange) -> None:
    try:
        budget.charge(exchange)
    finally:
        if recorder:
            recorder.finish(slot, exchange)


def _mode(asked: str | None) -> Mode:
    setting = os.environ.get("PATTERNS_MODE") or None
    if asked and setting and asked != setting:
        raise BadSetting("mode", asked, f"PATTERNS_MODE says {setting!r}; unset one of the two")
    mode = asked or setting or "replay"
    if mode not in MODES:
        name = "mode" if asked else "PATTERNS_MODE"
        raise BadSetting(name, mode, f"choose one of {', '.join(MODES)}")
    return mode


def find_recordings() -> Path:
    """The folder of the recordings: PATTERNS_RECORDINGS, here, or the course's own."""
    if setting := os.environ.get("PATTERNS_RECORDINGS"):
        return Path(setting)
    here = Path("recordings")
    return here if here.is_dir() else Path(__file__).parents[2] / "notebooks" / "recordings"


def _source(mode: Mode) -> Source:
    host = httpx2.URL(os.environ.get("ANTHROPIC_BASE_URL") or f"https://{API_HOST}").host
    today = datetime.now(UTC).date().isoformat()
    if mode == "record":
        return Source("authored", today, anthropic.__version__, "fake_api")
    return Source("live", today, anthropic.__version__, host)


def _replay_log(chapter: str) -> ReplayLog | None:
    folder = os.environ.get(REPLAY_LOG)
    return ReplayLog(Path(folder), chapter) if folder else None


_SHARED: dict[tuple[str, ...], Any] = {}
"""What the clients of one process share: a recorder and a fake API per file, one budget."""


def _recorder(path: Path, source: Source, recording: Recording | None) -> Recorder:
    key = ("recorder", str(path))
    if key not in _SHARED:
        known = recording if os.environ.get(KEEP) == "1" else None
        if known and known.source.kind != source.kind:
            advice = f"{path.name} holds {known.source.kind} answers; record all of it anew"
            raise BadSetting(KEEP, "1", advice)
        _SHARED[key] = Recorder(path, source, known=known.exchanges if known else ())
    return cast(Recorder, _SHARED[key])


def _turns(path: Path) -> Turns:
    """In a notebook all clients of a chapter count together, also when the set-up cell reruns."""
    return Turns() if running_cell() is None else _SHARED.setdefault(("turns", str(path)), Turns())


def _budget(recording: Recording | None) -> Budget:
    import patterns.core.pricing  # noqa: F401  # without prices no budget would ever be spent

    estimate = estimate_usd(recording.exchanges) if recording else None
    limit = budget_limit(os.environ.get(BUDGET), estimate)
    return cast(Budget, _SHARED.setdefault(("budget",), Budget(limit)))


def _fake_api(chapter: str, folder: Path) -> Any:
    from patterns.fake_api import FakeAPI, Latency, VirtualClock

    key = ("fake", chapter, str(folder))
    if key not in _SHARED:
        replies = folder / "replies" / f"{chapter}.toml"
        _SHARED[key] = FakeAPI(
            replies=replies if replies.exists() else None,
            strict=True,
            clock=VirtualClock(),
            latency=Latency(),
        )
    return _SHARED[key]


def _require_credential(client: Anthropic | AsyncAnthropic) -> None:
    if not (client.api_key or client.auth_token or client.credentials):
        raise NoCredential
