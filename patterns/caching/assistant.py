"""Conversations that keep their prefix byte for byte, and count what the cache does for them.

`CachedAssistant` is one conversation: instructions, documents and tools behind one breakpoint,
and a second one that moves with the turns. Not for prompts that are new every time; for questions
that do not depend on each other see `documents`.

Taught in chapter 07.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message

from patterns.core.answers import Truncated, sendable, text_of
from patterns.core.errors import NotText, checked_text
from patterns.core.model_ids import SONNET
from patterns.core.tags import tag

from .blocks import blocks_of
from .diagnosis import Miss, explain_miss
from .limits import LOOKBACK, MAX_BREAKPOINTS, TTL, as_ttl
from .prefix import TTLOrder, check_breakpoints
from .stats import CacheStats

Client = TypeVar("Client", Anthropic, AsyncAnthropic)

MOST_PAUSES: Final = 10
"""How often a paused turn is sent back before it is given up."""
Documents = Mapping[str, str] | Sequence[str]
"""Texts by title, or texts alone."""


@dataclass(frozen=True)
class Reply:
    """One answer and what it cost."""

    text: str
    stop_reason: str | None
    stats: CacheStats
    miss: Miss | None
    """Why the cache did not reuse the previous turn, where the API says so."""
    message: Message
    """The whole response: usage, id, every block; the last one of a turn that was paused."""

    @property
    def request_id(self) -> str | None:
        """The API's id of the request, for support and logs."""
        return self.message._request_id


class _Conversation(Generic[Client]):
    """State of one conversation, shared by the sync and the async assistant."""

    def __init__(
        self,
        client: Client,
        system: str,
        *,
        documents: Documents = (),
        tools: Sequence[Mapping[str, Any]] = (),
        model: str = SONNET,
        max_tokens: int = 2_048,
        prefix_ttl: TTL | None = "5m",
        turns_ttl: TTL | None = "5m",
        **options: Any,
    ) -> None:
        if turns_ttl == "1h" and prefix_ttl == "5m":
            raise TTLOrder("the conversation")
        self._client: Client = client
        fixed: dict[str, Any] = {"model": model, "max_tokens": max_tokens, **options}
        if prefix := shared_prefix(system, documents, prefix_ttl):
            fixed["system"] = prefix
        if tools:
            fixed["tools"] = [dict(tool) for tool in tools]
        if turns_ttl is not None:
            fixed["cache_control"] = {"type": "ephemeral", "ttl": as_ttl(turns_ttl)}
        self._fixed = fixed
        self._messages: list[dict[str, Any]] = []
        self._last_id: str | None = None
        self._end: int | None = None  # the message at which the last request ended
        self.stats = CacheStats()
        """Everything paid so far, answers that could not be used included."""

    @property
    def turns(self) -> tuple[Mapping[str, Any], ...]:
        """The conversation so far, as it is sent."""
        return tuple(self._messages)

    def request(self, content: str | Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What `ask` would send: keyword arguments of `messages.create`."""
        turn = content if isinstance(content, str) else blocks_of(content)
        request = {
            **self._fixed,
            "messages": [*self._messages, {"role": "user", "content": turn}],
            "diagnostics": {"previous_message_id": self._last_id},
        }
        return self._reaching_back(request)

    def _reaching_back(self, request: dict[str, Any]) -> dict[str, Any]:
        """Mark where the last request ended, if what was added since is out of the cache's sight.

        From its breakpoint the cache looks back over LOOKBACK blocks: ten tools called at once,
        with their results, are more.
        """
        messages: list[dict[str, Any]] = request["messages"]
        added: list[dict[str, Any]] = [] if self._end is None else messages[self._end + 1 :]
        is_wide = sum(len(blocks_of(each["content"])) for each in added) >= LOOKBACK
        automatic = request.get("cache_control")
        if self._end is None or not (is_wide and automatic):
            return request
        if len(check_breakpoints(request)) >= MAX_BREAKPOINTS:
            return request
        end = messages[self._end]
        *before, last = blocks_of(end["content"])
        marked = {**end, "content": [*before, {**last, "cache_control": automatic}]}
        messages = [*messages[: self._end], marked, *added]
        return {**request, "messages": messages}

    def _take(self, request: dict[str, Any], answers: Sequence[Message]) -> Reply | None:
        """Count the last call, and keep the turn only if its answer can be used.

        Of a turn that the server paused there is more to come: None, and what comes back of it is
        added to the request, to be sent as it is.
        """
        message = answers[-1]
        sent: list[dict[str, Any]] = request["messages"]
        self.stats += CacheStats.of(message)
        text = "".join(map(text_of, answers))
        if content := sendable(message):
            request["messages"] = [*sent, {"role": "assistant", "content": content}]
        if content and message.stop_reason == "pause_turn":
            if len(answers) > MOST_PAUSES:
                raise Truncated(message.stop_reason, text, message)
            return None
        self._messages += request["messages"][len(self._messages) :]
        self._end = len(sent) - 1
        self._last_id = message.id
        stats = sum(map(CacheStats.of, answers), CacheStats())
        return Reply(text, message.stop_reason, stats, explain_miss(message), message)


class CachedAssistant(_Conversation[Anthropic]):
    """A conversation whose instructions and turns are cached.

    A call that fails, is refused or is cut off leaves the conversation as it was; what it cost
    stays in `stats`. A blank answer is returned, and not sent back, which the API would refuse.
    A turn that the server pauses in a long search is sent back until it ends: one reply, several
    calls. One conversation is for one thread.

    Args:
        client: any Anthropic client.
        system: instructions; keep times, names and ids out of them.
        documents: texts to answer from, escaped and put behind the instructions.
        tools: tool definitions. `ask` also takes tool results, as a list of blocks.
        model: an id from `patterns.core.models`.
        max_tokens: limit of one answer, thinking included.
        prefix_ttl: lifetime of instructions, documents and tools; None for no breakpoint there.
        turns_ttl: lifetime of the conversation; None to leave the turns uncached.
        options: anything else for `messages.create`, the same for every turn.

    Raises:
        UnknownTTL, TTLOrder: a lifetime that does not exist, or a longer one behind a shorter.
    """

    def ask(self, content: str | Sequence[Mapping[str, Any]]) -> Reply:
        """Send the next user turn and return the answer.

        Raises:
            Refused, Truncated: there is no complete answer; the turn is not kept.
            anthropic.APIError: the call failed; nothing changed.
        """
        request, answers = self.request(content), list[Message]()
        while True:
            answers.append(self._client.messages.create(**request))
            if reply := self._take(request, answers):
                return reply


class AsyncCachedAssistant(_Conversation[AsyncAnthropic]):
    """`CachedAssistant` for an async client; turns asked at once go one after the other."""

    @cached_property
    def _turn(self) -> asyncio.Lock:
        return asyncio.Lock()

    async def ask(self, content: str | Sequence[Mapping[str, Any]]) -> Reply:
        """Send the next user turn and return the answer; raises as `CachedAssistant.ask` does."""
        async with self._turn:
            request, answers = self.request(content), list[Message]()
            while True:
                answers.append(await self._client.messages.create(**request))
                if reply := self._take(request, answers):
                    return reply


def shared_prefix(system: str, documents: Documents, ttl: TTL | None) -> list[dict[str, Any]]:
    """System blocks of instructions and documents, with a breakpoint on the last one.

    Documents are escaped inside `<document>` tags, so that their text cannot pose as a tag; one
    text alone is one document.
    """
    if isinstance(documents, Mapping):
        titled: Iterable[tuple[str | int, str]] = documents.items()
    else:
        titled = enumerate(each_text("documents", documents), start=1)
    said = [system] if checked_text("system", system).strip() else []  # the API refuses blanks
    texts = [*said, *(tag("document", text, title=title) for title, text in titled)]
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text} for text in texts]
    if ttl is not None and blocks:
        blocks[-1]["cache_control"] = {"type": "ephemeral", "ttl": as_ttl(ttl)}
    return blocks


def each_text(name: str, texts: Any) -> Iterable[Any]:
    """Several texts one by one; a single text is one of them, not one for each letter."""
    if isinstance(texts, str):
        return [texts]
    if not isinstance(texts, Iterable):
        raise NotText(name, texts)
    return texts
