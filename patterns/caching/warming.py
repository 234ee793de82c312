"""Let one call go first, so that the parallel ones read the cache instead of all writing it.

An entry can be read only once the response that writes it has begun: N cold calls at once pay for
N writes, which is dearer than no caching at all. `max_tokens=0` writes the entry without an
answer. Not needed for calls that follow one another.

Taught in chapter 07.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message

from patterns.core.errors import Portable
from patterns.core.fan_out import Limit, Outcome, fan_out

from .blocks import Request
from .limits import min_cacheable
from .prefix import check_breakpoints
from .stats import CacheStats


class CannotWarm(Portable, ValueError):
    """A request that the API does not process with `max_tokens=0`.

    Attributes:
        setting: what stands in the way.
    """

    def __init__(self, setting: str) -> None:
        self.setting = setting
        super().__init__(f"cannot warm a request with {setting}; let one real call go first.")


class NotCached(Portable, RuntimeError):
    """A warming call that neither wrote nor read anything.

    Attributes:
        tokens: length of the whole prompt.
        minimum: the shortest prefix that the model caches.
        message: the response, with its usage and request id.
    """

    def __init__(self, tokens: int, minimum: int, message: Message) -> None:
        self.tokens, self.minimum, self.message = tokens, minimum, message
        super().__init__(
            f"nothing of {tokens:,} prompt tokens was cached; the marked prefix is under "
            f"{minimum:,} tokens: mark more of it, or do without caching."
        )


def warm(client: Anthropic, request: Request) -> Message:
    """Write the marked prefix of a request to the cache, or refresh it, without an answer.

    Args:
        client: any Anthropic client.
        request: keyword arguments of `messages.create`, with a breakpoint.

    Raises:
        CannotWarm: no breakpoint, or a setting that goes against `max_tokens=0`: stream,
            thinking with a budget, structured output, forced tool choice.
        TooManyBreakpoints, UnknownTTL, TTLOrder: the request would be refused.
        NotCached: it went through, and nothing was cached.
    """
    return _warmed(request, client.messages.create(**_warming(request)))


async def warm_async(client: AsyncAnthropic, request: Request) -> Message:
    """`warm` for an async client."""
    return _warmed(request, await client.messages.create(**_warming(request)))


async def warm_then_fan_out(
    client: AsyncAnthropic, requests: Iterable[Request], *, limit: int | Limit
) -> AsyncIterator[Outcome[Request, Message]]:
    """Warm the prefix that all requests share, then send them side by side.

    Yields an `Outcome` per request as they end, failures included. The warming call costs one
    read more than letting the first request go alone, and does not wait for its answer.

    Args:
        client: an async Anthropic client.
        requests: keyword arguments of `messages.create`; all with the first one's marked prefix.
        limit: how many run at once.

    Raises:
        CannotWarm, NotCached, anthropic.APIError: warming failed; no request was sent.
    """
    jobs = list(requests)
    if len(jobs) > 1:
        await warm_async(client, jobs[0])

    async def send(request: Request) -> Message:
        answer: Message = await client.messages.create(**request)
        return answer

    async for outcome in fan_out(jobs, send, limit=limit):
        yield outcome


def _warming(request: Request) -> dict[str, Any]:
    if not check_breakpoints(request):
        raise CannotWarm("no cache_control")
    if blocking := _in_the_way(request):
        raise CannotWarm(blocking)
    return {**request, "max_tokens": 0}


def _in_the_way(request: Request) -> str | None:
    thinking = (request.get("thinking") or {}).get("type")
    choice = (request.get("tool_choice") or {}).get("type")
    if request.get("stream"):
        return "stream"
    if thinking == "enabled":
        return "a thinking budget"
    if (request.get("output_config") or {}).get("format"):
        return "structured output"
    return f"tool_choice {choice}" if choice in ("any", "tool") else None


def _warmed(request: Request, message: Message) -> Message:
    tokens = CacheStats.of(message).tokens
    if not tokens.read + tokens.written:
        raise NotCached(tokens.prompt, min_cacheable(request["model"]), message)
    return message
