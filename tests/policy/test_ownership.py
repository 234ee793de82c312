"""Whose an id is: what answers give out, and what requests name."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, APIRequest, AsyncAnthropic, InternalServerError

from patterns.core.models import HAIKU
from patterns.fake_api import FakeAPI, Fault
from patterns.policy.budgets import MemoryStore
from patterns.policy.flow import Flow, Policy
from patterns.policy.identity import Principal, acting_as
from patterns.policy.ownership import NotOwner, Ownership
from patterns.policy.threads import Threads

ADA, BOB = Principal("ada"), Principal("bob")
ASK: Any = {"model": HAIKU, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
BETA: Any = ["message-threads-2026-08-12"]


def test_a_failed_call_makes_nobody_an_owner() -> None:
    """The error passes as it came."""
    store = MemoryStore()
    client = FakeAPI(faults=[Fault.status(500)]).client(
        middleware=[Ownership(store)], max_retries=0
    )
    with acting_as(ADA), pytest.raises(InternalServerError):
        client.messages.create(**ASK)


@pytest.mark.parametrize("agent", ["agent_1", {"type": "agent", "id": "agent_1", "version": 2}])
def test_an_agent_is_its_owners_however_it_is_named(agent: Any) -> None:
    """By its id, or by an object that pins a version."""
    store = MemoryStore()
    store.claim(["agent_1"], ADA.key)
    store.claim(["env_1"], BOB.key)
    api = FakeAPI()
    client = api.client(middleware=[Ownership(store)])
    with acting_as(BOB), pytest.raises(NotOwner, match="agent_1"):
        client.beta.sessions.create(agent=agent, environment_id="env_1")
    assert api.journal == []


NAMES = (
    *("agent", "agent_id", "environment_id", "session_id", "vault_ids", "vault_id"),
    *("deployment_id", "memory_store_id", "skill_id"),
)


@pytest.mark.parametrize("named", NAMES)
def test_every_field_that_holds_an_id_is_looked_at(named: str) -> None:
    """Alone or in a list, in whatever call it stands."""
    api = FakeAPI()
    client = api.client(middleware=[Ownership(MemoryStore())])
    for body in ({named: "id_1"}, {named: ["id_1"]}, {"resources": [{named: {"id": "id_1"}}]}):
        with acting_as(BOB), pytest.raises(NotOwner, match="id_1"):
            client.post("/v1/sessions", cast_to=object, body=body)
    assert api.journal == []


def test_a_skill_in_a_container_is_its_owners(tmp_path: Path) -> None:
    """Those of the API itself are everybody's; what a tool is called with is nobody's business."""
    store = MemoryStore()
    store.claim(["skill_1"], ADA.key)
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json={})

    client = Anthropic(
        api_key="t",
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
        middleware=[Ownership(store)],
    )
    use = {"type": "tool_use", "id": "t", "name": "x", "input": {"session_id": "of_ours"}}
    turns = [{"role": "assistant", "content": [use]}]
    for skill, who in (("skill_1", ADA), ("xlsx", BOB), ("skill_1", BOB)):
        container = {"skills": [{"type": "custom", "skill_id": skill}]}
        body = {**ASK, "messages": turns, "container": container}
        items = [{"custom_id": "a", "params": body}]
        for path, asked in (("messages", body), ("messages/batches", {"requests": items})):
            with acting_as(who), contextlib.suppress(NotOwner):
                client.post(f"/v1/{path}", cast_to=object, body=asked)
    assert len(sent) == 4


def test_ids_are_checked_wherever_they_stand_in_a_path() -> None:
    """Each of them, and nothing that is no id."""
    store, sent = MemoryStore(), list[str]()

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.url.path)
        return httpx2.Response(200, json={})

    client = Anthropic(
        api_key="t",
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
        middleware=[Ownership(store)],
    )
    store.claim(["sesn_1", "res_1", "msgbatch_1", "skill_1"], ADA.key)
    store.claim(["res_2"], BOB.key)
    ours = [
        ("get", "/v1/sessions/sesn_1/resources/res_1?beta=true"),
        ("get", "/v1/messages/batches/msgbatch_1?beta=true"),
        ("get", "/v1/messages/batches/msgbatch_1/results"),
        ("get", "/v1/skills/skill_1/versions/1759178010641129"),
        ("get", "/v1/models/claude_x?limit=1"),
        ("post", "/v1/messages/count_tokens"),
    ]
    theirs = [
        ("get", "/v1/sessions/sesn_1/resources/res_2"),
        ("get", "/v1/messages/batches?limit=1"),
        ("delete", "/v1/messages/batches/msgbatch_2"),
        ("get", "/v1/files/file_1/content"),
        ("get", "/v1/sessions"),
    ]
    for method, path in (*ours, *theirs):
        body = {"body": ASK} if method == "post" else {}
        with acting_as(ADA), contextlib.suppress(NotOwner):
            getattr(client, method)(path, cast_to=object, **body)
    assert sent == [path.partition("?")[0] for _, path in ours]


def streamed(store: MemoryStore, how: str) -> None:
    """An async stream of ADA's that is read to its end, closed early, or dropped unread."""
    body = b'data: {"type": "message_start", "message": {"id": "msg_1"}}\n\ndata: {}\n\n'

    async def parts() -> Any:
        yield body[:30]
        yield body[30:]

    sent = {"content-type": "text/event-stream"}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, headers=sent, content=parts()))

    async def run() -> None:
        client = AsyncAnthropic(
            api_key="t",
            http_client=httpx2.AsyncClient(transport=transport),
            middleware=[Ownership(store)],
        )
        with acting_as(ADA):
            stream = await client.messages.create(**ASK, stream=True)
            if how == "read":
                await stream.response.aread()
            elif how == "closed":
                await stream.close()

    asyncio.run(run())


@pytest.mark.parametrize(("how", "owner"), [("read", ADA.key), ("closed", None), ("dropped", None)])
def test_the_ids_of_an_async_stream_are_owned_once_they_were_seen(
    how: str, owner: str | None
) -> None:
    """An id that was not read was not given out."""
    store = MemoryStore()
    streamed(store, how)
    assert store.owners(["msg_1"]) == [owner]


def test_only_the_latest_threads_are_remembered() -> None:
    """An older one is unknown, and treated as such."""
    threads = Threads[str](most=1)

    class Keep(Policy):
        def flow(self, request: APIRequest) -> Flow:
            response = yield request
            assert isinstance(request.json, dict)
            return (yield from threads.keep(request.json, response, "known"))

    client = FakeAPI().client(middleware=[Keep()])
    ids = [
        client.beta.messages.create(**ASK, thread={"type": "create"}, betas=BETA).id
        for _ in range(2)
    ]
    known = [threads.before({"thread": {"previous_message_id": one}}) for one in ids]
    assert known == [None, "known"]
