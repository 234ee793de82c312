"""Every call leaves rows, no row leaves the chain, and no row says too much."""

import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from anthropic import (
    Anthropic,
    APIConnectionError,
    APIStatusError,
    AsyncAnthropic,
    AuthenticationError,
    InternalServerError,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.core.models import HAIKU
from patterns.fake_api import Error, FakeAPI, Fault
from patterns.policy.audit import Audit
from patterns.policy.audit_export import emit, export
from patterns.policy.audit_log import (
    AuditLog,
    AuditUnavailable,
    Head,
    Verdict,
    WrongKey,
    canonical,
)
from patterns.policy.authorization import Authorize, NotAuthorized, Rule
from patterns.policy.identity import Principal, acting_as
from patterns.policy.privacy import redact
from patterns.policy.responses import Watch

KEY = bytes(range(32))
ADA = Principal("ada@example.com", frozenset({"analyst"}), "lab", "10.0.0.1", "x")
ASK: Any = {"model": HAIKU, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}
START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def log(tmp_path: Path) -> Any:
    """A log whose clock moves one second per row."""
    ticks = iter(range(1_000_000))
    with AuditLog(
        tmp_path / "audit.db", KEY, clock=lambda: START + timedelta(seconds=next(ticks)), wait=0.05
    ) as made:
        yield made


def filled(path: Path, rows: int = 6) -> AuditLog:
    made = AuditLog(path, KEY, clock=lambda: START)
    for number in range(rows):
        made.append("request", {"user": f"user_{number % 2}"}, call=f"c{number}")
    return made


class Api:
    def __init__(
        self, log: AuditLog, *replies: Any, faults: Any = (), chain: Any = (), **options: Any
    ) -> None:
        self.fake = FakeAPI(faults=faults)
        self.fake.enqueue(*replies)
        self.log = log
        self.middleware = [
            Audit(log, KEY, timer=iter(range(7, 10_000)).__next__, **options),
            *chain,
        ]
        self.client: Anthropic = self.fake.client(middleware=self.middleware, max_retries=1)

    def rows(self, *events: str) -> list[dict[str, Any]]:
        return [row for row in self.log.rows() if not events or row["event"] in events]


def test_a_call_leaves_a_request_and_a_response_row(log: AuditLog) -> None:
    """Who, what, when, how much, and nothing that was said."""
    api = Api(log, "Good day")
    with acting_as(ADA):
        message = api.client.messages.create(**ASK)
    asked, answered = api.rows()
    assert asked["detail"]["user"] == ADA.pseudonym(KEY)
    assert asked["detail"] | {"prompt": "", "user": ""} == {
        "prompt": "", "user": "", "workspace": "lab", "ip": "10.0.0.1", "team": "x"}  # fmt: skip
    assert (asked["event"], asked["model"], asked["endpoint"]) == (
        "request",
        HAIKU,
        "messages.create",
    )
    assert answered["usage"] == {
        "input_tokens": message.usage.input_tokens, "output_tokens": message.usage.output_tokens,
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}  # fmt: skip
    assert not {"key", "items", "images", "documents"} & {*asked}
    assert (answered["status"], answered["stop_reason"], answered["ms"]) == (200, "end_turn", 1_000)
    assert answered["request_id"] == message._request_id
    assert asked["call"] == answered["call"]
    assert not {"stream", "error", "notes", "rule", "models"} & {*asked, *answered}
    assert log.verify().rows == 2


def test_a_retry_is_audited_as_one_call(log: AuditLog) -> None:
    """One request, one error per failed attempt, one response."""
    api = Api(log, faults=[Fault.status(529, times=1, retry_after=0.001)])
    api.client.messages.create(**ASK)
    assert [(row["event"], row["attempt"]) for row in api.rows()] == [
        ("request", 0), ("error", 0), ("response", 1)]  # fmt: skip
    assert len({row["call"] for row in api.rows()}) == 1
    assert api.rows("error")[0]["error"] == "overloaded_error"


def test_a_denial_is_recorded_with_its_rule_and_not_retried(log: AuditLog) -> None:
    """Also when nobody acts: the row has no user then."""
    api = Api(log, chain=[Authorize([Rule("admin")])])
    with acting_as(ADA), pytest.raises(NotAuthorized):
        api.client.messages.create(**ASK)
    with pytest.raises(Exception, match="no principal"):
        api.client.messages.create(**ASK)
    assert [row["rule"] for row in api.rows("denied")] == ["not-authorized", "no-principal"]
    assert api.rows("denied")[0]["reason"] == "no rule allows messages.create to ["
    assert "user" not in api.rows("request")[1]["detail"]
    assert api.fake.journal == []


@pytest.mark.parametrize(
    ("fault", "error", "raised"),
    [
        (Fault.status(500), "api_error", InternalServerError),
        (Fault.disconnect(), "APIConnectionError", APIConnectionError),
    ],
)
def test_a_failure_is_recorded_by_its_type(
    log: AuditLog, fault: Fault, error: str, raised: Any
) -> None:
    """The type that the API or the SDK gives it, never a text."""
    api = Api(log, faults=[fault])
    with pytest.raises(raised):
        api.client.with_options(max_retries=0).messages.create(**ASK)
    assert api.rows("error")[0]["error"] == error


@pytest.mark.parametrize(
    ("how", "expected"),
    [("read", "read"), ("closed", "closed"), ("dropped", "dropped")],
)
def test_a_stream_is_recorded_when_it_is_over(log: AuditLog, how: str, expected: str) -> None:
    """Read, closed early, or dropped: one row, with the usage seen."""
    api = Api(log, "Good day to you")
    stream: Any = api.client.messages.create(**ASK, stream=True)
    assert len(api.rows()) == 1
    if how == "read":
        list(stream)
    if how == "closed":
        next(iter(stream))
        stream.close()
    del stream
    (row,) = api.rows("response")
    assert (row["stream"], "usage" in row) == (expected, how != "dropped")
    assert ("stop_reason" in row) is (how == "read")


def test_a_stream_that_breaks_is_an_error(log: AuditLog) -> None:
    """A lost connection, and an error event."""
    for fault in (Fault.disconnect(after=3), Fault.stream_error(after=3)):
        api = Api(log, faults=[fault])
        with pytest.raises((httpx2.RemoteProtocolError, APIStatusError)):
            list(api.client.messages.create(**ASK, stream=True))
    assert [row["error"] for row in api.rows("error")] == [
        "RemoteProtocolError",
        "overloaded_error",
    ]


def test_an_error_in_place_of_a_stream_is_an_error(log: AuditLog) -> None:
    """It is read here, and still raised by the SDK."""
    api = Api(log, Error(401))
    with pytest.raises(AuthenticationError):
        api.client.messages.create(**ASK, stream=True)
    assert api.rows("error")[0]["status"] == 401


def test_what_a_stream_says_otherwise_is_no_ending() -> None:
    """Only starts, deltas and errors count."""
    endings: list[Any] = []
    watch = Watch(endings.append)
    watch.feed(
        b'data: {"type": "other", "usage": {}}\ndata: {"type": "message_start", "usage": 1}\n'
    )
    watch.feed(b'data: {"type": "message_delta", "usage": null}')
    watch.end()
    watch.stop("read")
    watch.stop("closed")
    assert [(one.how, one.usage, one.stop_reason) for one in endings] == [("read", {}, None)]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ('{"type": "overloaded_error", "message": "secret"}', "overloaded_error"),
        ('"secret"', "unknown"),
        ('{"type": "secret text"}', "unknown"),
        ("{}", "unknown"),
    ],
)
def test_an_error_within_a_stream_is_named_by_its_type(error: str, kind: str) -> None:
    """Never by its text, which may quote the prompt."""
    endings: list[Any] = []
    watch = Watch(endings.append)
    watch.feed(f'data: {{"type": "error", "error": {error}}}\n'.encode())
    watch.stop("failed", ConnectionError("secret"))
    watch.stop("dropped")
    assert [one.error for one in endings] == ["ConnectionError"]
    watch = Watch(endings.append)
    watch.feed(f'data: {{"type": "error", "error": {error}}}\n'.encode())
    watch.stop("read")
    assert endings[-1].error == kind


def test_batches_and_reading_calls_are_recorded(log: AuditLog) -> None:
    """The number of items; a GET has an id of its own."""
    api = Api(log)
    api.client.messages.batches.create(requests=[{"custom_id": "a", "params": ASK}] * 1)
    api.client.models.list()
    assert [row.get("items") for row in api.rows("request")] == [1, None]
    assert [row.get("max_tokens") for row in api.rows("request")] == [100, None]
    assert {row["endpoint"] for row in api.rows()} == {"messages.batches.create", "GET /v1/models"}
    with pytest.raises(Exception, match="400"):
        api.client.post("/v1/messages/batches", cast_to=object, body={"requests": 7})
    assert api.rows("request")[2]["detail"]["prompt"] == "unreadable-body"
    assert api.rows("request")[2]["endpoint"] == "unreadable"


def test_the_async_client_is_recorded_alike(log: AuditLog) -> None:
    """Calls, streams, errors and denials."""
    api = Api(log, faults=[Fault.status(500, requests={3, 4})])
    deny = Authorize([])

    async def run() -> None:
        client = api.fake.async_client(middleware=api.middleware, max_retries=0)
        await client.messages.create(**ASK)
        async for _ in await client.messages.create(**ASK, stream=True):
            pass
        for stream in (False, True):
            with pytest.raises(InternalServerError):
                await client.messages.create(**ASK, stream=stream)
        strict = client.with_options(middleware=[*api.middleware, deny])
        with acting_as(ADA), pytest.raises(NotAuthorized):
            await strict.messages.create(**ASK)
        dropped: Any = await client.messages.create(**ASK, stream=True)
        await dropped.close()

    asyncio.run(run())
    assert [row["event"] for row in api.rows() if row["event"] != "request"] == [
        "response", "response", "error", "error", "denied", "response"]  # fmt: skip
    assert repr(api.middleware[0]) == "Audit"


CANARY, ADDRESS = "sk-ant-api03-" + "Canary7" * 8, "canary@example.com"


def test_a_canary_never_reaches_the_database_its_wal_or_a_log(
    log: AuditLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Prompt, system, tool result, model name, error body, exception text, answer."""
    secret = f"{CANARY} {ADDRESS}"

    def explode(request: Any, call_next: Any) -> Any:
        raise RuntimeError(secret)

    api = Api(log, Error(400, message=secret), Error(400, type=secret), secret)
    result = {"type": "tool_result", "tool_use_id": "t", "content": secret}
    bodies = [
        {**ASK, "messages": [{"role": "user", "content": secret}]},
        {**ASK, "system": secret, "messages": [{"role": "user", "content": [result]}]},
        {**ASK, "model": secret},
        ASK,
    ]
    broken = api.client.with_options(middleware=[*api.middleware, explode])
    with caplog.at_level("INFO"):
        for client in (api.client, broken):
            for body in bodies:
                try:
                    client.messages.create(**body)
                except Exception as error:
                    assert error  # noqa: PT017  # any; what counts is what was written
    files = [*log.path.parent.iterdir()]
    assert any(file.name.endswith("-wal") for file in files)
    for file in files:
        content = file.read_bytes()
        assert CANARY.encode() not in content
        assert b"canary" not in content
    assert CANARY not in caplog.text
    assert {row["model"] for row in api.rows("request")} == {HAIKU, "not a name"}


def test_a_prompt_is_recorded_as_a_keyed_fingerprint_or_redacted(
    log: AuditLog, tmp_path: Path
) -> None:
    """A plain hash could be reversed by trying likely prompts; another key gives another one."""
    api = Api(log)
    api.client.messages.create(**ASK)
    api.client.messages.create(**ASK)
    one, two = (row["detail"]["prompt"] for row in api.rows("request"))
    assert one == two
    for other_prompt in (
        {"messages": [{"role": "user", "content": "Hallo"}]},
        {"system": "Be brief."},
        {"tools": [{"name": "x", "input_schema": {"type": "object"}}]},
    ):
        api.client.messages.create(**{**ASK, **other_prompt})
    assert len({row["detail"]["prompt"] for row in api.rows("request")}) == 4
    assert len(one) == 32
    with AuditLog(tmp_path / "other.db", b"x" * 32) as other:
        assert other.hash("Hello") != log.hash("Hello")
        assert other.hash("\ud800") != other.hash("\ud801")
    readable = Api(log, text=lambda text: redact(text).text)
    readable.client.messages.create(**{**ASK, "system": f"I am {ADDRESS}"})
    assert readable.rows("request")[-1]["detail"]["prompt"] == "I am [EMAIL]\nHello"


@pytest.mark.parametrize("nasty", ["a\nb", "\x1b[2J", "\u202egnp", "a\u2028b", '"}{"', "\ud800"])
def test_log_injection_is_escaped(log: AuditLog, nasty: str) -> None:
    """New lines, ANSI, U+202E and U+2028 stay inside one line of ASCII."""
    log.append("request", {"user": "u", "note": nasty}, call=nasty)
    with contextlib.closing(sqlite3.connect(log.path)) as file:
        (row,) = file.execute("SELECT body || detail FROM audit").fetchone()
    (line,) = export(log.rows())
    for written in (row, line):
        assert written.isascii()
        assert written.isprintable()
    assert json.loads(line)["call"] == nasty
    assert canonical({"b": nasty, "a": 1}).startswith('{"a":1,')


def tampered(path: Path, *statements: str) -> Any:
    with sqlite3.connect(path) as db:
        for statement in statements:
            db.execute(statement)
    db.close()
    with AuditLog(path, KEY) as log:
        return log.verify()


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_every_edit_deletion_and_reordering_is_found(data: st.DataObject) -> None:
    """Of any row but the last, deletions are found too; the last needs an anchor."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.db"
        filled(path).close()
        row = data.draw(st.integers(1, 6))
        other = data.draw(st.integers(1, 6).filter(lambda other: other != row))
        statements = data.draw(
            st.sampled_from(
                [
                    [f"UPDATE audit SET body = replace(body, 'c', 'd') WHERE seq = {row}"],
                    [f"UPDATE audit SET mac = zeroblob(32) WHERE seq = {row}"],
                    [f"UPDATE audit SET detail = replace(detail, 'user', 'x') WHERE seq = {row}"],
                    [f"UPDATE audit SET detail = NULL WHERE seq = {row}"],
                    [f"DELETE FROM audit WHERE seq = {min(row, 5)}"],
                    [f"UPDATE audit SET seq = 99 WHERE seq = {row}"],
                    [
                        f"UPDATE audit SET seq = 100 WHERE seq = {row}",
                        f"UPDATE audit SET seq = {row} WHERE seq = {other}",
                        f"UPDATE audit SET seq = {other} WHERE seq = 100",
                    ],
                    [f"INSERT INTO audit SELECT 7, body, detail, mac FROM audit WHERE seq = {row}"],
                ]
            )
        )
        verdict = tampered(path, *statements)
        assert not verdict.intact
        assert verdict.broken_at is not None
        assert str(verdict.broken_at) in verdict.problem or "missing" in verdict.problem


def test_a_cut_tail_is_found_with_the_anchored_head(tmp_path: Path) -> None:
    """Without the anchor nothing shows; with it even a tail that has grown again does."""
    path = tmp_path / "audit.db"
    log = filled(path)
    head = log.head()
    log.close()
    cut = tampered(path, "DELETE FROM audit WHERE seq > 3")
    assert cut.intact
    with AuditLog(path, KEY) as log:
        assert log.verify(head=head).broken_at == 4
        for _ in range(5):
            log.append("request")
        assert log.verify().intact
        assert log.verify(head=head).problem == "the anchored row is not there"
        assert log.verify(head=log.head()).intact


def test_detail_that_was_never_there_cannot_be_added(tmp_path: Path) -> None:
    """A row without a personal part has no place for one."""
    path = tmp_path / "audit.db"
    with AuditLog(path, KEY) as log:
        log.append("request")
    assert not tampered(path, "UPDATE audit SET detail = '{}' WHERE seq = 1").intact


def test_erasure_by_pseudonym_leaves_a_chain_that_verifies(tmp_path: Path) -> None:
    """The person is gone from the file; the log says which rows were erased, not whose."""
    path = tmp_path / "audit.db"
    with filled(path) as log:
        log.append("response", call="c0")
        assert [row["seq"] for row in log.rows(user="user_0")] == [1, 3, 5, 7]
        assert log.erase("user_0") == 3
        verdict = log.verify()
        assert (verdict.intact, verdict.erased, verdict.rows) == (True, 3, 8)
        assert list(log.rows(user="user_0")) == []
        assert [row["detail"] for row in log.rows()][:2] == [None, {"user": "user_1"}]
        assert b"user_0" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    with pytest.raises(AuditUnavailable, match="closed"):
        log.append("request")


def test_what_was_erased_is_in_no_free_page_of_the_file(tmp_path: Path) -> None:
    """Also where it was too long for one page; and a salt hides equal details from each other."""
    with AuditLog(tmp_path / "audit.db", KEY) as log:
        log.append("request", {"user": "ada", "prompt": "canary " * 5_000})
        log.append("request", {"user": "bob", "prompt": "x"})
        (detail,) = log._db.execute("SELECT detail FROM audit WHERE seq = 2").fetchone()
        assert len(json.loads(detail)["salt"]) == 16
        log.erase("ada")
    assert b"canary" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


def test_what_is_broken_after_a_retention_is_counted_from_there(log: AuditLog) -> None:
    """Rows that are right, and the number of the first that is not."""
    for _ in range(8):
        log.append("request")
    log.retain(since=START + timedelta(seconds=4))
    first = next(log.rows())["seq"]
    verdict = tampered(log.path, f"UPDATE audit SET body = '{{}}' WHERE seq = {first + 2}")
    assert (verdict.rows, verdict.broken_at) == (2, first + 2)


def test_retention_keeps_a_checkpoint_that_cannot_be_forged(log: AuditLog) -> None:
    """Old rows go, the rest still verifies, and the removal is a row itself."""
    for number in range(10):
        log.append("request", call=str(number))
    head = log.head()
    assert log.retain(since=START + timedelta(seconds=4)) == 4
    assert log.verify(head=head) == Verdict(7)
    assert [row["seq"] for row in log.rows()] == [*range(5, 12)]
    last = list(log.rows())[-1]
    assert (last["event"], last["before"]) == ("retention", 5)
    assert log.retain(since=START) == 0
    for old in (2, 4):
        assert log.verify(head=Head(old, "old")).intact
    cut = log.verify(head=Head(99, "new"))
    assert (cut.rows, cut.broken_at, cut.intact) == (7, 12, False)
    assert log.retain(since=START + timedelta(days=1)) == 7
    assert log.head().seq == 12
    verdict = tampered(log.path, "UPDATE checkpoint SET seq = 3")
    assert (verdict.intact, verdict.rows, verdict.broken_at, verdict.problem) == (
        False,
        0,
        0,
        "the checkpoint is not signed with this key",
    )


def test_an_empty_log_of_another_key_takes_no_row(log: AuditLog) -> None:
    """Its checkpoint is signed."""
    log.append("request")
    log.retain(since=START + timedelta(days=1))
    log._db.execute("DELETE FROM audit")
    with AuditLog(log.path, b"x" * 32) as other, pytest.raises(WrongKey):
        other.append("request")


def test_what_is_broken_after_a_retention_is_counted_without_what_went(log: AuditLog) -> None:
    """Whichever way it is broken."""
    for _ in range(8):
        log.append("request", {"user": "ada"})
    log.retain(since=START + timedelta(seconds=4))
    verdict = tampered(log.path, "UPDATE audit SET detail = NULL WHERE seq = 7")
    assert (verdict.rows, verdict.broken_at) == (5, 7)


def test_a_log_that_is_empty_after_retention_goes_on(log: AuditLog) -> None:
    """The next row follows the checkpoint, and one that a live writer remembers leaves a gap."""
    log.append("request")
    log.retain(since=START + timedelta(days=1))
    with AuditLog(log.path, KEY) as again:
        again.append("request")
        assert again.verify().intact
    log._db.execute("DELETE FROM audit")
    with AuditLog(log.path, KEY) as emptied:
        assert emptied.append("request") == 2
        assert emptied.verify().intact
        emptied._db.execute("DELETE FROM audit")
        assert emptied.append("request") == 3
        assert emptied.verify().problem == "row 2 is missing"


def test_the_wrong_key_writes_nothing(tmp_path: Path) -> None:
    """Nor a short one."""
    path = tmp_path / "audit.db"
    filled(path).close()
    with AuditLog(path, b"x" * 32) as log:
        with pytest.raises(WrongKey, match="another key"):
            log.append("request")
        assert log.verify().broken_at == 1
        api = Api(log)
        with pytest.raises(WrongKey):
            api.client.messages.create(**ASK)
        assert api.fake.journal == []
    with pytest.raises(ValueError, match="5 bytes"):
        AuditLog(path, b"short")


def test_a_database_that_is_locked_stops_calls_before_they_are_sent(log: AuditLog) -> None:
    """Nothing is sent that cannot be recorded."""
    api = Api(log)
    other = sqlite3.connect(log.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(AuditUnavailable, match="locked"):
        api.client.messages.create(**ASK)
    other.execute("ROLLBACK")
    other.close()
    assert api.fake.journal == []
    api.client.messages.create(**ASK)


def test_a_disk_that_is_full_stops_calls_before_they_are_sent(log: AuditLog) -> None:
    """The file may not grow: what was written stays, and verifies."""
    api = Api(log)
    api.client.messages.create(**ASK)
    pages = log._db.execute("PRAGMA page_count").fetchone()[0]
    log._db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(AuditUnavailable, match="full"):
        for _ in range(200):
            api.client.messages.create(**ASK)
    sent = len(api.fake.journal)
    with pytest.raises(AuditUnavailable):
        api.client.messages.create(**ASK)
    assert len(api.fake.journal) == sent
    log._db.execute(f"PRAGMA max_page_count={pages + 1_000}")
    api.client.messages.create(**ASK)
    assert (log.kept, log.verify().intact) == (0, True)
    assert len(api.rows("response")) == len(api.fake.journal)


def test_a_row_about_an_answer_waits_until_the_log_is_free_again(log: AuditLog) -> None:
    """The answer is paid for; its row is kept and written before the next one."""
    other = sqlite3.connect(log.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert log.write(log.row("response", call="a"), keep=True) == 0
    assert asyncio.run(log.write_async(log.row("response", call="b"), keep=True)) == 0
    assert log.kept == 2
    assert log.head().seq == 0
    other.execute("ROLLBACK")
    other.close()
    assert (log.verify().rows, log.kept) == (2, 0)
    asyncio.run(log.write_async(log.row("request", call="c")))
    assert [row["call"] for row in log.rows()] == ["a", "b", "c"]
    log._later.put(log.row("response", call="d"))
    log.close()
    with AuditLog(log.path, KEY) as again:
        assert [row["call"] for row in again.rows()][-1] == "d"


def test_the_event_loop_is_not_blocked_by_another_writer(tmp_path: Path) -> None:
    """Waiting for the file happens in a thread."""

    async def run() -> int:
        with AuditLog(tmp_path / "audit.db", KEY) as log:
            other = sqlite3.connect(log.path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            writing = asyncio.create_task(log.write_async(log.row("request")))
            await asyncio.sleep(0)
            assert not writing.done()
            other.execute("ROLLBACK")
            other.close()
            first = await writing
            with log._lock:
                blocked = threading.Thread(target=log.append, args=("request",))
                blocked.start()
                last = await log.write_async(log.row("request"))
            blocked.join()
            assert last == 2
            return first + len(list(log.rows()))

    assert asyncio.run(run()) == 4


def test_a_writer_in_another_thread_is_waited_for_in_a_thread(log: AuditLog) -> None:
    """The lock of the log is not waited for in the loop either."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with log._lock:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()

    async def run() -> int:
        writing = asyncio.create_task(log.write_async(log.row("request")))
        await asyncio.sleep(0)
        assert not writing.done()
        release.set()
        return await writing

    assert asyncio.run(run()) == 1
    thread.join()


def test_a_call_that_is_cancelled_beside_a_locked_log_has_its_row(log: AuditLog) -> None:
    """As when a browser goes away: the row is waited for, though nobody waits for the answer."""
    other = sqlite3.connect(log.path, isolation_level=None, check_same_thread=False)

    def free(seconds: float) -> None:
        if other.in_transaction:
            other.execute("ROLLBACK")

    log._sleep = free

    async def run() -> None:
        async def gone(request: httpx2.Request) -> httpx2.Response:
            other.execute("BEGIN IMMEDIATE")
            scope.cancel()
            await anyio.sleep_forever()
            raise AssertionError

        http = httpx2.AsyncClient(transport=httpx2.MockTransport(gone))
        client = AsyncAnthropic(api_key="t", http_client=http, middleware=[Audit(log, KEY)])
        with anyio.CancelScope() as scope:
            await client.messages.create(**ASK)

    asyncio.run(run())
    other.close()
    assert [(row["event"], row.get("error")) for row in log.rows()] == [
        ("request", None),
        ("error", "CancelledError"),
    ]


def test_a_writer_waits_as_long_as_it_was_told_and_looks_ever_more_rarely(tmp_path: Path) -> None:
    """From a millisecond to 25, and no longer in all than `wait`."""
    slept: list[float] = []
    log = AuditLog(tmp_path / "audit.db", KEY, wait=0.1, sleep=slept.append)
    with contextlib.closing(sqlite3.connect(log.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(AuditUnavailable, match="locked"):
            log.append("request")
    assert slept[:5] == [0.001, 0.002, 0.004, 0.008, 0.016]
    assert (min(slept), max(slept)) == (0.001, 0.025)
    assert sum(slept) == pytest.approx(0.1)
    log.close()


def test_a_queued_row_is_tried_again_while_another_process_holds_the_file(tmp_path: Path) -> None:
    """By the log's own thread, a little later."""
    waits, free, written = threading.Event(), threading.Event(), threading.Event()
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        waits.set()
        assert free.wait(30)

    log = AuditLog(tmp_path / "audit.db", KEY, sleep=sleep)
    with contextlib.closing(sqlite3.connect(log.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        log.queue(log.row("response"))
        assert waits.wait(30)
        assert (slept[0], log.kept) == (0.05, 1)
        other.execute("ROLLBACK")
    log._db.set_trace_callback(lambda query: written.set() if query == "COMMIT" else None)
    free.set()
    assert written.wait(30)
    log._db.set_trace_callback(None)
    log.close()
    with AuditLog(log.path, KEY) as again:
        assert again.verify().rows == 1


def test_a_closed_or_foreign_file_is_unavailable(tmp_path: Path) -> None:
    """With the reason that SQLite gives."""
    log = AuditLog(tmp_path / "audit.db", KEY)
    log.close()
    with pytest.raises(AuditUnavailable, match="closed"):
        log.append("request")
    with pytest.raises(AuditUnavailable, match="closed"):
        asyncio.run(log.write_async(log.row("request")))
    gone = AuditLog(tmp_path / "gone.db", KEY)
    gone.path.unlink()
    erase, retain = partial(gone.erase, "ada"), partial(gone.retain, since=START)
    append, rows = partial(gone.append, "request"), partial(next, gone.rows())
    for look in (append, erase, retain, gone.verify, gone.tail, gone.head, rows):
        with pytest.raises(AuditUnavailable, match="gone"):
            look()
    (tmp_path / "text.db").write_text("not a database, and long enough to be none" * 20)
    with pytest.raises(AuditUnavailable, match="not a database"):
        AuditLog(tmp_path / "text.db", KEY)


@pytest.mark.parametrize("closes", [False, True])
def test_the_thread_of_a_log_ends_with_it(tmp_path: Path, closes: bool) -> None:
    """Closed, or forgotten."""
    before = set(threading.enumerate())
    log = AuditLog(tmp_path / "audit.db", KEY)
    (thread,) = set(threading.enumerate()) - before
    assert thread.daemon  # nor does it keep a program from ending that forgot to close the log
    if closes:
        log.close()
    else:
        log._db.close()
    del log
    thread.join(30)
    assert not thread.is_alive()


def test_a_full_disk_is_not_taken_for_a_busy_one(log: AuditLog) -> None:
    """The async append says so at once; a later row is kept."""
    log._db.execute("PRAGMA query_only=ON")
    with pytest.raises(AuditUnavailable, match="readonly"):
        asyncio.run(log.write_async(log.row("request")))
    asyncio.run(log.write_async(log.row("response"), keep=True))
    assert log.kept == 1
    log._db.execute("PRAGMA query_only=OFF")


def test_a_row_survives_a_power_cut_where_that_is_asked_for(tmp_path: Path) -> None:
    """One flush per row."""
    with AuditLog(tmp_path / "audit.db", KEY, survive="power") as log:
        assert log._db.execute("PRAGMA synchronous").fetchone() == (2,)
    with AuditLog(tmp_path / "audit.db", KEY) as log:
        assert log._db.execute("PRAGMA synchronous").fetchone() == (1,)


def _write(path: str, rows: int, number: int) -> None:
    with AuditLog(path, KEY, wait=60) as log:
        for row in range(rows):
            log.append("request", call=f"{number}-{row}")


@pytest.mark.parametrize(
    ("writers", "rows"), [(2, 40), pytest.param(8, 5_000, marks=pytest.mark.soak)]
)
def test_concurrent_writers_make_one_intact_chain(tmp_path: Path, writers: int, rows: int) -> None:
    """8 concurrent writers: every row is there, each once, in one chain."""
    path = tmp_path / "audit.db"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write, args=(str(path), rows, n)) for n in range(writers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    with AuditLog(path, KEY) as log:
        assert log.verify().rows == writers * rows
        assert len({row["call"] for row in log.rows()}) == writers * rows


def _write_until_killed(path: str, told: Any) -> None:
    log = AuditLog(path, KEY, wait=60)
    while True:
        told.send(log.append("request"))


def test_writers_that_take_turns_follow_each_other(tmp_path: Path) -> None:
    """Each remembers its own last row, and notices that another one has written since."""
    path = tmp_path / "audit.db"
    with AuditLog(path, KEY) as one, AuditLog(path, KEY) as other:
        numbers = [log.append("request") for log in (one, one, other, other, one, other)]
        assert numbers == [1, 2, 3, 4, 5, 6]
        assert (one.verify().intact, one.verify().rows) == (True, 6)


def test_a_kept_row_outlives_a_transaction_that_fails(log: AuditLog) -> None:
    """It is written with the next one, before what comes after it."""
    blocker = sqlite3.connect(log.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    log.write(log.row("response"), keep=True)
    blocker.close()
    with pytest.raises(ZeroDivisionError), log.writing():
        raise ZeroDivisionError
    assert log.kept == 1
    log.append("request")
    assert [row["event"] for row in log.rows()] == ["response", "request"]


@pytest.mark.parametrize("trials", [1, pytest.param(20, marks=pytest.mark.soak)])
def test_a_killed_writer_loses_no_committed_row(tmp_path: Path, trials: int) -> None:
    """`kill -9` in mid-write: what was reported as written is there, and the file verifies."""
    context = multiprocessing.get_context("spawn")
    for trial in range(trials):
        ours, theirs = context.Pipe(duplex=False)
        writer = context.Process(target=_write_until_killed, args=(str(tmp_path / "a.db"), theirs))
        writer.start()
        theirs.close()
        last = 0
        while last < (trial + 1) * 25:
            last = ours.recv()
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        with AuditLog(tmp_path / "a.db", KEY) as log:
            assert log.verify().intact
            assert log.head().seq >= last


def test_all_rows_are_read_however_many_there_are(tmp_path: Path) -> None:
    """And those of one call belong together, however far apart."""
    with AuditLog(tmp_path / "audit.db", KEY) as log:
        log.append("request", {"user": "ada"}, call="c0")
        with log.writing():
            for number in range(2_100):
                log.insert(log.row("response", call=f"c{number}"))
        assert [row["seq"] for row in log.rows()] == [*range(1, 2_102)]
        assert [row["seq"] for row in log.rows(user="ada")] == [1, 2]
        assert [row["seq"] for row in log.tail()] == [*range(2_092, 2_102)]


def test_a_key_is_rotated_without_a_new_log(tmp_path: Path) -> None:
    """Old rows still verify; the old key signs nothing after the new one."""
    path, old, new = tmp_path / "audit.db", b"o" * 32, b"n" * 32
    with AuditLog(path, {"2026": old}) as log:
        log.append("request", {"user": "u"}, call="a")
    ring = {"2026": old, "2027": new}
    with AuditLog(path, ring) as log:
        log.append("request", {"user": "u"}, call="b")
        assert log.retain(since=START) == 0
        assert log.verify().rows == 2
        assert [row["key"] for row in log.rows()] == ["2026", "2027"]
        assert log.erase("u") == 2
        assert log.verify().erased == 2
    with AuditLog(path, {"2026": old}) as stale, pytest.raises(WrongKey):
        stale.append("request")
    with AuditLog(path, {"2027": new, "2026": old}) as backwards:
        backwards.append("request")
    with AuditLog(path, ring) as log:
        assert not log.verify().intact
    with pytest.raises(ValueError, match="empty"):
        AuditLog(path, {})


def test_a_checkpoint_outlives_its_key(tmp_path: Path) -> None:
    """Retention under the old key, and on with the new one."""
    path, old, new = tmp_path / "audit.db", b"o" * 32, b"n" * 32
    with AuditLog(path, {"a": old}) as log:
        log.append("request")
        assert log.retain(since=datetime(2100, 1, 1, tzinfo=UTC)) == 1
    with AuditLog(path, {"a": old, "b": new}) as log:
        log.append("request")
        assert log.verify().intact


@pytest.mark.parametrize("body", ["[]", "no json"])
def test_a_row_that_is_no_row_is_found(tmp_path: Path, body: str) -> None:
    """Whatever somebody wrote into the file."""
    path = tmp_path / "audit.db"
    filled(path).close()
    assert not tampered(path, f"UPDATE audit SET body = '{body}' WHERE seq = 2").intact


def test_the_tail_is_read_alone(tmp_path: Path) -> None:
    """Not the million rows before it."""
    with filled(tmp_path / "audit.db", 20) as log:
        seen: list[str] = []
        log._db.set_trace_callback(seen.append)
        assert [row["seq"] for row in log.tail(3)] == [18, 19, 20]
        log._db.set_trace_callback(None)
        assert len([query for query in seen if "LIMIT 3" in query]) == 1
        assert [row["seq"] for row in log.rows()] == [*range(1, 21)]


def test_rows_say_what_was_asked_for(log: AuditLog) -> None:
    """Models, tools, caps and attachments; nothing of it is free text."""
    api = Api(log)
    image = {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}
    tools = [{"name": "look", "input_schema": {"type": "object"}}, {"name": "a b c"}]
    paper = {"type": "document", "source": {"type": "url", "url": "https://x.example/a.pdf"}}
    turns = [{"role": "user", "content": [image, paper, paper, {"type": "text", "text": "Hi"}]}]
    items = [
        {"custom_id": "a", "params": {**ASK, "messages": turns, "tools": tools}},
        {"custom_id": "b", "params": {**ASK, "model": "claude-opus-5-5"}},
    ]
    with pytest.raises(APIStatusError):
        api.client.post("/v1/messages/batches", cast_to=object, body={"requests": items * 2})
    (row,) = api.rows("request")
    assert row["models"] == [HAIKU, "claude-opus-5-5"]
    assert row["tools"] == ["look", "not a name"]
    assert (row["items"], row["max_tokens"], row["images"], row["documents"]) == (4, 400, 2, 4)


def test_rows_go_to_opentelemetry_as_log_records(log: AuditLog) -> None:
    """One record a row, with the documented fields as attributes."""
    log.append("request", {"user": "user_1"}, call="c", models=["m"])
    log.append("denied", rule="x", ms=1.5)
    emitted: list[Any] = []

    class Logger:
        def emit(self, record: Any) -> None:
            emitted.append(record)

    assert emit(log.rows(), Logger()) == 2
    first, second = emitted
    assert first.event_name == "claude.audit.request"
    assert first.attributes["claude.audit.models"] == '["m"]'
    assert second.attributes["claude.audit.rule"] == "x"
    assert (first.attributes["claude.audit.seq"], second.attributes["claude.audit.ms"]) == (1, 1.5)
    assert json.loads(first.attributes["claude.audit.detail"]) == {"user": "user_1"}
    assert "claude.audit.detail" not in second.attributes
    assert json.loads(second.body) == [*log.rows()][1]
    assert datetime.fromtimestamp(first.timestamp / 1e9, UTC) == START
    assert first.observed_timestamp == first.timestamp
    assert second.timestamp - first.timestamp == 1_000_000_000


def test_queued_rows_are_written_by_the_thread_of_the_log(log: AuditLog) -> None:
    """Without another append; while the file is locked, it waits."""
    written = threading.Event()
    original = log.write_queued

    def told() -> None:
        original()
        if log.kept == 0:
            written.set()

    log.write_queued = told  # type: ignore[method-assign]
    log.queue(log.row("response", call="a"))
    assert written.wait(10)
    other = sqlite3.connect(log.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    written.clear()
    log.queue(log.row("response", call="b"))
    while log.kept == 0:
        pass
    other.execute("ROLLBACK")
    other.close()
    assert written.wait(10)
    assert [row["call"] for row in log.rows()] == ["a", "b"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_answer_is_not_lost_to_a_log_that_is_busy_when_it_comes(
    log: AuditLog, kind: str
) -> None:
    """It is paid for; its row is kept, and written later."""
    other = sqlite3.connect(log.path, isolation_level=None, check_same_thread=False)

    def answer(request: httpx2.Request) -> httpx2.Response:
        other.execute("BEGIN IMMEDIATE")
        return httpx2.Response(200, json={"stop_reason": "end_turn"})

    options: Any = {
        "api_key": "t",
        "middleware": [Audit(log, KEY, timer=iter([5, 5.1234567]).__next__)],
    }
    transport = httpx2.MockTransport(answer)

    async def run() -> None:
        http = httpx2.AsyncClient(transport=transport)
        assert (
            await AsyncAnthropic(http_client=http, **options).messages.create(**ASK)
        ).stop_reason

    if kind == "sync":
        http = httpx2.Client(transport=transport)
        assert Anthropic(http_client=http, **options).messages.create(**ASK).stop_reason
    else:
        asyncio.run(run())
    assert log.kept == 1
    other.close()
    asked, answered = log.rows()
    assert (answered["call"], answered["ms"]) == (asked["call"], 123.457)


def test_a_row_costs_little_disk(tmp_path: Path) -> None:
    """It is small, and each commit writes whole pages."""
    with AuditLog(tmp_path / "audit.db", KEY) as log:
        wal = tmp_path / "audit.db-wal"
        before = wal.stat().st_size
        for number in range(100):
            log.append("request", {"user": "user_1"}, call=f"c{number}", model=HAIKU)
        assert (wal.stat().st_size - before) / 100 < 3_000


def test_where_nothing_is_queued_nothing_is_waited_for(log: AuditLog) -> None:
    """Another append has taken the rows along, and another process writes by now."""
    other = sqlite3.connect(log.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    log.write_queued()
    other.execute("ROLLBACK")
    other.close()
    assert [*log.rows()] == []
