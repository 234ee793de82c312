"""Keep identifiers out of prompts, answers and streams: redact, mask, hash, vault or block them.

For text that may hold e-mail addresses, numbers and keys of people who did not agree to send
them. Patterns find identifiers, not identities: a name or a street stays where it is. What does
find those is a language model, such as Presidio's, given as `find`; or Claude, which means sending
it what you wanted to keep.

Taught in chapter 01.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, Literal

from anthropic import APIRequest

from patterns.policy.cleaning import Cleaner, allows, chooser, report
from patterns.policy.detectors import ALL_TYPES, Match, PIIType, Strictness, find_pii
from patterns.policy.flow import Flow, Policy
from patterns.policy.identity import NoPrincipal, current_principal
from patterns.policy.redaction import Finder, PIIFound, Redacted, Strategy, redact, replacer
from patterns.policy.redaction_stream import CleanBody, CleanEvents, Redacting, Restoring
from patterns.policy.responses import (
    AnyResponse,
    is_open,
    json_of,
    kind_of,
    through,
    whole,
    with_json,
)
from patterns.policy.texts import NotReadable, Path, Remembered, edited
from patterns.policy.threads import Threads
from patterns.policy.vault import Vault
from patterns.policy.view import CREATE, RESULTS, View, outside, view_of, wants_json, with_body

__all__ = ["ALL_TYPES", "Match", "PIIFound", "PIIMiddleware", "Redacted", "find_pii", "redact"]

Name = tuple[str | None, str]
"""What names a conversation: its principal, and what it began with."""
Exceptions = Mapping[str | tuple[str, str], Strategy]
OURS: Final[Exceptions] = {("system", kind): "allow" for kind in ("email", "phone", "ip")}
"""Our own system prompt may name our support address; keys and card numbers may not be there."""
_PLAIN_ANSWERS: Final = ("models", "organizations")
"""Families whose answers are about the account, not about what somebody wrote; what is told of a
batch is of that kind too, and its `results_url` may hold an address."""


class PIIMiddleware(Policy):
    """Clean what goes to the API and what comes back: messages, batches, streams, results.

    Args:
        on_input: strategy for prompts, systems, tools and history; None lets them pass. `vault`
            puts placeholders in and, in the answer, the values back.
        on_output: strategy for answers; None lets them pass. Unless it is given, they are redacted
            where prompts are not masked as a whole, and what a vault holds is put back.
        exceptions: other strategies by type (`card`), origin (`tool`), or `(origin, type)`.
        allow: values that may stay; `@example.com` for a whole domain.
        types, strictness: as for `find_pii`.
        key: at least 32 bytes, for the strategy `hash`.
        find: another detector with the same result, such as one around a language model.
        vault: where conversations are kept; one of its own if None.
        mode: `observe` only tells the audit row what `enforce` would change.
    """

    def __init__(
        self,
        on_input: Strategy | None = "redact",
        on_output: Strategy | Literal["default"] | None = "default",
        *,
        exceptions: Exceptions = OURS,
        allow: Collection[str] = (),
        types: Collection[PIIType] = ALL_TYPES,
        strictness: Strictness = "balanced",
        key: bytes | None = None,
        find: Finder | None = None,
        vault: Vault | None = None,
        mode: Literal["observe", "enforce"] = "enforce",
    ) -> None:
        def by_patterns(text: str) -> list[Match]:
            return find_pii(text, types=types, strictness=strictness)

        vaults = "vault" in (on_input, on_output, *exceptions.values()) and mode == "enforce"
        self._restores = vaults and on_output in ("vault", "default")
        if on_output == "default":
            on_output = "vault" if on_input == "vault" else "redact"
        for strategy in {on_input, on_output, *exceptions.values()} - {None, "vault"}:
            replacer(strategy, key)  # type: ignore[arg-type]  # a wrong one is refused here
        options: Any = {"allowed": allows(allow), "observe": mode == "observe"}
        finder = find or by_patterns
        seen_before = find or Remembered(by_patterns)
        self._input = self._output = None
        if on_input is not None:
            self._input = Cleaner(seen_before, chooser(on_input, exceptions), key, **options)
        if on_output is not None:
            self._output = Cleaner(finder, chooser(on_output, {}), key, "output", **options)
        self._redacts = on_output != "vault" or mode == "observe"
        self.vault = (Vault() if vault is None else vault) if vaults else None
        self._threads = Threads[Name]()
        self._names = f"{on_input} in, {on_output} out" + (", observe" if mode == "observe" else "")

    def flow(self, request: APIRequest) -> Flow:
        view = view_of(request)
        if self._output is not None and view.endpoint.endswith("/content"):
            raise NotReadable(f"{view.endpoint} downloads what cannot be read; set on_output=None.")
        response = yield self._sent(request, view)
        if kind_of(response) == "failed":
            return response
        yield from whole(response)
        if self.vault is not None:
            response = yield from self._threads.keep(view.body, response, self._name(view))
        return response if self._output is None else (yield from self._received(view, response))

    def _sent(self, request: APIRequest, view: View) -> APIRequest:
        # On every attempt: each starts again from the caller's own body.
        if self._input is None:
            return request
        edits: dict[Path, Any] = {}
        seen: Counter[str] = Counter()
        self._input.edits([[slot] for slot in outside(request)], seen)
        vault = self.vault
        conversation = None if vault is None else vault.conversation(self._name(view))
        for item in view.items:
            found = self._input.edits(item.texts.runs, seen, None, conversation)
            for path, text in found.items():
                edits[(*item.path, *path)] = text
        report("input", seen, observe=self._input.observes)
        if not edits:
            return request
        assert isinstance(request.json, Mapping)  # the view has refused anything else
        return with_body(request, edited(request.json, edits), same_action=True)

    def _name(self, view: View) -> Name:
        """What names a conversation: its principal and its first turn, or the thread it goes on.

        Items of a batch share one, since their results come without their requests.
        """
        try:
            who: str | None = current_principal().key
        except NoPrincipal:
            who = None
        begun = self._threads.before(view.body)
        if begun is not None and begun[0] == who:
            return begun
        runs = view.items[0].texts.runs if view.body else ()
        slots = (slot for run in runs for slot in run)
        first = "".join(slot.text for slot in slots if slot.path[:2] == ("messages", 0))
        return who, hashlib.sha256(first.encode("utf-8", "replace")).hexdigest()

    def _received(self, view: View, response: AnyResponse) -> Flow:
        family = view.endpoint.partition("/v1/")[2].partition("/")[0]
        about_batches = view.endpoint.startswith("messages.batches.") and view.endpoint != RESULTS
        if family in _PLAIN_ANSWERS or about_batches:
            return response
        for outgoing in self._outgoing(view):
            response = yield from self._cleaned(view, response, outgoing)
        return response

    def _cleaned(self, view: View, response: AnyResponse, outgoing: Redacting | Restoring) -> Flow:
        payload = None if is_open(response) else json_of(response)
        if payload is None:
            body = CleanEvents(outgoing) if view.endpoint == CREATE else CleanBody(outgoing)
            return (yield from through(response, body))
        named = "content" in payload
        value = payload["content"] if named else payload
        cleaned = outgoing.value(value, payload.get("usage"))
        outgoing.told()
        if cleaned is value:
            return response
        return with_json(response, {**payload, "content": cleaned} if named else cleaned)

    def _outgoing(self, view: View) -> Iterator[Redacting | Restoring]:
        """What is done to an answer, in turn; a placeholder is no identifier."""
        if self._redacts and self._output is not None:
            yield Redacting(self._output)
        if self._restores and self.vault is not None:
            conversation = self.vault.conversation(self._name(view))
            yield Restoring(conversation, escaped=wants_json(view.body))

    def __repr__(self) -> str:
        return f"PIIMiddleware({self._names})"
