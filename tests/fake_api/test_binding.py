"""Preserved thinking: a block comes back to the model that made it, behind what stood before it."""

from typing import Any

import anthropic
import pytest

from patterns.core.models import HAIKU, OPUS, SONNET
from patterns.fake_api import FakeAPI, Reply, VirtualClock

CONTROLS = "thinking-binding-controls-2026-08-01"
DROP = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
TOOL = {"name": "get", "input_schema": {"type": "object"}}


def user(text: str) -> dict[str, Any]:
    """A turn of the user."""
    return {"role": "user", "content": text}


class Talk:
    """A conversation with a model that thinks."""

    def __init__(self, *, replies: int = 9) -> None:
        self.api = FakeAPI(clock=VirtualClock())
        for n in range(replies):
            self.api.enqueue(Reply(text=f"answer {n}", thinking=f"thought {n}"))
        self.client = self.api.client(max_retries=0)

    def ask(self, messages: list[Any], *, model: str = SONNET, **options: Any) -> Any:
        """One request, without the SDK's types in between."""
        body = {"model": model, "max_tokens": 99, "messages": messages, **options}
        beta = {"anthropic-beta": CONTROLS} if "thinking" in options else {}
        answer: Any = self.client.post(
            "/v1/messages", body=body, cast_to=object, options={"headers": beta}
        )
        return answer

    def history(self, turns: int, *, model: str = SONNET, **options: Any) -> list[dict[str, Any]]:
        """Some turns, and the next question."""
        messages = [user("question 0")]
        for n in range(turns):
            content = self.ask(messages, model=model, **options)["content"]
            messages = [*messages, {"role": "assistant", "content": content}]
            messages.append(user(f"question {n + 1}"))
        return messages


def thinking_in(messages: list[Any]) -> list[tuple[int, int]]:
    """Where thinking stands."""
    return [
        (n, m)
        for n, message in enumerate(messages)
        if isinstance(message["content"], list)
        for m, block in enumerate(message["content"])
        if block["type"] == "thinking"
    ]


def without(messages: list[Any], *places: int) -> list[Any]:
    """The messages without the thinking of some of them."""
    return [
        {**m, "content": [b for b in m["content"] if b["type"] != "thinking"]} if n in places else m
        for n, m in enumerate(messages)
    ]


def test_a_history_that_only_grows_is_taken() -> None:
    """What is no part of the prefix may change: effort, breakpoints, a deferred tool."""
    talk = Talk()
    messages = talk.history(3)
    assert thinking_in(messages) == [(1, 0), (3, 0), (5, 0)]
    marked = [{"type": "text", "text": "question 0", "cache_control": {"type": "ephemeral"}}]
    deferred = [{**TOOL, "defer_loading": True}, SEARCH]
    assert talk.ask([{"role": "user", "content": marked}, *messages[1:]])
    assert talk.ask(messages, output_config={"effort": "low"})
    with_search = talk.history(1, tools=[SEARCH])
    assert talk.ask(with_search, tools=deferred)


SEARCH = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
EDITS: list[tuple[str, dict[str, Any]]] = [
    ("system", {"system": "Be brief."}),
    ("tools", {"tools": [TOOL]}),
]


@pytest.mark.parametrize(("_", "options"), EDITS)
def test_an_edited_prefix_is_refused(_: str, options: dict[str, Any]) -> None:
    """The first block behind the edit is named, and the way out."""
    talk = Talk()
    messages = talk.history(2)
    with pytest.raises(anthropic.BadRequestError) as caught:
        talk.ask(messages, **options)
    assert "messages.1.content.0: Invalid `signature` in `thinking` block" in str(caught.value)
    assert f"That setting requires the `{CONTROLS}`" in str(caught.value)
    assert talk.ask(without(messages, 1, 3), **options), "without thinking nothing is checked"


def test_an_edited_message_is_refused_from_there_on() -> None:
    """Or its blocks are dropped, with those behind them, and the answer lists them."""
    talk = Talk()
    messages = talk.history(3)
    messages[2] = user("another question")
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.3\.content\.0"):
        talk.ask(messages)
    answer = talk.ask(messages, thinking=DROP)
    assert answer["input_transformations"] == [
        {"type": "thinking_dropped", "path": path, "reason": "prefix_binding_mismatch"}
        for path in ("messages.3.content.0", "messages.5.content.0")
    ]
    error = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "error"}}
    with pytest.raises(anthropic.BadRequestError) as caught:
        talk.ask(messages, thinking=error)
    assert "That setting requires" not in str(caught.value)


def test_dropped_thinking_is_not_paid_for() -> None:
    """The rest of the request costs what it costs without it."""
    talk = Talk()
    messages = talk.history(2)
    options: Any = {"system": "Be brief.", "thinking": DROP}
    dropped = talk.ask(messages, **options)["usage"]["input_tokens"]
    assert dropped == talk.ask(without(messages, 1, 3), **options)["usage"]["input_tokens"]


def test_thinking_may_be_removed_from_either_end_but_not_from_the_middle() -> None:
    """Once gone it stays gone: what was thought meanwhile is bound to its absence."""
    talk = Talk()
    messages = talk.history(3)
    assert talk.ask(without(messages, 1))
    assert talk.ask(without(messages, 5))
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.5\.content\.0"):
        talk.ask(without(messages, 3))
    bare = without(messages, 1, 3, 5)
    answer = {"role": "assistant", "content": talk.ask(bare)["content"]}
    assert talk.ask([*bare, answer, user("and?")])
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.7\.content\.0"):
        talk.ask([*messages, answer, user("and?")])


READS = [
    (SONNET, "claude-haiku-4-5", []),
    (OPUS, SONNET, []),
    (SONNET, OPUS, [(1, 0)]),
    ("claude-fable-5-2", "claude-mythos-5-2", []),
    ("claude-opus-4-8", SONNET, [(1, 0)]),
    (HAIKU, "claude-opus-5", [(1, 0)]),
    ("claude-opus-5", "claude-sonnet-5", [(1, 0)]),
]


@pytest.mark.parametrize(("reader", "writer", "lost"), READS)
def test_a_model_reads_older_ones_and_drops_the_rest(
    reader: str, writer: str, lost: list[tuple[int, int]]
) -> None:
    """Without an error, on every model."""
    talk = Talk()
    options: Any = {}
    if writer == "claude-haiku-4-5":
        options = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}
    messages = talk.history(1, model=writer, **options)
    assert thinking_in(messages)
    answer = talk.ask(messages, model=reader, thinking={"type": "adaptive"})
    found = [each["path"] for each in answer["input_transformations"]]
    assert found == [f"messages.{n}.content.{m}" for n, m in lost]
    assert {e["reason"] for e in answer["input_transformations"]} <= {"model_binding_mismatch"}


def test_older_models_check_no_prefix() -> None:
    """Their thinking comes back behind another system prompt."""
    talk = Talk()
    messages = talk.history(1, model="claude-opus-5")
    assert talk.ask(messages, model="claude-opus-5", system="Be brief.")


@pytest.mark.parametrize("signature", ["c2ln", ""])
def test_thinking_that_nobody_signed_here_is_refused(signature: str) -> None:
    """A signature of somebody else, or none, is invalid, whatever stands around it."""
    block = {"type": "thinking", "thinking": "x", "signature": signature}
    foreign = {"role": "assistant", "content": [block, {"type": "text", "text": "y"}]}
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature` in `thinking` block"):
        Talk().ask([user("a"), foreign, user("b")])


@pytest.mark.parametrize("thinking", ["x", ""])
def test_scripted_thinking_may_come_back(thinking: str) -> None:
    """Whatever signature the script holds, the reply has one that is taken."""
    talk = Talk(replies=0)
    block = {"type": "thinking", "thinking": thinking, "signature": "c2ln"}
    talk.api.enqueue(Reply(content=[block, {"type": "text", "text": "y"}]))
    assert talk.ask(talk.history(1))


def test_a_batch_drops_instead_of_failing() -> None:
    """Unless it asks for the error."""
    talk = Talk()
    messages = talk.history(1)
    params: Any = {"model": SONNET, "max_tokens": 9, "system": "Be brief.", "messages": messages}
    error = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "error"}}
    requests: Any = [
        {"custom_id": "drops", "params": params},
        {"custom_id": "fails", "params": {**params, "thinking": error}},
    ]
    headers = {"anthropic-beta": CONTROLS}
    batch = talk.client.messages.batches.create(requests=requests, extra_headers=headers)
    talk.api.clock.sleep(90_000)
    results = {r.custom_id: r.result.type for r in talk.client.messages.batches.results(batch.id)}
    assert results == {"drops": "succeeded", "fails": "errored"}


def test_a_thread_and_a_summary_keep_their_thinking() -> None:
    """A thread holds the turns as they were; behind a summary the prefix begins anew."""
    talk = Talk()
    messages = talk.history(1)
    headers: Any = {"headers": {"anthropic-beta": "compact-2026-09-04"}}
    request: Any = {"model": SONNET, "max_tokens": 99, "compaction": {"type": "summarize"}}
    request["messages"] = messages
    short: Any = talk.client.post("/v1/messages", body=request, cast_to=object, options=headers)
    body = [{"role": "user", "content": [*short["content"], {"type": "text", "text": "go on"}]}]
    del request["compaction"]
    request["messages"] = body
    answer: Any = talk.client.post("/v1/messages", body=request, cast_to=object, options=headers)
    later = [*body, {"role": "assistant", "content": answer["content"]}, user("more")]
    request = {**request, "messages": later}
    assert talk.client.post("/v1/messages", body=request, cast_to=object, options=headers)
    request = {**request, "messages": [*messages[:2], *later]}
    with pytest.raises(anthropic.BadRequestError):
        talk.client.post("/v1/messages", body=request, cast_to=object, options=headers)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"content": "They said no."}, "compaction_content_mismatch"),
        ({"signature": "c2ln"}, "compaction_signature_invalid"),
    ],
)
def test_a_summary_comes_back_as_it_was(change: dict[str, str], code: str) -> None:
    """Another text or signature is refused, each with its code."""
    talk = Talk()
    headers: Any = {"headers": {"anthropic-beta": "compact-2026-09-04"}}
    request: Any = {"model": SONNET, "max_tokens": 99, "messages": [user("hi")]}
    request["compaction"] = {"type": "summarize"}
    answer: Any = talk.client.post("/v1/messages", body=request, cast_to=object, options=headers)
    block = {**answer["content"][0], **change}
    request = {"model": SONNET, "max_tokens": 99}
    request["messages"] = [{"role": "user", "content": [block, {"type": "text", "text": "go on"}]}]
    with pytest.raises(anthropic.BadRequestError) as caught:
        talk.client.post("/v1/messages", body=request, cast_to=object, options=headers)
    body: Any = caught.value.body
    assert body["error"]["details"]["error_code"] == code


def test_what_stood_before_a_summary_may_be_left_out() -> None:
    """The prefix begins at the block that holds the summary."""
    talk = Talk()
    summary = {"type": "compaction", "content": "They said hi."}
    kept = [{"role": "assistant", "content": [summary]}, user("go on")]
    headers: Any = {"headers": {"anthropic-beta": "compact-2026-01-12"}}
    body: Any = {"model": SONNET, "max_tokens": 9, "messages": [user("hi"), *kept]}
    answer: Any = talk.client.post("/v1/messages", body=body, cast_to=object, options=headers)
    later = [*kept, {"role": "assistant", "content": answer["content"]}, user("more")]
    body = {**body, "messages": later}
    assert talk.client.post("/v1/messages", body=body, cast_to=object, options=headers)
    body = {**body, "messages": [later[0], user("go back"), *later[2:]]}
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.2\.content\.0"):
        talk.client.post("/v1/messages", body=body, cast_to=object, options=headers)
