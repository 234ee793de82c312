"""The fake API agrees with every fact that was gathered about the real one, or says why not."""

import re
from typing import Any

import pytest
from evidence import FOLDER, expand, facts, png, verdict

FACTS = facts()
CONFIDENCE = ("documented", "observed", "inferred")


@pytest.mark.parametrize("fact", FACTS, ids=[fact["id"] for fact in FACTS])
def test_the_fake_agrees_with(fact: dict[str, Any]) -> None:
    """Status, error type and code, what the message speaks of, and what else the fact says."""
    if "disputed" in fact:
        assert fact["disputed"].startswith("https://"), "a dispute names its source"
        assert verdict(fact) != "agree"
    else:
        assert verdict(fact) == "agree"


def test_every_fact_has_a_source_a_date_and_a_confidence() -> None:
    """Nothing stands here on somebody's word alone; ids are unique."""
    for fact in FACTS:
        assert fact["source"]
        assert re.match(r"20\d\d", fact["date"]), fact["id"]
        assert fact["confidence"].startswith(CONFIDENCE), fact["id"]
    assert len({fact["id"] for fact in FACTS}) == len(FACTS)


def test_there_are_acceptances_and_refusals_in_every_file() -> None:
    """A fake that refuses everything would agree with refusals alone."""
    for path in FOLDER.glob("*.jsonl"):
        statuses = [fact["status"] for fact in facts(path)]
        assert 0.2 < statuses.count(200) / len(statuses) < 0.8, path.name


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"status": 400}, "200"),
    ({"status": 200, "expect": {"stop_reason": "refusal"}}, "stop_reason is 'end_turn'"),
    ({"status": 200, "expect": {"content.7": 1}}, "content.7 is 'missing'"),
    ({"status": 200, "response_headers": ["x-none"]}, "no header x-none"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_a_wrong_fact_does_not_agree(change: dict[str, Any], said: str) -> None:
    """The judge can say no."""
    request = {
        "model": "claude-opus-5-5",
        "max_tokens": 256,
        "messages": [{"role": "user", "content": "hi"}],
    }
    assert said in verdict({"request": request, "type": None, "message_pattern": None, **change})


def test_large_values_are_written_out() -> None:
    """What `$repeat`, `$text` and the others stand for."""
    assert expand({"a": [{"$repeat": [2, {"b": {"$text": 14}}]}]}) == {
        "a": [{"b": "some words som"}, {"b": "some words som"}]
    }
    assert expand({"$props": [2, {"type": "null"}]}).keys() == {"p0", "p1"}
    assert expand({"$png": [1, 1]}) == png(1, 1)
    assert len(expand({"$b64": 400})) == 400
