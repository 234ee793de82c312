"""Server-side fallback: a refused request goes to the next model that it names.

Source: build-with-claude/refusals-and-fallback, August 2026; `BetaFallbackBlock` and
`BetaFallbackMessageIterationUsage` of anthropic 2.14.0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from patterns.core.models import ModelFacts
from patterns.fake_api.extras import iterations_of
from patterns.fake_api.scripting.replies import Reply
from patterns.fake_api.tokens import text_tokens

Body: TypeAlias = Mapping[str, Any]

RECOMMENDED: Final = "claude-opus-4-8"
"""Where `"default"` sends what a model with unknown targets declined."""


@dataclass(frozen=True, slots=True)
class Declined:
    """An attempt that ended in a refusal."""

    model: str
    reply: Reply


def attempts(body: Body, facts: ModelFacts) -> list[Body]:
    """The request as each fallback model would get it, in order."""
    asked = body.get("fallbacks") or ()
    if asked == "default":
        targets = (RECOMMENDED,) if facts.fallbacks is None else facts.fallbacks[:1]
        asked = [{"model": model} for model in targets]
    return [{**body, **each} for each in asked]


def mark(message: dict[str, Any], declined: Sequence[Declined]) -> None:
    """Show in a message which models declined before, and what each attempt used."""
    usage = message["usage"]
    content: list[dict[str, Any]] = []
    before: list[dict[str, Any]] = []
    for n, each in enumerate(declined):
        after = declined[n + 1].model if n + 1 < len(declined) else message["model"]
        output = text_tokens(each.reply.text or "")
        if each.reply.text:
            content.append({"type": "text", "text": each.reply.text})
        content.append(
            {
                "type": "fallback",
                "from": {"model": each.model},
                "to": {"model": after},
                "trigger": {"type": "refusal", "category": each.reply.refusal},
            }
        )
        before += iterations_of({**usage, "output_tokens": output}, model=each.model)
    message["content"] = [*content, *message["content"]]
    served = iterations_of(usage, model=message["model"])[0]
    usage["iterations"] = [*before, {**served, "type": "fallback_message"}]
