"""Exercises of chapter 00: read an answer, know why it ended, price it."""

from decimal import Decimal
from typing import Any

from anthropic.types import CacheCreation, Message, Usage

from exercises import SOLVED, Exercise, Grade, Wrong, not_yet
from patterns.core.models import HAIKU, OPUS, SONNET
from patterns.core.pricing import cost_usd

THINKING = {"type": "thinking", "thinking": "private", "signature": "s"}
TOOL = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {}}


def _message(*content: Any, stop_reason: str = "end_turn") -> Message:
    blocks = [{"type": "text", "text": c} if isinstance(c, str) else c for c in content]
    return Message.model_validate(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": SONNET,
            "content": blocks,
            "stop_reason": stop_reason,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
    )


def grade_reading(answer: Any) -> Grade:
    """`answer(message)` returns all of the text and nothing else."""
    cases = [
        (_message("hello"), "hello", "it does not even read a plain answer"),
        (_message(THINKING, "hello"), "hello", "a thinking block may come first"),
        (_message("one ", "two"), "one two", "an answer may have several text blocks; join them"),
        (_message("wait", TOOL), "wait", "the last block may be a tool call, which has no text"),
        (_message(TOOL), "", "an answer may have no text at all: return an empty string"),
    ]
    for message, expected, hint in cases:
        try:
            got = answer(message)
        except Exception as error:
            return not_yet(f"{hint} ({type(error).__name__})")
        if got != expected:
            return not_yet(f"{hint}: expected {expected!r}, got {got!r}")
    return SOLVED


def grade_ending(answer: Any) -> Grade:
    """`answer(message)` says `whole`, `cut` or `refused`."""
    cases = [
        ("end_turn", "whole", "an answer that ended by itself is whole"),
        ("max_tokens", "cut", "max_tokens means that the text stops in the middle"),
        ("refusal", "refused", "a refusal can carry text too: look at stop_reason, not at length"),
        ("model_context_window_exceeded", "cut", "there is a second way to be cut off"),
        ("stop_sequence", "whole", "a stop sequence is an end that you asked for"),
    ]
    for stop_reason, expected, hint in cases:
        if answer(_message("Some text.", stop_reason=stop_reason)) != expected:
            return not_yet(f"{hint} ({stop_reason})")
    return SOLVED


def grade_price(answer: Any) -> Grade:
    """`answer(model, usage)` gives exact US dollars for any current model, cache included."""
    plain = Usage(input_tokens=1_000, output_tokens=500)
    cached = Usage(input_tokens=10, output_tokens=500, cache_read_input_tokens=50_000)
    long = Usage(input_tokens=150_000, output_tokens=500)
    writes = CacheCreation(ephemeral_5m_input_tokens=1_000, ephemeral_1h_input_tokens=2_000)
    written = Usage(
        input_tokens=10,
        output_tokens=500,
        cache_creation_input_tokens=3_000,
        cache_creation=writes,
    )
    cases = [
        (SONNET, plain, "start with one model and no cache"),
        (OPUS, plain, "each model has its own price"),
        (SONNET, cached, "tokens read from the cache are charged too, at a price of their own"),
        (SONNET, written, "cache writes cost more than input, those for an hour most"),
        (HAIKU, long, "Haiku 5.5 costs five times as much above 100,000 tokens of prompt"),
    ]
    for model, usage, hint in cases:
        got, expected = answer(model, usage), cost_usd(model, usage)
        if not isinstance(got, Decimal):
            return not_yet("count money in Decimal: floats lose fractions of a cent")
        if got != expected:
            return not_yet(f"{hint} ({model}: expected ${expected}, got ${got})")
    return SOLVED


EXERCISES = (
    Exercise(
        name="reading",
        starter="""\
def answer(message):
    return message.content[0].text""",
        solution="""\
def answer(message):
    return "".join(block.text for block in message.content if block.type == "text")""",
        grade=grade_reading,
        wrong=(
            Wrong(
                "def answer(message):\n    return message.content[-1].text", "several text blocks"
            ),
            Wrong(
                "def answer(message):\n"
                "    return next(b.text for b in message.content if b.type == 'text')",
                "several text blocks",
            ),
            Wrong(
                "def answer(message):\n"
                "    return ''.join(getattr(b, 'text', '?') for b in message.content[-2:])",
                "a thinking block may come first",
            ),
        ),
    ),
    Exercise(
        name="ending",
        starter="""\
answer = lambda message: "whole" if message.content else "refused\"""",
        solution="""\
endings = {"max_tokens": "cut", "model_context_window_exceeded": "cut", "refusal": "refused"}
answer = lambda message: endings.get(message.stop_reason, "whole")""",
        grade=grade_ending,
        wrong=(
            Wrong(
                "answer = lambda m: {'end_turn': 'whole', 'refusal': 'refused'}"
                ".get(m.stop_reason, 'cut')",
                "you asked for",
            ),
            Wrong(
                "answer = lambda m: {'max_tokens': 'cut', 'refusal': 'refused'}"
                ".get(m.stop_reason, 'whole')",
                "second way",
            ),
        ),
    ),
    Exercise(
        name="price",
        starter="""\
answer = lambda model, usage: (usage.input_tokens * 2 + usage.output_tokens * 10) / 1_000_000""",
        solution="""\
from patterns.core.pricing import cost_usd

answer = cost_usd""",
        grade=grade_price,
        wrong=(
            Wrong(
                "from decimal import Decimal\n"
                "answer = lambda model, usage: "
                "Decimal(usage.input_tokens * 2 + usage.output_tokens * 10) / 1_000_000",
                "its own price",
            ),
            Wrong(
                "from decimal import Decimal\nfrom patterns.core.pricing import rates\n"
                "answer = lambda model, usage: (rates(model).input * usage.input_tokens"
                " + rates(model).output * usage.output_tokens) / 1_000_000",
                "read from the cache",
            ),
        ),
    ),
)
