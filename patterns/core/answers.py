"""What an answer says, told whole, cut and refused apart; and how to send it back.

A response is a list of typed blocks and a reason why it ended. Indexing `content[0].text` breaks
as soon as a thinking block comes first, and it returns half an answer without a word. Use these
instead. Not for JSON: let `output_config` or `patterns.prompting.structured` produce that.

Taught in chapter 00.
"""

from typing import Any, Final

from anthropic.types import Message
from anthropic.types.beta import BetaMessage

from patterns.core.errors import Portable

TRUNCATING: Final = frozenset(("max_tokens", "model_context_window_exceeded"))
"""Stop reasons after which the text is only the beginning of an answer."""


class Refused(Portable, Exception):
    """Claude declined to answer.

    Attributes:
        category: policy category of the refusal, or None when the API names none.
        explanation: the API's own words, not stable, or None.
        message: the whole response with usage and request id; None when it was streamed.
        earlier: responses that led up to this one and were billed too, as in a re-ask.
    """

    earlier: tuple[Message, ...] = ()

    def __init__(
        self,
        category: str | None,
        explanation: str | None = None,
        message: Message | BetaMessage | None = None,
    ) -> None:
        self.category, self.explanation, self.message = category, explanation, message
        super().__init__(
            f"Claude refused (category {category or 'not given'}); rephrase the task or route it "
            "elsewhere, a retry gives the same answer."
        )


class Truncated(Portable, Exception):
    """The answer stops before its end.

    Attributes:
        stop_reason: `max_tokens`, `model_context_window_exceeded`, or None for a stream that
            ended without saying why.
        partial: the text up to the cut; empty when thinking used up the whole allowance.
        message: the whole response with usage and request id; None when it was streamed.
        earlier: responses that led up to this one and were billed too, as in a re-ask.
    """

    earlier: tuple[Message, ...] = ()

    def __init__(
        self,
        stop_reason: str | None,
        partial: str,
        message: Message | BetaMessage | None = None,
    ) -> None:
        self.stop_reason, self.partial, self.message = stop_reason, partial, message
        advice = {
            "max_tokens": "raise max_tokens; thinking counts towards it",
            "model_context_window_exceeded": "shorten the conversation",
        }.get(stop_reason or "", "the stream broke off; ask again")
        super().__init__(
            f"answer cut after {len(partial)} characters of text "
            f"({stop_reason or 'no stop reason'}): {advice}."
        )


def text_of(message: Message | BetaMessage) -> str:
    """The text of a complete answer: every text block, joined, whatever comes between them.

    A `tool_use` or `pause_turn` answer gives the text so far, which may be empty.

    Raises:
        Refused: the stop reason is `refusal`.
        Truncated: the stop reason is `max_tokens` or `model_context_window_exceeded`.
    """
    blocks = message.content or ()  # null, from some proxies
    text = "".join(block.text or "" for block in blocks if block.type == "text")
    if message.stop_reason == "refusal":
        details = message.stop_details
        raise Refused(
            details.category if details else None,
            details.explanation if details else None,
            message,
        )
    if message.stop_reason in TRUNCATING:
        raise Truncated(message.stop_reason, text, message)
    return text


def sendable(message: Message | BetaMessage) -> list[dict[str, Any]]:
    """An answer's content as it can be sent back, thinking included; empty if that is impossible.

    The API answers with blank text blocks now and then and refuses to take them back, and a turn
    of thinking alone says nothing: leave such a turn out, consecutive user turns are fine.
    """
    blocks = [block.to_dict() for block in message.content or ()]
    kept = [each for each in blocks if each["type"] != "text" or str(each["text"] or "").strip()]
    says = any(each["type"] not in ("thinking", "redacted_thinking") for each in kept)
    return kept if says else []
