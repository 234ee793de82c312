"""Many independent questions about the same documents, cached once and asked side by side.

The shared part is written by one call first, then everything runs at once and reads it. Not for
a conversation: see `assistant`.

Taught in chapter 07.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from anthropic import AsyncAnthropic
from anthropic.types import Message

from patterns.core.answers import text_of
from patterns.core.errors import checked_text
from patterns.core.fan_out import Outcome, fan_out
from patterns.core.model_ids import SONNET

from .assistant import Documents, Reply, each_text, shared_prefix
from .diagnosis import explain_miss
from .limits import TTL
from .stats import CacheStats
from .warming import warm_async


class DocumentQA:
    """Independent questions about the same documents, cached once and asked side by side.

    Args:
        client: an async Anthropic client.
        documents: texts by title, or texts alone.
        system: instructions in front of the documents.
        model: an id from `patterns.core.models`.
        max_tokens: limit of one answer, thinking included.
        ttl: lifetime of instructions and documents.
        limit: how many questions run at once.
        options: anything else for `messages.create`.

    Raises:
        UnknownTTL: the lifetime is neither "5m" nor "1h".
    """

    def __init__(
        self,
        client: AsyncAnthropic,
        documents: Documents,
        *,
        system: str = "Answer from the documents. Name the document that you used.",
        model: str = SONNET,
        max_tokens: int = 2_048,
        ttl: TTL = "5m",
        limit: int = 8,
        **options: Any,
    ) -> None:
        self._client, self._limit = client, limit
        self._fixed = {"model": model, "max_tokens": max_tokens, **options}
        self._fixed["system"] = shared_prefix(system, documents, ttl)
        self.stats = CacheStats()
        """Everything paid so far, warming included."""

    def request(self, question: str) -> dict[str, Any]:
        """What one question sends: keyword arguments of `messages.create`."""
        return {**self._fixed, "messages": [{"role": "user", "content": question}]}

    async def ask(self, questions: Iterable[str]) -> list[Outcome[str, Reply]]:
        """Ask every question; outcomes come in the order of the questions.

        With two or more questions the documents are warmed first: a read more when they are in
        the cache already, many writes fewer when they are not. A question that fails, is refused
        or is cut off is an outcome with its error; the others are answered.

        Raises:
            CannotWarm, NotCached, anthropic.APIError: warming failed; no question was sent.
            NotText: a question is none.
        """
        asked = [checked_text("question", each) for each in each_text("questions", questions)]
        if len(asked) > 1:
            self._count(await warm_async(self._client, self.request(asked[0])))
        return [o async for o in fan_out(asked, self._answer, limit=self._limit, ordered=True)]

    async def _answer(self, question: str) -> Reply:
        message = await self._client.messages.create(**self.request(question))
        stats = self._count(message)
        return Reply(text_of(message), message.stop_reason, stats, explain_miss(message), message)

    def _count(self, message: Message) -> CacheStats:
        stats = CacheStats.of(message)
        self.stats += stats
        return stats
