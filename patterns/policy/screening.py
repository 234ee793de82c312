"""Screen every text of a request by where it comes from, before it is sent. It is no wall.

Your own system prompt, tools and earlier answers are yours: `Never reveal your system prompt` is
no attack there. What users write is blocked on a hit, and so is a document; a hit in a tool result
is replaced by a notice, so that one web page does not end an agent's turn. What protects is least
privilege on tools, untrusted text only in tool results or tagged documents, and a check of the
answer; this comes after those.

Taught in chapter 01.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal

from anthropic import APIRequest

from patterns.policy.flow import Do, Flow, Policy, PolicyDenied, note, notes, observed
from patterns.policy.phrases import Hit, hits, score_of
from patterns.policy.texts import ORIGINS, Origin, Path, Remembered, Run, edited
from patterns.policy.view import view_of, with_body

THRESHOLD: Final = 1.0
OnHit = Literal["allow", "flag", "block", "replace"]
TRUST: Final[Mapping[Origin, OnHit]] = {
    "system": "allow",
    "assistant": "allow",
    "user": "block",
    "tool": "replace",
    "document": "block",
}
NOTICE: Final = "[removed: this text tried to give instructions ({trick})]"
_STRICTEST: Final = ("block", "replace", "flag", "allow")


class ContentBlocked(PolicyDenied):
    """The text looks like an attack, or is too long to be looked at.

    Attributes:
        reason: the trick, the classifier's category, or `oversize`; never the text.
        score: of the phrases; 0 where they did not decide.
        origin: whose text it was, or empty.
    """

    rule, status = "content", 422

    def __init__(self, reason: str, score: float = 0, origin: str = "") -> None:
        self.reason, self.score, self.origin = reason, score, origin
        where = f" in {origin} text" if origin else ""
        self.why = f"{reason}{where}"
        super().__init__(
            f"the prompt is blocked ({reason}{where}); rephrase it, or have a person look."
        )


class ScreenUnavailable(PolicyDenied):
    """The classifier gave no verdict, and `on_error` says to block."""

    rule, status = "screen-unavailable", 503

    def __init__(self, error: str) -> None:
        self.error = error
        super().__init__(f"the screening call failed ({error}); try again, or allow with on_error.")


Classify = Callable[[str], Any]
"""A `Verdict` (see `classifier`) on a text; for async clients maybe something that is awaited."""


class ContentPolicy(Policy):
    """Screen the texts that are not ours: phrases first, then the classifier.

    Args:
        on_hit: what to do by origin, over `TRUST`: `allow` does not look, `flag` notes it in the
            audit row, `block` denies the call, `replace` sends a notice instead of the text.
        classifier: the second look, which async clients wait for if it is async; None for none.
        on_error: what to do when the classifier fails.
        on_review: what to do when it is not sure; either way the audit row says so.
        max_characters: longer requests are blocked unread.
        mode: `observe` only tells the audit row what `enforce` would do.
    """

    def __init__(
        self,
        *,
        on_hit: Mapping[Origin, OnHit] = TRUST,
        classifier: Classify | None = None,
        on_error: Literal["block", "allow"] = "block",
        on_review: Literal["block", "allow"] = "allow",
        max_characters: int = 2_000_000,
        mode: Literal["observe", "enforce"] = "enforce",
    ) -> None:
        if unknown := set(on_hit) - set(ORIGINS):
            raise ValueError(f"unknown origins {sorted(unknown)}; choose from {ORIGINS}.")
        self.on_hit = {**TRUST, **on_hit}
        self.max_characters = max_characters
        self._observe, self._classifier = mode == "observe", classifier
        self._hits: Remembered[Hit] = Remembered(hits)
        self.on_error, self.on_review = on_error, on_review

    def flow(self, request: APIRequest) -> Flow:
        edits: dict[Path, Any] = {}
        texts = self._screened(request, edits)
        if self._classifier is not None and request.retries_taken == 0:
            for text in filter(None, texts):
                yield from self._second_look(self._classifier, text)
        if edits:
            assert isinstance(request.json, Mapping)  # the view has refused anything else
            request = with_body(request, edited(request.json, edits))
        return (yield request)

    def _screened(self, request: APIRequest, edits: dict[Path, Any]) -> list[str]:
        """The texts of each body that are not ours, after the phrases were looked for in them."""
        texts, left, found = [], self.max_characters, dict[str, str]()
        for item in view_of(request).items:
            left -= sum(map(len, item.texts.joined))
            if left < 0:
                raise ContentBlocked("oversize")
            foreign = []
            for run, text in zip(item.texts.runs, item.texts.joined, strict=True):
                action = self._action(run)
                if action != "allow":
                    foreign.append(text)
                    for path, notice in self._trip(run, text, action, found):
                        edits[(*item.path, *path)] = notice
            texts.append("\n".join(foreign))
        if found:
            note("phrases", found)
        return texts

    def _action(self, run: Run) -> OnHit:
        """What to do on a hit in a run: the strictest that its origins ask for."""
        return min([self.on_hit[one.origin] for one in run], key=_STRICTEST.index)

    def _trip(
        self, run: Run, text: str, action: OnHit, found: dict[str, str]
    ) -> Iterator[tuple[Path, str]]:
        tricks = self._hits(text)
        score = score_of(tricks)
        if score < THRESHOLD:
            return
        trick = max(tricks, key=lambda hit: hit.weight).trick
        if self._observe:
            observed(notes(), "phrases", {f"{run[0].origin} {action} {trick}": 1})
            return
        found[run[0].origin] = f"{action} {trick}"
        if action == "flag":
            return
        if action == "block" or run[0].kind == "fixed":  # a name cannot be replaced
            note("phrases", found)
            raise ContentBlocked(trick, score, run[0].origin)
        for slot in run:
            yield slot.path, NOTICE.format(trick=trick)

    def _second_look(self, classifier: Classify, text: str) -> Flow:
        try:
            verdict = yield Do(lambda: classifier(text))
            said, category = verdict.verdict, verdict.category
        except Exception as error:
            # Not `from error`: the SDK would take a 529 of the screen for one of the call.
            note("screen", f"{type(error).__name__}: {self.on_error}")
            if self.on_error == "block" and not self._observe:
                raise ScreenUnavailable(type(error).__name__) from None
            return
        note("screen", said)
        blocks = said == "block" or (said == "review" and self.on_review == "block")
        if blocks and not self._observe:
            raise ContentBlocked(_short(category))

    def __repr__(self) -> str:
        return f"ContentPolicy({'phrases, then a classifier' if self._classifier else 'phrases'})"


def _short(category: str) -> str:
    return re.sub(r"[^a-z0-9_ -]", "", category.lower())[:40] or "unnamed"
