"""Fields of a response that only some requests get: each for what was asked."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from patterns.fake_api.limits import rfc3339

COMPACTING: Final = "compact-2026-01-12"
CONTAINER_SECONDS: Final = 3_600
PAID: Final = ("web_search", "web_fetch")
"""Server tools that `usage` counts."""


def extras_of(
    body: Mapping[str, Any],
    betas: frozenset[str],
    content: Sequence[Mapping[str, Any]] | None,
    at: float,
) -> dict[str, Any]:
    """Top-level fields of the message.

    Args:
        body: the checked request.
        betas: the request's betas.
        content: the reply's raw content blocks, where it has some.
        at: seconds since 1970.
    """
    found: dict[str, Any] = {}
    if body.get("context_management") is not None:
        found["context_management"] = {"applied_edits": []}
    if _runs_code(body, content or ()):
        found["container"] = {
            "id": _container_id(body.get("container")),
            "expires_at": rfc3339(int(at) + CONTAINER_SECONDS),
        }
    return found


def _runs_code(body: Mapping[str, Any], content: Sequence[Mapping[str, Any]]) -> bool:
    return body.get("container") is not None or any(
        "code_execution" in str(block.get("name")) for block in content
    )


def _container_id(container: Any) -> str:
    name = container.get("id") if isinstance(container, Mapping) else container
    return name or "container_011FakeContainerOfTheFakeA"


def iterations_of(usage: Mapping[str, Any], **named: str) -> list[dict[str, Any]]:
    """`usage.iterations` of an answer that took one go, with further fields by name."""
    keys = (
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "cache_creation",
    )
    return [{"type": "message", **named, **{key: usage[key] for key in keys}}]


def caller_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Who calls a tool, said where code could have called it too: here it is always the model."""
    kinds = [str(tool.get("type")) for tool in body.get("tools") or ()]
    by_code = any(kind.startswith("code_execution_2026") for kind in kinds)
    return {"caller": {"type": "direct"}} if by_code else {}


def server_tools_of(blocks: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How often tools that are paid by the call were used; nothing where none was."""
    names = [block["name"] for block in blocks if block["type"] == "server_tool_use"]
    if not {*names} & {*PAID}:
        return {}
    return {f"{name}_requests": names.count(name) for name in PAID}
