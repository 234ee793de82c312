"""Reversible masking: the API never sees a value, and tools and users never miss one."""

import asyncio
import json
import weakref
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, BadRequestError, beta_tool
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.core.messages import text_of
from patterns.core.models import HAIKU, OPUS
from patterns.fake_api import FakeAPI, Fault, Reply, ToolUse
from patterns.policy import PIIMiddleware, Principal, acting_as
from patterns.policy.detectors import find_pii
from patterns.policy.redaction import redact
from patterns.policy.vault import RestoredText, Vault

MAIL, CARD, IP = "grace@example.com", "4111 1111 1111 1111", "10.0.0.5"
ADA, BOB = Principal("ada"), Principal("bob")


def ask(client: Anthropic, content: Any, **changes: Any) -> Any:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": content}], **changes}
    return client.messages.create(model=HAIKU, max_tokens=999, **body)


def echo(request: httpx2.Request) -> httpx2.Response:
    """Answers with the last text that it was sent, as a tool call and as text."""
    body = json.loads(request.content)
    said = body["messages"][-1]["content"]
    content = [
        {"type": "text", "text": said},
        {"type": "tool_use", "id": "toolu_1", "name": "x", "input": {"said": said, said: 1}},
    ]
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": HAIKU, "content": content,
        "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1},
    }  # fmt: skip
    return httpx2.Response(200, json=message)


class Echo:
    def __init__(self, **options: Any) -> None:
        self.sent: list[bytes] = []
        self.policy = PIIMiddleware("vault", **options)
        http = httpx2.Client(transport=httpx2.MockTransport(self.answer))
        self.client = Anthropic(api_key="t", http_client=http, middleware=[self.policy])

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request.content)
        return echo(request)


def test_a_value_goes_out_as_a_placeholder_and_comes_back_as_itself() -> None:
    """In text, tool input and keys; equal values have equal placeholders."""
    api = Echo()
    text = f"{MAIL} and {MAIL}, card {CARD}"
    message = ask(api.client, text)
    assert message.content[0].text == text
    assert message.content[1].input == {"said": text, text: 1}
    assert b"[EMAIL_1] and [EMAIL_1], card [CARD_1]" in api.sent[0]


def test_an_error_quotes_the_placeholder_and_not_the_value() -> None:
    """Exceptions end up in logs."""
    fake = FakeAPI(faults=[Fault.status(400, message="messages.0: [EMAIL_1] is too long")])
    client = fake.client(middleware=[PIIMiddleware("vault")])
    with pytest.raises(BadRequestError, match=r"\[EMAIL_1\] is too long"):
        ask(client, MAIL)


def test_a_conversation_keeps_its_placeholders_as_it_grows() -> None:
    """So that its prefix is found in the cache; another person's conversation has its own."""
    fake = FakeAPI()
    client = fake.client(middleware=[PIIMiddleware("vault")])
    long = "The rules of the house. " * 400
    system: Any = [
        {"type": "text", "text": f"{long}{CARD}", "cache_control": {"type": "ephemeral"}}
    ]
    turns: list[Any] = [{"role": "user", "content": f"I am {MAIL}"}]
    reads = []
    with acting_as(ADA):
        for number in range(3):
            message = client.messages.create(
                model=HAIKU, max_tokens=99, system=system, messages=turns
            )
            reads.append(message.usage.cache_read_input_tokens or 0)
            turns += [
                {"role": "assistant", "content": text_of(message)},
                {"role": "user", "content": f"And to x{number}@example.org, for {MAIL}?"},
            ]
    assert reads[0] == 0
    assert reads[1] == reads[2] > 0
    sent = json.dumps(fake.journal[-1].body)
    assert "[EMAIL_1]" in sent
    assert "[EMAIL_3]" in sent
    assert "example.org" not in sent


def test_conversations_and_principals_have_values_of_their_own() -> None:
    """One cannot ask for another's value by its placeholder."""
    policy = PIIMiddleware("vault")
    fake = FakeAPI()
    client = fake.client(middleware=[policy])
    with acting_as(ADA):
        ask(client, f"I am {MAIL}")
    fake.enqueue("It is [EMAIL_1].", "It is [EMAIL_1].")
    with acting_as(BOB):
        assert text_of(ask(client, f"I am {MAIL[1:]}")) == f"It is {MAIL[1:]}."
        assert text_of(ask(client, "Who else?")) == "It is [EMAIL_1]."


def test_what_only_looks_like_a_placeholder_comes_back_as_it_was() -> None:
    """Else a page could ask for a value by guessing its number."""
    api = Echo()
    text = f"{MAIL} wrote [EMAIL_1], [CARD_7] and 7700000000001"
    assert ask(api.client, text).content[0].text == text
    assert b"[EMAIL_1] wrote [LITERAL_1], [LITERAL_2] and [LITERAL_3]" in api.sent[0]


def test_json_stays_json_and_keeps_its_types() -> None:
    """In tool results that are text, and in tool input; for every strategy."""
    document = {"host": IP, "card": 4111111111111111, "n": 3, "cards": [4111111111111111, 1.5]}
    for strategy in ("redact", "mask", "hash", "vault"):
        text = json.dumps(document)
        if strategy != "vault":
            cleaned = json.loads(redact(text, strategy=strategy, key=b"k" * 32).text)
            assert [type(value) for value in cleaned.values()] == [str, int, int, list]
            assert "4111111111111111" not in json.dumps(cleaned)
            assert (cleaned["n"], type(cleaned["cards"][0])) == (3, int)
    api = Echo()
    message = ask(api.client, json.dumps(document))
    sent = json.loads(json.loads(api.sent[0])["messages"][0]["content"])
    assert [type(value) for value in sent.values()] == [str, int, int, list]
    assert "4111" not in json.dumps(sent)
    assert json.loads(message.content[0].text) == document


def test_the_tool_gets_the_value_and_the_runner_does_not_notice() -> None:
    """`tool_runner`, whole and streamed, with threads as the SDK uses them."""
    fake, called = FakeAPI(), list[str]()

    def mail(to: str) -> str:
        called.append(to)
        return f"sent to {to}"

    policy = PIIMiddleware("vault")
    client = fake.client(middleware=[policy])
    turns: Any = [{"role": "user", "content": f"Write to {MAIL}"}]
    for stream in (False, True):
        use = ToolUse("mail", {"to": "[EMAIL_1]"})
        fake.enqueue(Reply(tool_use=[use]), "I wrote to [EMAIL_1].")
        tool = beta_tool(mail, name="mail", description="Send")
        options: Any = {"model": HAIKU, "max_tokens": 99, "messages": turns, "tools": [tool]}
        runner: Any = client.beta.messages.tool_runner(**options, stream=stream)
        final = runner.until_done()
        assert final.content[0].text == f"I wrote to {MAIL}."
    assert called == [MAIL, MAIL]
    assert MAIL not in json.dumps([entry.body for entry in fake.journal])


values = st.sampled_from(
    [MAIL, "bob.smith77@example.org", CARD, "378282246310005", "DE89370400440532013000", IP]
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(values, values, st.booleans()), min_size=1, max_size=4))
def test_an_agent_with_a_vault_does_what_it_does_without(
    steps: list[tuple[str, str, bool]],
) -> None:
    """Generated conversations: same calls, same answer, and no value in any request."""
    outcomes = []
    for masked in (False, True):
        fake, called = FakeAPI(), list[tuple[str, str]]()

        def look(who: str, note: str, called: list[tuple[str, str]] = called) -> str:
            called.append((who, note))
            return json.dumps({"of": who, "found": steps[len(called) - 1][1]})

        policy = PIIMiddleware("vault", exceptions={})
        client = fake.client(middleware=[policy] if masked else [])
        names: dict[str, str] = {}

        def shown(value: str, masked: bool = masked, names: dict[str, str] = names) -> str:
            return names.setdefault(value, value) if not masked else placeholder(value)

        conversation = None if policy.vault is None else policy.vault.conversation("x")

        def placeholder(value: str, conversation: Any = conversation) -> str:
            (match,) = find_pii(value)
            return str(conversation.mask(match, value, False))

        order = [value for first, second, _ in steps for value in (first, second)]
        for value in order:
            shown(value)
        for first, _, loud in steps:
            use = ToolUse("look", {"who": shown(first), "note": "!" if loud else "."})
            fake.enqueue(Reply(tool_use=[use]))
        fake.enqueue(f"All done for {shown(steps[0][0])}.")
        tool = beta_tool(look, name="look", description="Look")
        prompt = "For " + ", ".join(order)
        turns: Any = [{"role": "user", "content": prompt}]
        final = client.beta.messages.tool_runner(
            model=HAIKU, max_tokens=99, messages=turns, tools=[tool]
        ).until_done()
        outcomes.append((called, final.content[0].text))  # type: ignore[union-attr]
        if masked:
            sent = json.dumps([entry.body for entry in fake.journal])
            assert not [value for value in order if value in sent]
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("size", [1, 3, 100_000])
@pytest.mark.parametrize("wants_json", [False, True])
def test_a_stream_is_restored_however_it_is_cut(size: int, wants_json: bool) -> None:
    """Text, structured output and tool input, over the deltas."""
    said = json.dumps({"to": "[EMAIL_1]", "x": "[y"}) if wants_json else "To [EMAIL_1], [x] [EMAIL_"
    reply = Reply(said, tool_use=[ToolUse("mail", {"to": ["[EMAIL_1]"]})])
    fake = FakeAPI(faults=[Fault.chunked(size)])
    fake.enqueue(reply)
    client = fake.client(middleware=[PIIMiddleware("vault")])
    schema = {"type": "object", "additionalProperties": False}
    config: Any = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    with client.messages.stream(
        model=HAIKU,
        max_tokens=99,
        messages=[{"role": "user", "content": MAIL}],
        **(config if wants_json else {}),
    ) as stream:
        blocks: Any = stream.get_final_message().content
    assert blocks[0].text == said.replace("[EMAIL_1]", MAIL)
    assert blocks[1].input == {"to": [MAIL]}
    assert MAIL not in json.dumps(fake.journal[0].body)


def test_the_async_client_restores_alike() -> None:
    """One flow, two drivers."""
    fake = FakeAPI()
    fake.enqueue("It is [EMAIL_1].")

    async def run() -> str:
        client = fake.async_client(middleware=[PIIMiddleware("vault")])
        turns: Any = [{"role": "user", "content": MAIL}]
        return text_of(await client.messages.create(model=HAIKU, max_tokens=99, messages=turns))

    assert asyncio.run(run()) == f"It is {MAIL}."


def test_a_vault_forgets_what_is_over() -> None:
    """A lifetime after its last use."""
    now = [0.0]
    vault = Vault(lifetime=10, clock=lambda: now[0])
    first = vault.conversation("a")
    for now[0] in (10, 20):
        assert vault.conversation("a") is first
    now[0] = 31
    assert vault.conversation("a") is not first


def test_a_full_vault_forgets_the_one_that_was_used_longest_ago() -> None:
    """Not the one that is needed now; and what is over leaves nothing in memory."""
    now = [0.0]
    vault = Vault(lifetime=10, most=2, clock=lambda: now[0])
    a, b = vault.conversation("a"), vault.conversation("b")
    assert vault.conversation("a") is a
    c = vault.conversation("c")
    assert [vault.conversation(name) for name in "ac"] == [a, c]
    forgotten = weakref.ref(b)
    del b
    assert forgotten() is None
    now[0] = 11
    forgotten = weakref.ref(a)
    del a
    vault.conversation("d")
    assert forgotten() is None


def test_each_type_and_origin_can_have_its_own_strategy() -> None:
    """And values and domains that may stay."""
    fake = FakeAPI()
    policy = PIIMiddleware(
        "redact",
        exceptions={"card": "mask", "assistant": "allow", ("user", "ip"): "vault"},
        allow=["desk@example.com", "@ours.example"],
    )
    client = fake.client(middleware=[policy])
    turns: Any = [
        {"role": "user", "content": f"{MAIL} {CARD} {IP} desk@example.com x@ours.example"},
        {"role": "assistant", "content": f"so {MAIL}"},
        {"role": "user", "content": "yes"},
    ]
    client.messages.create(model=HAIKU, max_tokens=9, messages=turns)
    said = [turn["content"] for turn in fake.journal[0].body["messages"]]
    assert said[0] == "[EMAIL] ********1111 [IP_1] desk@example.com x@ours.example"
    assert said[1] == f"so {MAIL}"


@pytest.mark.parametrize("stream", [False, True])
def test_what_one_type_keeps_in_the_vault_comes_back_and_the_rest_is_redacted(stream: bool) -> None:
    """A tool is called with the value; what only looks like a placeholder stays what it is."""
    fake, use = FakeAPI(), ToolUse("x", {"a": "[IP_1]"})
    fake.enqueue(Reply(f"{MAIL} is at [IP_1], not [LITERAL_1]", tool_use=[use]))
    client = fake.client(middleware=[PIIMiddleware(exceptions={"ip": "vault"})])
    body: Any = {"model": HAIKU, "max_tokens": 99}
    body["messages"] = [{"role": "user", "content": f"{MAIL} is at {IP}, not [IP_1]"}]
    if stream:
        with client.messages.stream(**body) as streamed:
            message: Any = streamed.get_final_message()
    else:
        message = client.messages.create(**body)
    said = fake.journal[0].body["messages"][0]["content"]
    assert said == "[EMAIL] is at [IP_1], not [LITERAL_1]"
    assert message.content[0].text == f"[EMAIL] is at {IP}, not [IP_1]"
    assert message.content[1].input == {"a": IP}


@pytest.mark.parametrize(("options", "text"), [
    ({}, f"{MAIL} [EMAIL_1]"), ({"on_output": "redact"}, "[EMAIL] [EMAIL_1]"),
    ({"on_output": None}, f"{MAIL} [EMAIL_1]"), ({"on_output": "vault"}, f"{MAIL} x@example.org"),
    ({"on_output": "redact", "mode": "observe"}, f"{MAIL} [EMAIL_1]"),
    ({"mode": "observe"}, f"{MAIL} [EMAIL_1]"),
])  # fmt: skip
def test_answers_are_treated_as_they_are_told_to(options: Any, text: str) -> None:
    """Restored, redacted, or left as they are."""
    fake = FakeAPI()
    fake.enqueue(f"{MAIL} [EMAIL_1]")
    client = fake.client(middleware=[PIIMiddleware("vault", **options)])
    answer = text_of(ask(client, "x@example.org"))
    assert answer == (text if options else f"{MAIL} x@example.org")
    only = fake.client(middleware=[PIIMiddleware("redact", "vault")])
    fake.enqueue(f"{MAIL} [EMAIL_1]")
    assert text_of(ask(only, "x@example.org")) == f"{MAIL} [EMAIL_1]"


@pytest.mark.parametrize("text", [f"{CARD}[EMAIL_1]", f"[EMAIL_1]{CARD}", f"{CARD}[EMAIL_1]{CARD}"])
def test_what_looks_like_a_placeholder_right_beside_a_value_is_masked_too(text: str) -> None:
    """It comes back as it was."""
    api = Echo()
    assert ask(api.client, text).content[0].text == text
    sent = text.replace("[EMAIL_1]", "[LITERAL_1]").replace(CARD, "[CARD_1]")
    assert sent.encode() in api.sent[0]


@pytest.mark.parametrize("names", [("ada|x", "ada"), ("ada", "ada|x")])
def test_a_thread_that_another_began_gives_nothing_away(names: tuple[str, str]) -> None:
    """However alike two principals are called."""
    fake = FakeAPI()
    client = fake.client(middleware=[PIIMiddleware("vault")])
    beta: Any = ["message-threads-2026-08-12"]
    body: Any = {"model": HAIKU, "max_tokens": 99, "betas": beta}
    first, other = map(Principal, names)
    turns: Any = [{"role": "user", "content": f"I am {MAIL}"}]
    with acting_as(first):
        made = client.beta.messages.create(**body, messages=turns, thread={"type": "create"})
    goes_on: Any = {"type": "continue", "previous_message_id": made.id}
    fake.enqueue("You are [EMAIL_1].")
    turns = [{"role": "user", "content": "Who am I?"}]
    with acting_as(other):
        answer = client.beta.messages.create(**body, messages=turns, thread=goes_on)
    assert text_of(answer) == "You are [EMAIL_1]."


def test_our_own_support_address_stays_in_our_system_prompt() -> None:
    """A key or a card may not stand there either."""
    fake = FakeAPI()
    client = fake.client(middleware=[PIIMiddleware()])
    ask(client, "Hello", system=f"Point them to {MAIL}. Never say {CARD}.")
    assert fake.journal[0].body["system"] == f"Point them to {MAIL}. Never say [CARD]."


def test_observing_changes_nothing_and_says_what_it_would() -> None:
    """Input and output, blocking included."""
    fake = FakeAPI()
    fake.enqueue(f"It is {MAIL}.")
    client = fake.client(middleware=[PIIMiddleware("block", "block", mode="observe")])
    assert text_of(ask(client, MAIL)) == f"It is {MAIL}."
    assert MAIL in json.dumps(fake.journal[0].body)


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_placeholder_that_is_cut_is_restored(cut: int) -> None:
    """And one that never ends comes out as it is."""
    conversation = Vault().conversation("x")
    (match,) = find_pii(MAIL)
    shown = conversation.mask(match, MAIL, False)
    number = conversation.mask(match, "4111111111111111", True)
    text = f"a{shown}b {number} [EMAIL_"
    held = RestoredText(conversation, escaped=False)
    pieces = [text[at : at + cut] for at in range(0, len(text), cut)]
    shown = "".join(part for piece in pieces for part in held.feed(piece))
    assert shown + "".join(held.flush()) == f"a{MAIL}b 4111111111111111 [EMAIL_"


@pytest.mark.parametrize("kind", [["string", "null"], "thinking", {"a": 1}, "base64"])
def test_tool_input_is_restored_whatever_its_fields_are_called(kind: Any) -> None:
    """Numbers as numbers; what is a block's field elsewhere is a field like any other there."""
    fake = FakeAPI()
    sent = {"type": kind, "to": "[EMAIL_1]", "n": 7_700_000_000_000, "m": 5, "data": "[EMAIL_1]",
            "text": "[EMAIL_1]", "content": [{"text": "[EMAIL_1]"}], "[EMAIL_1]": True}  # fmt: skip
    fake.enqueue(*[Reply(tool_use=[ToolUse("x", sent)])] * 2)
    client = fake.client(middleware=[PIIMiddleware("vault", exceptions={})])
    asked = json.dumps({"card": 4111111111111111, "to": MAIL, "phone": 2125550123})
    whole = ask(client, asked)
    turns: Any = [{"role": "user", "content": asked}]
    with client.messages.stream(model=HAIKU, max_tokens=99, messages=turns) as stream:
        streamed: Any = stream.get_final_message()
    given = json.loads(json.dumps(sent).replace("[EMAIL_1]", MAIL))
    for message in (whole, streamed):
        assert message.content[0].input == {**given, "n": 4111111111111111}


def test_values_come_back_escaped_where_text_is_json_and_as_they_are_elsewhere() -> None:
    """A value with a quotation mark in it, in structured output and in tool input."""
    fake, secret = FakeAPI(), 'ab"cd ef'
    said = json.dumps({"password": "[API_KEY_1]"})
    use = ToolUse("x", {"text": "[API_KEY_1]"})
    fake.enqueue(*[Reply(said, tool_use=[use])] * 2)
    client = fake.client(middleware=[PIIMiddleware("vault")])
    schema = {"type": "object", "additionalProperties": False}
    body: Any = {"model": HAIKU, "max_tokens": 99,
                 "output_config": {"format": {"type": "json_schema", "schema": schema}},
                 "messages": [{"role": "user", "content": f"password: '{secret}'"}]}  # fmt: skip
    with client.messages.stream(**body) as stream:
        streamed: Any = stream.get_final_message()
    for message in (client.messages.create(**body), streamed):
        assert json.loads(message.content[0].text) == {"password": secret}
        assert message.content[1].input == {"text": secret}
    assert secret not in str([entry.body for entry in fake.journal])


def test_thinking_goes_back_and_comes_back_as_it_was() -> None:
    """A changed one breaks its signature; in a stream as well."""
    fake = FakeAPI()
    fake.enqueue(*[Reply("Hi", thinking="of [EMAIL_1]")] * 2)
    client = fake.client(middleware=[PIIMiddleware("vault")])
    thinking: Any = {"type": "adaptive", "display": "summarized"}
    body: Any = {"model": OPUS, "max_tokens": 99, "thinking": thinking}
    body["messages"] = [{"role": "user", "content": MAIL}]
    whole = client.messages.create(**body)
    with client.messages.stream(**body) as stream:
        streamed: Any = stream.get_final_message()
    assert [one.content[0].thinking for one in (whole, streamed)] == ["of [EMAIL_1]"] * 2


def test_a_system_prompt_has_the_same_placeholders_in_every_conversation() -> None:
    """Whatever the user says first: so that its prefix is found in the cache."""
    fake = FakeAPI()
    client = fake.client(middleware=[PIIMiddleware("vault", exceptions={})])
    for said in ("Hello", "I am x@example.org"):
        ask(client, said, system=f"Ours is {MAIL}")
    assert [entry.body["system"] for entry in fake.journal] == ["Ours is [EMAIL_1]"] * 2


def test_a_placeholder_inside_of_a_value_is_part_of_the_value() -> None:
    """It is masked with it, and comes back with it."""
    api = Echo()
    key = "-----BEGIN PRIVATE KEY-----\nMIIE [EMAIL_1] MIIE\n-----END PRIVATE KEY-----"
    assert text_of(ask(api.client, f"{key} and [EMAIL_1]")) == f"{key} and [EMAIL_1]"
    assert b"MIIE" not in api.sent[0]
