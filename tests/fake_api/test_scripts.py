"""Scripts of replies: matching, several answers, and bad files named to the key."""

from pathlib import Path
from typing import Any

import anthropic
import pytest

from patterns.core.messages import Refused, Truncated, text_of
from patterns.core.models import HAIKU, SONNET
from patterns.fake_api import BadReplies, FakeAPI, Replies

SCRIPT = """
[[reply]]
contains = ["capital", "France"]
text = "Paris."

[[reply]]
contains = "colour"
texts = ["red", "green"]

[[reply]]
system = "pirate"
text = "Arr."

[[reply]]
model = "claude-haiku-5-5"
contains = "short"
text = "Short."

[[reply]]
schema = ["label", "Verdict"]
json = { label = "spam" }

[[reply]]
schema = "score"
jsons = [{ score = 1 }, { score = 2 }]
thinking = "Weighing."

[[reply]]
after_tool_result = "21 degrees"
text = "It is mild."

[[reply]]
after_tool_result = true
text = "The tool says something else."

[[reply]]
tools = "get_weather"
text = "Let me see."
tool_use = [{ name = "get_weather", input = { city = "Oslo" } }]

[[reply]]
contains = "show your reasoning"
refusal = "reasoning_extraction"

[[reply]]
contains = "busy"
times = 1
status = 529
message = "Come back later"
retry_after = 0.01

[[reply]]
contains = "busy"
text = "Now I have time."

[[reply]]
contains = "half"
text = "Half an ans"
stop_reason = "max_tokens"

[[reply]]
anywhere = "needle"
text = "Found."
name = "finder"

[[reply]]
turn = 3
text = "Third turn."

[[reply]]
path = "/v1/messages/batches"
text = "From a batch."
"""


@pytest.fixture
def api(tmp_path: Path) -> FakeAPI:
    """A strict fake with the script above."""
    path = tmp_path / "05_prompting.toml"
    path.write_text(SCRIPT, encoding="utf-8")
    return FakeAPI(replies=path, strict=True)


def ask(api: FakeAPI, text: Any, **options: Any) -> anthropic.types.Message:
    """One question."""
    messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
    request = {"model": SONNET, "max_tokens": 100, "messages": messages, **options}
    message: anthropic.types.Message = api.client().messages.create(**request)
    return message


def schema(name: str, title: str = "X") -> dict[str, Any]:
    """An output_config for one property."""
    parts = {"type": "object", "additionalProperties": False, "title": title}
    shape = {**parts, "properties": {name: {"type": "string"}}}
    return {"format": {"type": "json_schema", "schema": shape}}


WEATHER: Any = {"name": "get_weather", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "t", "name": "get_weather", "input": {}}


def after_tool(text: str) -> list[dict[str, Any]]:
    """A conversation that ends with a tool's result."""
    result = {"type": "tool_result", "tool_use_id": "t", "content": text}
    return [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [CALL]},
        {"role": "user", "content": [result]},
    ]


def test_first_entry_that_fits_answers(api: FakeAPI) -> None:
    """All strings of a list must be there; the journal names the entry."""
    assert text_of(ask(api, "What is the capital of France?")) == "Paris."
    assert text_of(ask(api, "hello", system="You are a pirate")) == "Arr."
    assert text_of(ask(api, "keep it short", model=HAIKU)) == "Short."
    assert [e.reply for e in api.journal] == [f"05_prompting.toml[{n}]" for n in (1, 3, 4)]


def test_equal_requests_get_several_answers_in_turn(api: FakeAPI) -> None:
    """In order, then from the start again; another request starts its own round."""
    texts = [text_of(ask(api, "a colour?")) for _ in range(3)]
    assert texts == ["red", "green", "red"]
    assert text_of(ask(api, "another colour?")) == "red"


def test_schema_matches_property_and_title(api: FakeAPI) -> None:
    """JSON answers are compact text."""
    message = ask(api, "spam?", output_config=schema("label", "Verdict"))
    assert text_of(message) == '{"label":"spam"}'
    scores = [text_of(ask(api, "how good?", output_config=schema("score"))) for _ in range(2)]
    assert scores == ['{"score":1}', '{"score":2}']


def test_schema_matches_in_its_old_place(api: FakeAPI) -> None:
    """Where LiteLLM still puts it, under the beta's name; it counts as much as in the new one."""
    old = {"output_format": schema("score")["format"]}
    beta = {"anthropic-beta": "structured-outputs-2025-11-13"}
    message = ask(api, "how good?", extra_body=old, extra_headers=beta)
    assert text_of(message) == '{"score":1}'
    new = ask(api, "how good?", output_config=schema("score"))
    assert message.usage.input_tokens == new.usage.input_tokens


def test_tool_loop(api: FakeAPI) -> None:
    """First the call, with an id made from the request, then the answer to its result."""
    first = ask(api, "Weather in Oslo?", tools=[WEATHER])
    assert first.stop_reason == "tool_use"
    assert [block.type for block in first.content] == ["text", "tool_use"]
    assert text_of(ask(api, after_tool("21 degrees"), tools=[WEATHER])) == "It is mild."
    assert text_of(ask(api, after_tool("rain"), tools=[WEATHER])).endswith("something else.")


def test_refusal_error_and_truncation(api: FakeAPI) -> None:
    """Every way in which an answer is none."""
    with pytest.raises(Refused, match="reasoning_extraction"):
        text_of(ask(api, "show your reasoning"))
    with pytest.raises(Truncated):
        text_of(ask(api, "half"))
    assert text_of(ask(api, "busy?")) == "Now I have time."  # the SDK retried the 529
    assert [entry.status for entry in api.journal[2:]] == [529, 200]


def test_turn_and_anywhere(api: FakeAPI) -> None:
    """Later turns, and strings in any part of the request."""
    assert text_of(ask(api, "x", system="a needle in hay")) == "Found."
    assert api.journal[-1].reply == "finder"
    turn, reply = {"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}
    assert text_of(ask(api, [turn, reply, turn, reply, turn])) == "Third turn."


def test_batches_have_a_path_of_their_own(api: FakeAPI) -> None:
    """An entry may answer batched requests only."""
    with pytest.raises(anthropic.BadRequestError):
        ask(api, "what?")
    request: Any = {"custom_id": "a", "params": {"model": SONNET, "max_tokens": 9}}
    request["params"]["messages"] = [{"role": "user", "content": "what?"}]
    client = api.client()
    batch = client.messages.batches.create(requests=[request])
    assert batch.request_counts.processing == 1


def test_strict_fake_names_the_request_that_nothing_fits(api: FakeAPI) -> None:
    """Nobody records an echo by accident."""
    with pytest.raises(anthropic.BadRequestError, match="starts 'Nobody expects this"):
        ask(api, "Nobody expects this question, which goes on for quite a while. " * 3)


def test_paused_turn_is_matched_by_the_last_user_turn(api: FakeAPI) -> None:
    """An assistant turn at the end is skipped."""
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "the capital of France"}]},
        {"role": "assistant", "content": [search]},
    ]
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    assert text_of(ask(api, messages, tools=tools)) == "Paris."


BAD: list[tuple[str, str]] = [
    ("[[reply]\n", "is not TOML"),
    ("x = 1\n", "key 'x': unknown"),
    ("reply = 5\n", r"key 'reply': must be tables"),
    ('[[reply]]\ntext = "a"\nwhen = "b"\n', r"\[\[reply\]\] 1, key 'when': unknown"),
    ('[[reply]]\ntext = "a"\n[[reply]]\ncontains = "b"\n', r"\[\[reply\]\] 2: has no answer"),
    ('[[reply]]\ntext = "a"\njson = 1\n', "has json, text; give one"),
    ('[[reply]]\ntexts = "a"\n', "key 'texts': must be a list of strings, got 'a'"),
    ("[[reply]]\njsons = []\n", "key 'jsons': must be a list of values"),
    ('[[reply]]\ntool_use = ["x"]\n', "key 'tool_use': must be a list of tables"),
    ("[[reply]]\ntool_use = [{ nome = 1 }]\n", r"\[\[reply\]\] 1: .*nome"),
    ('[[reply]]\ncontains = 5\ntext = "a"\n', "key 'contains': must be a string or a list"),
    ('[[reply]]\nafter_tool_result = 5\ntext = "a"\n', "key 'after_tool_result'"),
    ('[[reply]]\nturn = 0\ntext = "a"\n', "key 'turn': must be a whole number from 1"),
    ('[[reply]]\nseconds = -1\ntext = "a"\n', "key 'seconds': must be a number"),
    ("[[reply]]\nstatus = 200\n", "key 'status': must be 400 to 599"),
    ('[[reply]]\nstatus = 529\nthinking = "x"\n', "key 'thinking': does not go with an error"),
    ('[[reply]]\ntext = "a"\nretry_after = 1\n', "key 'retry_after': does not go with a message"),
    ('[[reply]]\ntext = "a"\nstop_reason = "bored"\n', "stop_reason is 'bored'"),
    ('[[reply]]\nrefusal = "mood"\n', "refusal is 'mood'"),
    ("[[reply]]\ntext = 5\n", "key 'text': must be a string, got 5"),
]


@pytest.mark.parametrize(("toml", "said"), BAD, ids=[said for _, said in BAD])
def test_bad_script_names_file_entry_and_key(toml: str, said: str, tmp_path: Path) -> None:
    """The message leads to the line to mend."""
    path = tmp_path / "07_prompt_caching.toml"
    path.write_text(toml)
    with pytest.raises(BadReplies, match=f"07_prompt_caching.toml.*{said}"):
        Replies.load(path)


def test_missing_script_is_named(tmp_path: Path) -> None:
    """A file that is not there."""
    with pytest.raises(BadReplies, match=r"none.toml: cannot be read \(No such file"):
        FakeAPI(replies=tmp_path / "none.toml")


def test_script_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    """Bytes that are no text."""
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(BadReplies, match="is not TOML"):
        Replies.load(path)
