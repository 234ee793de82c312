"""Whether the API would take a request body.

In this order: the model exists, the shape is that of the SDK's types (`shapes`, with `ranges` and
`betas`), the version still takes it (`versions`), the messages are a conversation (`turns`), what
the model takes (`model_rules`), tools and schemas (`tools`, `schemas`), their results (`results`),
images and documents (`media`), and features with rules of their own (`features`). Each check
raises the 400 (or 404) that the API documents, with the path of the field at fault in front.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, Literal

from anthropic.types.beta import BetaJSONOutputFormatParam
from anthropic.types.beta.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.beta.message_create_params import MessageCreateParamsBase

from patterns.core.models import MODELS, ModelFacts
from patterns.fake_api.clock import day_of
from patterns.fake_api.validation.features import check_features, check_whole
from patterns.fake_api.validation.media import check_media
from patterns.fake_api.validation.model_rules import check_model_rules
from patterns.fake_api.validation.ranges import sized
from patterns.fake_api.validation.results import check_results
from patterns.fake_api.validation.settings import forces_tool, thinking_of
from patterns.fake_api.validation.shapes import NOT_PERMITTED, check_shape
from patterns.fake_api.validation.tools import check_tools, output_format
from patterns.fake_api.validation.turns import check_turns
from patterns.fake_api.validation.values import Betas, said
from patterns.fake_api.validation.versions import NEWEST, check_removed
from patterns.fake_api.wire.errors import APIError, bad

HEADERS: Final = frozenset(("betas", "user_profile_id", "workspace_id"))
"""Parameters of the SDK's methods that travel as headers."""
PLAIN: Final = frozenset(("max_tokens", "messages", "metadata", "model", "stream", "system"))
MODEL_NAME: Final = sized(1, 256)
Place = Literal["message", "count_tokens", "batch"]
"""Where a body came in."""


class CreateParams(MessageCreateParamsBase, total=False):
    """The body of a request for a message: what the SDK's type has and what the wire takes too."""

    stream: bool
    temperature: float
    top_p: float
    top_k: int
    output_format: BetaJSONOutputFormatParam | None


class CountParams(MessageCountTokensParams, total=False):
    """The body of a request to count tokens."""

    output_format: BetaJSONOutputFormatParam | None


def check_request(
    body: Any,
    *,
    now: float,
    betas: Betas = frozenset(),
    place: Place = "message",
    version: str = NEWEST,
) -> ModelFacts:
    """Raise the API's error for a body that it would not take; return the model's row.

    Args:
        body: the parsed JSON.
        now: the API's time, which decides on retired models.
        betas: the betas that the request asks for.
        place: where it came in; a count needs no `max_tokens`, and a batch may be longer.
        version: the API's version that the request names.
    """
    today = day_of(now)
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        check_model(body["model"], today)  # before what else is wrong
    check_body(body, betas, place)
    facts = MODELS[body["model"]]
    check_removed(body, version)
    check_whole(body)
    check_turns(body["messages"], thinking_of(body, facts))
    check_model_rules(body, facts, betas=betas, on=today, batched=place == "batch")
    if not is_plain(body):
        _check_words(body)
        check_tools(body)
        check_results(body)
        check_media(body, facts)
        check_features(body, facts, betas)
        for each in _named_fallbacks(body):
            direct = {**body, **each}
            check_model_rules(direct, MODELS[each["model"]], betas=betas, on=today)
    if body.get("max_tokens") == 0 or output_format(body) is not None:
        _check_together(body, facts)
    return facts


def _named_fallbacks(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Fallbacks by name: the request has to be one that each of them would take directly."""
    fallbacks = body.get("fallbacks")
    return fallbacks if isinstance(fallbacks, list) else ()


def is_plain(body: Mapping[str, Any]) -> bool:
    """Whether a request holds text alone, which most rules say nothing about."""
    if not body.keys() <= PLAIN or isinstance(body.get("system"), list):
        return False
    return all(isinstance(m.get("content"), str) for m in body["messages"])


def check_body(body: Any, betas: Betas, place: Place = "message") -> None:
    """Raise the 400 for a body that does not have the shape of a request."""
    if not isinstance(body, dict):
        raise APIError(400, f"the body must be a JSON object, not {said(body)}")
    for key in HEADERS & body.keys():
        raise bad(key, NOT_PERMITTED)
    check_shape(CountParams if place == "count_tokens" else CreateParams, body, betas)


def check_model(model: str, today: date) -> None:
    """Raise the 404 for an unknown or retired model, the 400 for what cannot be a name."""
    if (problem := MODEL_NAME(model)) is not None:
        raise bad("model", problem)
    facts = MODELS.get(model)
    if facts is None or facts.retired(today):
        raise APIError(404, f"model: {model}")


def _check_words(body: Mapping[str, Any]) -> None:
    """Stop sequences and blocks of the system prompt hold something other than whitespace."""
    system = body.get("system")
    for n, block in enumerate(system if isinstance(system, list) else ()):
        if not block["text"].strip():
            raise bad(f"system.{n}", "text content blocks must contain non-whitespace text")
    for n, word in enumerate(body.get("stop_sequences") or ()):
        if not word.strip():
            raise bad(f"stop_sequences.{n}", "each stop sequence must contain non-whitespace")


def _check_together(body: Mapping[str, Any], facts: ModelFacts) -> None:
    """What does not go together."""
    form = output_format(body)
    if (body.get("output_config") or {}).get("format") and body.get("output_format"):
        raise bad("output_format", "cannot be given together with `output_config.format`")
    last = body["messages"][-1]
    if form is not None and last["role"] == "assistant" and facts.prefill:
        raise APIError(400, "an assistant message prefill does not go with an output format")
    if body.get("max_tokens") != 0:
        return
    reasons = {
        "stream": body.get("stream"),
        "thinking.type enabled": (body.get("thinking") or {}).get("type") == "enabled",
        "output_config.format": form,
        "a tool_choice that forces a tool": forces_tool(body),
    }
    for key, given in reasons.items():
        if given:
            raise bad("max_tokens", f"0 (cache warming) cannot be combined with {key}")
