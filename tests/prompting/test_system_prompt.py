"""build_system_prompt(): what stays the same, what differs, and what is refused."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from patterns.core.models import SONNET
from patterns.fake_api import FakeAPI
from patterns.prompting import UserContext, build_system_prompt
from patterns.prompting.system_prompt import Level, NaiveTime

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ALICE = UserContext(name="Alice", level="expert", concise=True, examples=True, domain="health")


def prompt(user: UserContext = ALICE, now: datetime = NOON, zone: Any = UTC) -> list[Any]:
    return [*build_system_prompt("Be helpful.", user, clock=lambda: now, zone=zone)]


def test_the_shared_block_comes_first_and_carries_the_breakpoint() -> None:
    """It is the same for everybody, whatever else is known."""
    stable, _ = prompt()
    assert stable == {
        "type": "text",
        "text": "Be helpful.",
        "cache_control": {"type": "ephemeral"},
    }
    assert prompt(UserContext(), NOON + timedelta(days=3))[0] == stable


def test_the_second_block_says_who_asks_and_what_day_it_is() -> None:
    """Wishes as sentences, facts as tags, the time no finer than the part of the day."""
    assert prompt()[1]["text"] == (
        "Use technical terms freely and skip the basics.\n"
        "Keep answers under 120 words.\n"
        "Give one worked example.\n"
        "<user_name>\nAlice\n</user_name>\n"
        "<user_domain>\nhealth\n</user_domain>\n"
        "It is Saturday 2026-11-21, afternoon, in UTC."
    )


def test_unknown_facts_leave_no_trace() -> None:
    """An empty tag would only raise questions."""
    assert prompt(UserContext())[1]["text"] == (
        "Use common terms freely and explain rare ones.\n"
        "It is Saturday 2026-11-21, afternoon, in UTC."
    )


def test_every_level_has_its_own_tone() -> None:
    """The well-known version says nothing for `intermediate`."""
    levels: tuple[Level, ...] = ("beginner", "intermediate", "expert")
    tones = {prompt(UserContext(level=level))[1]["text"].splitlines()[0] for level in levels}
    assert len(tones) == 3


@pytest.mark.parametrize(
    ("hour", "part"), [(0, "morning"), (11, "morning"), (12, "afternoon"), (17, "evening")]
)
def test_minutes_do_not_show_and_parts_of_the_day_do(hour: int, part: str) -> None:
    """At most three texts a day for one user."""
    texts = {prompt(now=NOON.replace(hour=hour, minute=minute))[1]["text"] for minute in range(60)}
    assert len(texts) == 1
    assert f", {part}, " in texts.pop()


def test_the_day_is_that_of_the_user() -> None:
    """Noon in UTC is the next day already where the Line Islands are."""
    islands = timezone(timedelta(hours=14))
    assert "Sunday 2026-11-22, morning, in UTC+14:00" in prompt(zone=islands)[1]["text"]
    assert "afternoon, in Europe/Berlin." in prompt(zone=ZoneInfo("Europe/Berlin"))[1]["text"]


def test_a_clock_without_a_zone_is_refused() -> None:
    """Nobody could say whose afternoon that is."""
    with pytest.raises(NaiveTime, match="2026-11-21 12:00:00, no moment with a zone") as caught:
        prompt(now=NOON.replace(tzinfo=None))
    assert caught.value.now == NOON.replace(tzinfo=None)


@pytest.mark.parametrize("field", [{"level": "guru"}, {"expertise": "expert"}])
def test_a_mistyped_level_or_field_is_refused(field: dict[str, Any]) -> None:
    """It would otherwise be ignored without a word."""
    with pytest.raises(ValidationError):
        UserContext(**field)


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_user_can_write_a_tag_or_reach_the_shared_block(name: str, domain: str) -> None:
    """User data stays in its two tags."""
    stable, mine = prompt(UserContext(name=name, domain=domain))
    assert stable["text"] == "Be helpful."
    assert mine["text"].count("<") == 4


def test_two_users_on_two_days_read_one_cache_entry() -> None:
    """The point of the order, with the fake API's cache accounting."""
    api = FakeAPI()
    client, usages = api.client(), []
    for user, days in [(ALICE, 0), (UserContext(name="Bob"), 1)]:
        system = prompt(user, NOON + timedelta(days=days))
        system[0]["text"] *= 200
        turns: Any = [{"role": "user", "content": "Hi"}]
        message = client.messages.create(
            model=SONNET, max_tokens=100, system=system, messages=turns
        )
        usages.append(message.usage)
    assert usages[0].cache_creation_input_tokens
    assert usages[1].cache_read_input_tokens == usages[0].cache_creation_input_tokens


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_blank_instructions_are_left_out(blank: str) -> None:
    """The API refuses blank text with a 400, and a breakpoint on it as well."""
    system = build_system_prompt(blank, ALICE, clock=lambda: NOON, zone=UTC)
    assert system == prompt()[1:]
    turn: Any = {"role": "user", "content": "Hi"}
    client = FakeAPI().client()
    assert client.messages.create(model=SONNET, max_tokens=9, system=system, messages=[turn])
