"""The day of chapter 09: what was blocked, lost and paid, against the books of the fake API."""

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from exercises.putting_it_together import BOOKS
from matplotlib import pyplot as plt
from servers.day import KILLS, Day, authored, tickets, usd, without
from servers.desk import directly, ended
from servers.orders import Orders

from patterns.core.pricing import cost_usd
from patterns.course.views import desk as views
from patterns.fake_api import FakeAPI, Fault
from patterns.mcp_session import ToolSession


async def whole_day() -> Day:
    """From eight to the end of the night's batch."""
    async with Day() as day:
        await day.work(tickets())
        await day.night()
        return day


@pytest.fixture(scope="module")
def day() -> Day:
    """One day for all tests."""
    return asyncio.run(whole_day())


def test_every_ticket_has_one_end(day: Day) -> None:
    """None is lost, none ends twice, as the learner's own books have it."""
    names: dict[str, Any] = {}
    exec(BOOKS.solution, names)
    arrived = [arrival.ticket["id"] for arrival in tickets()]
    ends = [(row.arrival.ticket["id"], row.made["state"]) for row in day.rows]
    assert names["answer"](arrived, ends) == ([], [])
    assert day.states() == Counter(sent=188, held=7, blocked=5)


def test_the_state_says_what_a_ticket_was(day: Day) -> None:
    """Attacks are blocked, what is for a person is held, and everything else was answered."""
    ends = Counter((row.arrival.kind, row.made["state"]) for row in day.rows)
    assert ends["attack", "blocked"] == 5
    assert ends["ill", "held"] + ends["advice", "held"] == 7
    assert {kind for kind, state in ends if state == "blocked"} == {"attack"}
    assert "Ignore all previous" not in str([entry.body for entry in day.api.journal])


def test_a_killed_worker_costs_one_step_and_no_money_of_the_shops(day: Day) -> None:
    """Five were killed; the refund among them was asked for twice and paid once."""
    assert day.steps.again == Counter(step for _, step in KILLS)
    refunded = [
        row.arrival.ticket["id"]
        for row in day.rows
        if row.arrival.kind in ("refund", "urgent") and row.made["state"] == "sent"
    ]
    by_day = {f"T-{order - 100}" for order in day.orders.refunds()}
    assert by_day <= set(refunded)
    assert len(by_day) == len(day.orders.refunds())


def test_records_reconcile_with_the_books_of_the_api(day: Day) -> None:
    """Calls, tokens and dollars, to the last digit, plain calls and the batch."""
    records = [record for row in day.rows for record in row.records]
    billed = [entry for entry in day.api.journal if entry.usage and entry.path == "/v1/messages"]
    plain = [record for record in records if not record.batch and record.tokens.output]
    assert len(billed) == len(plain)
    prices = [cost_usd(entry.body["model"], entry.usage) for entry in billed]
    assert sum(price for price in prices if price is not None) == usd(plain)
    assert len([record for record in records if record.batch]) == 54
    assert Decimal("0.2") < usd(records) < Decimal("0.35")


def test_the_budget_of_the_day_is_kept(day: Day) -> None:
    """What it does not allow waits for the night."""
    plain = [record for row in day.rows for record in row.records if not record.batch]
    throttled = [row for row in day.rows if row.made["why"] == "rate-limit"]
    assert usd(plain) < Decimal("0.25")
    assert {row.made["state"] for row in throttled} == {"tonight"}


def test_the_overload_burns_the_budget_and_pages_in_its_hour_alone(day: Day) -> None:
    """Above 14.4 at eleven, and the day's budget is overspent."""
    assert [hour for hour, rate in day.burns().items() if rate > views.PAGE] == [11]
    assert day.budget().left < 0


def test_each_pattern_saves_and_the_votes_cost(day: Day) -> None:
    """The handbook in the cache saves most."""
    saved = {name[-3:-1]: before - after for name, before, after in without(day)}
    assert max(saved, key=lambda name: saved[name]) == "07"
    assert [name for name, usd in saved.items() if usd < 0] == ["06"]


def test_the_audit_log_is_whole(day: Day) -> None:
    """And holds every denial."""
    assert day.log.verify().intact
    denied = [row for row in day.log.rows() if row["event"] == "denied"]
    assert sum(row.get("rule") == "content" for row in denied) == 5


def test_the_page_of_figures_says_its_numbers(
    day: Day, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alt text holds what is drawn; tables are shortened."""
    plt.switch_backend("agg")
    monkeypatch.setattr("IPython.display.display", lambda *things, **_: None)
    hours = {hour: Counter[str]() for hour in range(8, 20)}
    for row in day.rows[:200]:
        hours[row.arrival.minute // 60][row.made["state"]] += 1
    views.page(hours, day.burns(), without(day))
    assert "Burn rate 23 at 11:00" in capsys.readouterr().out
    assert "handbook in the cache" in repr(views.costs(without(day)))
    shown = repr(views.steps([("a", {"value": "x" * 200}), ("b", {"value": None})]))
    assert "…" in shown
    assert "-" in shown


def test_an_order_is_shown_to_its_customer_and_paid_back_once() -> None:
    """Whatever a message says: the key is the ticket's, and a second one is for a person."""

    async def run() -> list[Any]:
        orders = Orders()
        from servers.orders import orders_server

        async with ToolSession(orders_server(orders)) as shop:
            mine = {"order_id": 17, "customer": "c-217"}
            calls: list[dict[str, Any]] = [{**mine, "key": "a"}, {**mine, "key": "a"}]
            calls += [{**mine, "key": "b"}, {**mine, "customer": "c-201", "key": "c"}]
            found = [(await shop.call_tool("refund", call)).is_error for call in calls]
            return [*found, orders.refunds()]

    assert asyncio.run(run()) == [False, False, True, True, {17: 1079}]


def test_a_ticket_that_is_hard_is_answered_by_a_plan() -> None:
    """Its agents read the handbook from the cache; without an answer it waits, or is held."""

    async def run(fault: Fault | None) -> Any:
        urgent = next(each for each in tickets() if each.kind == "urgent")
        async with Day() as day:
            if fault:
                day.api.add_faults(fault)
            return await day.desk.handle(urgent.ticket, directly)

    drafts: Any = {"requests": lambda body: "system" in (body or {})}
    assert asyncio.run(run(None))["state"] == "sent"
    busy = asyncio.run(run(Fault.status(529, retry_after=0.001, **drafts)))
    assert busy == ended("tonight", why="no handbook")
    assert asyncio.run(run(Fault.status(400, **drafts))) == ended("held", why="no handbook")


def test_authored_answers_say_where_they_come_from() -> None:
    """By rules on words; a fake API of anybody's can give them."""
    api = FakeAPI()
    api.enqueue(authored)
    asked: Any = {"model": "claude-haiku-5-5", "max_tokens": 99}
    message = api.client().messages.create(
        messages=[{"role": "user", "content": "How hot for sencha?"}], **asked
    )
    assert "70 °C" in str(message.content)
