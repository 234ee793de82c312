"""Rules of features that come with a beta or a server tool: what must be there, and in which order.

Sources: build-with-claude/{context-editing, compaction, refusals-and-fallback, skills-guide} and
agents-and-tools/{mcp-connector, tool-use/advisor-tool, tool-use/programmatic-tool-calling,
tool-use/web-search-tool} of August 2026; docstrings of anthropic 2.14.0.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from patterns.core.models import MODELS, ModelFacts
from patterns.fake_api.validation.settings import thinking_of
from patterns.fake_api.validation.tools import FILTERED
from patterns.fake_api.validation.turns import blocks_of
from patterns.fake_api.wire.errors import APIError, bad
from patterns.fake_api.wire.signatures import is_changed, is_ours

LEAST_TRIGGER: Final = 50_000
"""Smallest number of input tokens at which a conversation may be compacted."""
MOST_FALLBACKS: Final = 3
MOST_SKILLS: Final = 20
OLD_MCP: Final = "mcp-client-2025-04-04"
"""The beta under which a server needs no toolset."""
DEFAULT_FALLBACK: Final = "server-side-fallback-2026-07-01"
FINE_GRAINED: Final = "fine-grained-tool-streaming-2025-05-14"


def check_features(body: Mapping[str, Any], facts: ModelFacts, betas: frozenset[str]) -> None:
    """Raise the 400 for a feature that is used in a way that the API would not take."""
    _check_edits(body, facts)
    _check_compaction(body)
    _check_mcp(body, betas)
    _check_fallbacks(body, facts, betas)
    _check_skills(body)
    for n, tool in enumerate(body.get("tools") or ()):
        _check_server_tool(f"tools.{n}", tool, facts, betas)


def _check_edits(body: Mapping[str, Any], facts: ModelFacts) -> None:
    edits = (body.get("context_management") or {}).get("edits") or ()
    for n, edit in enumerate(edits):
        path = f"context_management.edits.{n}"
        if edit["type"] in [other["type"] for other in edits[:n]]:
            raise bad(path, f"{edit['type']!r} comes twice; each strategy may be used once")
        if edit["type"] == "clear_thinking_20251015":
            if thinking_of(body, facts) == "disabled":
                raise bad(
                    path, "`clear_thinking_20251015` strategy requires `thinking` to be enabled"
                )
            if n:
                raise bad(path, "`clear_thinking_20251015` strategy must come first in `edits`")
        if edit["type"] == "compact_20260112":
            _check_compact(path, edit, facts)


def _check_compact(path: str, edit: Mapping[str, Any], facts: ModelFacts) -> None:
    if not facts.compaction:
        raise bad(path, f"compaction is not supported by {facts.id}")
    value = (edit.get("trigger") or {}).get("value", LEAST_TRIGGER)
    if value < LEAST_TRIGGER:
        raise bad(f"{path}.trigger.value", f"must be at least {LEAST_TRIGGER}, got {value}")


def _check_compaction(body: Mapping[str, Any]) -> None:
    """The `compaction` parameter, and `compaction` blocks that come back."""
    if body.get("compaction") is not None and body.get("context_management") is not None:
        raise bad("compaction", "cannot be combined with `context_management`")
    signed: list[tuple[int, int, Mapping[str, Any]]] = []
    for n, message in enumerate(body["messages"]):
        for m, block in enumerate(blocks_of(message)):
            if block["type"] == "compaction":
                if block.get("content") == "":
                    raise bad(f"messages.{n}.content.{m}.compaction.content", "must not be empty")
                if block.get("signature") is not None:
                    signed.append((n, m, block))
    if len(signed) > 1:
        raise _compaction_error("block_ambiguous", signed[1], "is one of several; send the last")
    for each in signed:
        n, m, sent = each
        if (n, m) != (0, 0):
            raise _compaction_error("block_misplaced", each, "must start the conversation")
        if not is_ours(sent["signature"]):
            raise _compaction_error("signature_invalid", each, "has an invalid `signature`")
        if is_changed(sent.get("content") or "", sent["signature"]):
            raise _compaction_error("content_mismatch", each, "has other `content` than was signed")


def check_whole(body: Mapping[str, Any]) -> None:
    """Raise the 400 for a conversation that is to be summarized in the middle of a turn."""
    last = body["messages"][-1] if body["messages"] else {"role": "user"}
    if body.get("compaction") is None or last["role"] != "assistant":
        return
    kinds = [block["type"] for block in blocks_of(last)]
    if "tool_use" in kinds or kinds[-1:] == ["server_tool_use"]:
        raise APIError(
            400,
            "compaction: the conversation ends on an assistant turn that is not finished; "
            "send the tool results first",
            error_code="compaction_incomplete_turn",
        )


def _compaction_error(kind: str, found: tuple[int, int, Any], problem: str) -> APIError:
    return APIError(
        400,
        f"messages.{found[0]}.content.{found[1]}: the `compaction` block {problem}",
        error_code=f"compaction_{kind}",
    )


def _check_mcp(body: Mapping[str, Any], betas: frozenset[str]) -> None:
    servers = body.get("mcp_servers") or ()
    names = [server["name"] for server in servers]
    for n, server in enumerate(servers):
        if not server["url"].startswith("https://"):
            raise bad(f"mcp_servers.{n}.url", "must start with https://")
        if names.index(server["name"]) != n:
            raise bad(
                f"mcp_servers.{n}.name", f"mcp server names must be unique: {server['name']!r}"
            )
    toolsets = [
        tool["mcp_server_name"]
        for tool in body.get("tools") or ()
        if tool.get("type") == "mcp_toolset"
    ]
    for name in toolsets:
        if name not in names:
            raise bad("tools", f"mcp_toolset names the server {name!r}, not in `mcp_servers`")
        if toolsets.count(name) > 1:
            raise bad("tools", f"the MCP server {name!r} has more than one mcp_toolset")
    unused = [name for name in names if name not in toolsets]
    if unused and OLD_MCP not in betas:
        raise bad("mcp_servers", f"the MCP server {unused[0]!r} is in no mcp_toolset of `tools`")


def _check_skills(body: Mapping[str, Any]) -> None:
    container = body.get("container")
    skills = container.get("skills") if isinstance(container, Mapping) else None
    if not skills:
        return
    if len(skills) > MOST_SKILLS:
        raise bad("container.skills", f"at most {MOST_SKILLS} skills, got {len(skills)}")
    kinds = [str(tool.get("type")) for tool in body.get("tools") or ()]
    if not any(kind.startswith("code_execution") for kind in kinds):
        raise bad("container.skills", "skills need a code_execution tool in `tools`")


def _check_fallbacks(body: Mapping[str, Any], facts: ModelFacts, betas: frozenset[str]) -> None:
    fallbacks = body.get("fallbacks")
    if fallbacks is None:
        return
    if fallbacks == "default":
        if DEFAULT_FALLBACK not in betas:
            raise bad("fallbacks", f'"default" needs the beta {DEFAULT_FALLBACK}')
        return
    if facts.fallbacks == () and fallbacks:
        raise APIError(400, f"'{facts.id}' does not support the `fallbacks` parameter")
    if len(fallbacks) > MOST_FALLBACKS:
        raise bad("fallbacks", f"at most {MOST_FALLBACKS} fallbacks are allowed")
    _check_fallback_models([each["model"] for each in fallbacks], facts)


def _check_fallback_models(models: Sequence[str], facts: ModelFacts) -> None:
    for n, model in enumerate(models):
        path = f"fallbacks.{n}.model"
        if model == facts.id or model in models[:n]:
            raise bad(path, f"{model!r} must differ from the requested model and other fallbacks")
        if model not in MODELS:
            raise APIError(404, f"model: {model}")
        if facts.fallbacks is not None and model not in facts.fallbacks:
            allowed = ", ".join(facts.fallbacks)
            raise bad(path, f"{model!r} is no permitted fallback of {facts.id}; use {allowed}")


def _check_server_tool(
    path: str, tool: Mapping[str, Any], facts: ModelFacts, betas: frozenset[str]
) -> None:
    kind = tool.get("type") or "custom"
    if "_toolset_2" in kind:
        if not facts.toolsets:
            raise APIError(400, f"'{facts.id}' does not support tool types: {kind}.")
        if FINE_GRAINED in betas:
            raise bad(path, f"{kind} cannot be used with the beta {FINE_GRAINED}")
    callers = tool.get("allowed_callers")
    by_code = kind.startswith(FILTERED) if callers is None else callers != ["direct"]
    if by_code and not facts.programmatic_tools:
        raise bad(
            f"{path}.allowed_callers",
            f"'{facts.id}' does not support programmatic tool calling; set `allowed_callers` to "
            '["direct"]',
        )
    if kind == "advisor_20260301":
        _check_advisor(f"{path}.model", tool["model"], facts)


def _check_advisor(path: str, advisor: str, facts: ModelFacts) -> None:
    rank = MODELS[advisor].advice if advisor in MODELS else 0
    if rank < max(1, facts.advice):
        raise bad(path, f"'{advisor}' cannot be used as an advisor when the model is '{facts.id}'")
