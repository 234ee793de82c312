"""patterns.course.client: one line connects a chapter, and every bad setting is named."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic

from patterns.core.messages import text_of
from patterns.core.models import SONNET
from patterns.course import client as module
from patterns.course.budget import BadSetting, BudgetSpent, dollars, estimate_usd
from patterns.course.client import (
    NoCredential,
    UnknownChapter,
    connect,
    connect_async,
    connection_of,
    find_recordings,
    source_of,
)
from patterns.course.recorder import LiveCallRefused
from patterns.course.recordings import Recording, RecordingUnreadable
from patterns.course.replay import REPLAY_LOG, RecordingMissing

ASK: dict[str, Any] = {
    "model": SONNET,
    "max_tokens": 99,
    "messages": [{"role": "user", "content": "Hi"}],
}
REPLIES = '[[reply]]\ncontains = "Hi"\ntexts = ["Hello.", "Hello again."]\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recordings folder with authored replies for one chapter, and nothing shared before."""
    monkeypatch.setattr(module, "_SHARED", {})
    (tmp_path / "replies").mkdir()
    (tmp_path / "replies" / "01_x.toml").write_text(REPLIES, "utf-8")
    return tmp_path


def record(folder: Path) -> None:
    client = connect("01_x", mode="record", recordings=folder)
    for _ in range(2):
        client.messages.create(**ASK)
    module._SHARED.clear()


def test_what_record_wrote_replay_answers(folder: Path) -> None:
    """Without a key: the fake API answers with the authored replies, the file says so."""
    record(folder)
    client = connect("01_x", recordings=folder)
    assert [text_of(client.messages.create(**ASK)) for _ in range(2)] == ["Hello.", "Hello again."]
    assert source_of(client).kind == "authored"
    connection = connection_of(client.with_options(timeout=5))
    assert (connection.mode, connection.exchanges, connection.models) == ("replay", 2, (SONNET,))
    assert "replay · 2 authored exchanges" in str(connection)


def test_recording_twice_gives_the_same_file(folder: Path) -> None:
    """Ids, tokens and times come from the request, so a diff shows only what changed."""
    record(folder)
    first = (folder / "01_x.json").read_text("utf-8")
    record(folder)
    assert (folder / "01_x.json").read_text("utf-8") == first


def test_sync_and_async_clients_write_to_one_recording(folder: Path) -> None:
    """They share the recorder and the fake API."""

    async def main() -> str:
        async with connect_async("01_x", mode="record", recordings=folder) as client:
            return text_of(await client.messages.create(**ASK))

    sync_client = connect("01_x", mode="record", recordings=folder)
    said = [text_of(sync_client.messages.create(**ASK)), asyncio.run(main())]
    assert said == ["Hello.", "Hello again."]
    assert len(Recording.load(folder / "01_x.json").exchanges) == 2
    assert "authored replies" in str(connection_of(sync_client))


def test_async_replay_answers(folder: Path) -> None:
    """The async client replays the same file."""
    record(folder)

    async def main() -> str:
        async with connect_async("01_x", recordings=folder) as client:
            return text_of(await client.messages.create(**ASK))

    assert asyncio.run(main()) == "Hello."


def test_a_request_without_an_authored_reply_is_not_recorded(folder: Path) -> None:
    """Nobody records an echo by accident."""
    client = connect("01_x", mode="record", recordings=folder)
    other = {**ASK, "messages": [{"role": "user", "content": "Who?"}]}
    with pytest.raises(RecordingMissing, match=r"replies/01_x\.toml.*Who"):
        client.messages.create(**other)
    assert not (folder / "01_x.json").exists()


def test_an_authored_failure_is_recorded_like_any_answer(folder: Path) -> None:
    """529 once, then an answer: the SDK retries at once, and both are in the file."""
    busy = '[[reply]]\ncontains = "Hi"\nstatus = 529\ntimes = 1\n'
    (folder / "replies" / "01_x.toml").write_text(busy + REPLIES, "utf-8")
    connect("01_x", mode="record", recordings=folder).messages.create(**ASK)
    statuses = [each.status for each in Recording.load(folder / "01_x.json").exchanges]
    assert statuses == [529, 200]


def test_recording_a_chapter_without_replies_says_what_is_missing(folder: Path) -> None:
    """A new chapter starts here."""
    client = connect("02_y", mode="record", recordings=folder)
    with pytest.raises(RecordingMissing, match=r"replies/02_y\.toml"):
        client.messages.create(**ASK)


def test_a_missing_recording_names_what_going_live_costs(folder: Path) -> None:
    """An upper bound, from the price table."""
    record(folder)
    client = connect("01_x", recordings=folder)
    with pytest.raises(RecordingMissing, match=r"at most \$0\.0012\)\.$"):
        client.messages.create(**{**ASK, "max_tokens": 100})
    with pytest.raises(RecordingMissing, match=r"at most \$0\.0\d+\)\.$"):
        client.messages.create(**{**ASK, "model": "claude-next"})
    with pytest.raises(RecordingMissing, match=r"\(this request is free\)\.$"):
        client.messages.count_tokens(model=SONNET, messages=ASK["messages"])
    requests: Any = [{"custom_id": "a", "params": {**ASK, "max_tokens": 1_000_000}}]
    with pytest.raises(RecordingMissing, match=r"at most \$10\.00\)\.$"):
        client.messages.batches.create(requests=requests)


def test_an_unknown_chapter_lists_the_known_ones(folder: Path) -> None:
    """The folder's name is in the message, the machine's path is not."""
    record(folder)
    with pytest.raises(UnknownChapter, match=r"no recording 09_z\.json.*there is: 01_x") as caught:
        connect("09_z", recordings=folder)
    assert caught.value.known == ("01_x",)
    assert str(folder) not in str(caught.value)


def test_a_damaged_recording_is_an_error_at_once(folder: Path) -> None:
    """Not at the tenth cell."""
    (folder / "01_x.json").write_text('{"format": 1, ', "utf-8")
    with pytest.raises(RecordingUnreadable, match=r"01_x\.json"):
        connect("01_x", recordings=folder)


def test_an_unknown_mode_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it came from the environment or from the call."""
    with pytest.raises(BadSetting, match="mode is 'fast': choose one of replay, record"):
        connect("00_start_here", mode="fast")  # type: ignore[arg-type]  # that is the point
    monkeypatch.setenv("PATTERNS_MODE", "live,record")
    with pytest.raises(BadSetting, match="PATTERNS_MODE is 'live,record'") as caught:
        connect("00_start_here")
    assert caught.value.setting == "PATTERNS_MODE"


def test_two_modes_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody should have to know which of the two wins."""
    monkeypatch.setenv("PATTERNS_MODE", "live")
    with pytest.raises(BadSetting, match="PATTERNS_MODE says 'live'; unset one"):
        connect("00_start_here", mode="replay")
    monkeypatch.setenv("PATTERNS_MODE", "replay")
    assert connection_of(connect("00_start_here", mode="replay")).mode == "replay"


def test_replay_ignores_a_key_and_a_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key alone never spends money."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://proxy.example")
    client = connect("00_start_here")
    assert client.api_key == "replay"
    assert client.base_url.host == "api.anthropic.com"


def test_a_client_of_ones_own_has_no_connection() -> None:
    """A figure must not guess where its answers come from."""
    with pytest.raises(BadSetting, match="not made by patterns"):
        connection_of(Anthropic(api_key="k"))


def test_the_recordings_are_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting first, then the working directory, then the course itself."""
    monkeypatch.chdir(tmp_path)
    course = Path(module.__file__).parents[2] / "notebooks" / "recordings"
    assert find_recordings() == course
    (tmp_path / "recordings").mkdir()
    assert find_recordings() == Path("recordings")
    monkeypatch.setenv("PATTERNS_RECORDINGS", str(tmp_path))
    assert find_recordings() == tmp_path


def test_the_replay_log_is_kept_when_asked_for(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make test` finds unused exchanges with it."""
    record(folder)
    logs = tmp_path / "logs"
    logs.mkdir()
    monkeypatch.setenv(REPLAY_LOG, str(logs))
    connect("01_x", recordings=folder).messages.create(**ASK)
    assert [log.read_text("utf-8") for log in logs.iterdir()] == ["0\n"]


@pytest.mark.parametrize(
    ("amount", "shown"),
    [("0", "$0.00"), ("1.204", "$1.20"), ("0.034", "$0.034"), ("0.00213", "$0.0021")],
)
def test_small_amounts_keep_two_digits_that_say_something(amount: str, shown: str) -> None:
    """A tenth of a cent is not nothing."""
    assert dollars(Decimal(amount)) == shown


def test_without_the_price_table_the_estimate_is_unknown(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replay does not need the extra; the banner says what it cannot know."""
    record(folder)
    monkeypatch.setitem(__import__("sys").modules, "patterns.core.pricing", None)
    client = connect("01_x", recordings=folder)
    assert estimate_usd(Recording.load(folder / "01_x.json").exchanges) is None
    assert "going live: an unknown amount" in str(connection_of(client))
    with pytest.raises(RecordingMissing, match=r"restart the kernel\.$"):
        client.messages.create(**{**ASK, "max_tokens": 1})


class Live:
    """A stand-in for the network: what the live transport would have been."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, status: int = 200) -> None:
        self.sent: list[httpx2.Request] = []
        self.status = status
        monkeypatch.setattr(module, "network", self.make)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")

    def make(self, *, asynchronous: bool) -> httpx2.MockTransport:
        return httpx2.MockTransport(self.answer)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request)
        if self.status != 200:
            return httpx2.Response(self.status, json={"error": {"message": "no credit"}})
        usage = {"input_tokens": 400_000, "output_tokens": 0}
        content = [{"type": "text", "text": "live"}]
        body = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": SONNET,
            "content": content,
            "stop_reason": "end_turn",
            "usage": usage,
        }
        return httpx2.Response(200, json=body)


def test_live_calls_go_out_and_stop_at_the_budget(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each costs 80 cents; the third would start above the dollar, so it is not sent."""
    live = Live(monkeypatch)
    client = connect("01_x", mode="live", recordings=folder)
    assert [text_of(client.messages.create(**ASK)) for _ in range(2)] == ["live", "live"]
    with pytest.raises(BudgetSpent):
        client.messages.create(**ASK)
    assert len(live.sent) == 2
    assert "stops at $1.00" in str(connection_of(client))
    assert not (folder / "01_x.json").exists()


def test_record_live_keeps_what_the_api_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file says `live`, and no credential is in it."""
    Live(monkeypatch)
    monkeypatch.setenv("PATTERNS_BUDGET_USD", "2.50")

    async def main() -> None:
        async with connect_async("01_x", mode="record-live", recordings=folder) as client:
            await client.messages.create(**ASK)

    asyncio.run(main())
    recording = Recording.load(folder / "01_x.json")
    assert recording.source.measured
    assert "sk-test" not in (folder / "01_x.json").read_text("utf-8")
    module._SHARED.clear()
    again = connection_of(connect("01_x", mode="live", recordings=folder))
    assert "this chapter costs about $0.80 · stops at $2.50" in str(again)


def test_the_budget_covers_the_chapter_or_the_banner_says_what_to_set(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice what was recorded unless something is set; then what would do."""
    Live(monkeypatch)
    client = connect("01_x", mode="record-live", recordings=folder)
    for _ in range(2):
        client.messages.create(**ASK)
    module._SHARED.clear()
    by_default = connection_of(connect("01_x", mode="live", recordings=folder))
    assert str(by_default) == "live · this chapter costs about $1.60 · stops at $4.00"
    module._SHARED.clear()
    monkeypatch.setenv("PATTERNS_BUDGET_USD", " .5")
    low = connection_of(connect("01_x", mode="live", recordings=folder))
    assert str(low).endswith("stops early, at $0.50: set PATTERNS_BUDGET_USD=4.00 to finish")


def test_what_was_paid_for_is_not_asked_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With PATTERNS_KEEP only what is missing goes out; cut answers and failures do again."""
    live = Live(monkeypatch)
    monkeypatch.setenv("PATTERNS_KEEP", "1")
    monkeypatch.setenv("PATTERNS_BUDGET_USD", "1")
    client = connect("01_x", mode="record-live", recordings=folder)
    for _ in range(2):
        client.messages.create(**ASK)
    with pytest.raises(BudgetSpent):
        client.messages.create(**ASK)
    module._SHARED.clear()
    again = connect("01_x", mode="record-live", recordings=folder)
    other = {**ASK, "max_tokens": 98}
    again.messages.create(**other)
    assert len(Recording.load(folder / "01_x.json").exchanges) == 3
    for _ in range(2):
        again.messages.create(**ASK)
    asked = [each.request["max_tokens"] for each in Recording.load(folder / "01_x.json").exchanges]
    assert (asked, len(live.sent)) == ([98, 99, 99], 3)

    async def main() -> None:
        module._SHARED.clear()
        async with connect_async("01_x", mode="record-live", recordings=folder) as client:
            await client.messages.create(**ASK)

    asyncio.run(main())
    assert len(live.sent) == 3


def test_answers_of_two_kinds_are_not_mixed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An authored recording cannot be completed by live answers."""
    record(folder)
    Live(monkeypatch)
    monkeypatch.setenv("PATTERNS_KEEP", "1")
    with pytest.raises(BadSetting, match=r"01_x\.json holds authored answers"):
        connect("01_x", mode="record-live", recordings=folder)


def test_ignored_fields_do_not_count(folder: Path) -> None:
    """Such as an id that differs from day to day."""
    record(folder)
    client = connect("01_x", recordings=folder, ignore=["metadata.user_id", "messages.content"])
    said = client.messages.create(**{**ASK, "messages": [{"role": "user", "content": "Ho"}]})
    assert text_of(said) == "Hello."
    with pytest.raises(RecordingMissing):
        client.messages.create(**ASK, metadata={"user_id": "u"})


def test_a_compatible_server_is_not_taken_for_the_api(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ANTHROPIC_BASE_URL is honoured live, and named as the upstream."""
    live = Live(monkeypatch)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    client = connect("01_x", mode="live", recordings=folder)
    client.messages.create(**ASK)
    assert live.sent[0].url.host == "127.0.0.1"
    assert not source_of(client).measured


def test_a_key_without_credit_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """401, 403 and 402 say which setting to look at."""
    Live(monkeypatch, status=403)
    client = connect("01_x", mode="live", recordings=folder)
    with pytest.raises(LiveCallRefused, match=r"403 \(no credit\).*ANTHROPIC_API_KEY"):
        client.messages.create(**ASK)


def test_live_without_a_credential_says_so_before_any_call(folder: Path) -> None:
    """Two ways on, in one line."""
    with pytest.raises(NoCredential, match="set ANTHROPIC_API_KEY, or unset PATTERNS_MODE"):
        connect("01_x", mode="live", recordings=folder)


@pytest.mark.parametrize(
    "value", ["a lot", "-1", "nan", "1e999", "Infinity", "1e3", "1_0", "1,50", "$1", "9999999", "."]
)
def test_a_budget_that_is_no_amount_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Before anything is spent."""
    monkeypatch.setenv("PATTERNS_BUDGET_USD", value)
    with pytest.raises(BadSetting, match="PATTERNS_BUDGET_USD"):
        connect("01_x", mode="live", recordings=folder)
