"""One flow for sync and async clients: a policy is a generator, and two thin drivers run it.

As `httpx.Auth.auth_flow` does: the generator yields the request that shall be sent and gets the
response, or yields `Do`, work that waits in each client's own way. So what is decided, in which
order, and what happens on failure stands once. Here too: what the policies of one call tell its
audit row.

Taught in chapter 01.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from inspect import isawaitable, iscoroutine
from typing import Any, NamedTuple

from anthropic import APIRequest, APIResponse, AsyncAPIResponse, AsyncCallNext, CallNext, Middleware

from patterns.core.errors import Portable

Flow = Generator[Any, Any, Any]


class PolicyDenied(Portable, Exception):
    """A policy said no. Nothing of the call was sent, and the SDK does not retry it.

    Attributes:
        rule: short name of the rule that denied.
        why: the reason for the audit log, without any text of the request.
        status: what it is over HTTP, for a service whose caller is denied; see `asgi`.
    """

    rule = "policy"
    status = 403
    why = ""


class Do(NamedTuple):
    """Work that waits: `sync` blocks the thread, `other` gives the event loop back.

    Without `other`, async clients call `sync` as well, and wait for what it returns if that has
    to be waited for, as what an async Redis client returns.
    """

    sync: Callable[[], Any]
    other: Callable[[], Any] | None = None

    def now(self) -> Any:
        """The result, in a thread that may wait."""
        result = self.sync()
        if iscoroutine(result):
            result.close()
            raise TypeError("this needs an async client; give a sync one what does not await.")
        return result

    async def awaited(self) -> Any:
        """The result, in an event loop."""
        result = (self.other or self.sync)()
        return await result if isawaitable(result) else result


class Policy(Middleware):
    """A middleware that is written once, as `flow`."""

    def flow(self, request: APIRequest) -> Flow:
        """Yield requests to send and `Do` to wait for; return the response."""
        return (yield request)

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        begun = [self.flow(request)]
        step, result = outward(begun)
        while begun:
            error = None
            try:
                result = step.now() if type(step) is Do else call_next(step)
            except BaseException as raised:
                error = raised
            step, result = outward(begun, result, error)
        return result  # type: ignore[no-any-return]

    async def handle_async(
        self, request: APIRequest, call_next: AsyncCallNext
    ) -> AsyncAPIResponse[Any]:
        begun = [self.flow(request)]
        step, result = outward(begun)
        while begun:
            error = None
            try:
                result = await (step.awaited() if type(step) is Do else call_next(step))
            except BaseException as raised:
                error = raised
            step, result = outward(begun, result, error)
        return result  # type: ignore[no-any-return]


def outward(begun: list[Flow], result: Any = None, error: BaseException | None = None) -> Any:
    """Hand a result or an error to the innermost flow, and what becomes of it to the next one.

    Returns the step that comes next, or None and the result when no flow is left.
    """
    while begun:
        try:
            if error is not None:
                return begun[-1].throw(error), None
            return begun[-1].send(result), None
        except StopIteration as end:
            result, error = end.value, None
        except BaseException as raised:
            error = raised
        begun.pop()
    if error is not None:
        raise error
    return None, result


_notes: ContextVar[dict[str, Any] | None] = ContextVar("notes", default=None)


@contextmanager
def noting() -> Iterator[dict[str, Any]]:
    """Collect what the policies of one call have to say to the audit log."""
    notes: dict[str, Any] = {}
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


def notes() -> dict[str, Any] | None:
    """The notes of the running call; None when nobody keeps them."""
    return _notes.get()


def observed(kept: dict[str, Any] | None, policy: str, what: Mapping[str, int]) -> None:
    """Tell the audit row what a policy would have done, had it not only observed."""
    if kept is not None and what:
        counts = kept.setdefault("observed", {}).setdefault(policy, {})
        counts.update(what)


def note(key: str, value: Any) -> None:
    """Say something about the running call to its audit row; never put prompt text in it."""
    kept = _notes.get()
    if kept is not None:
        kept[key] = value
