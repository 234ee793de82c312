"""Tools, and the choice among them: names, schemas, examples, who may call them.

Sources: agents-and-tools/tool-use/{define-tools, programmatic-tool-calling, tool-search-tool,
web-search-tool, server-tools, strict-tool-use} of August 2026, and issues that quote the API
(`tests/evidence`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from anthropic.types import BrowserToolsetConfigsParam, ComputerToolsetConfigsParam

from patterns.fake_api.validation.json_schema import faults, misfit
from patterns.fake_api.validation.schemas import check_complexity, check_schema, circular
from patterns.fake_api.validation.turns import blocks_of
from patterns.fake_api.wire.errors import APIError, bad

Tool: TypeAlias = Mapping[str, Any]

PROPERTY_KEY: Final = re.compile(r"[a-zA-Z0-9_.-]{1,64}\Z")
TOP_LEVEL: Final = ("oneOf", "allOf", "anyOf")
"""Not taken at the top level of an input schema; deeper down they are."""
CODE: Final = "code_execution"
MEMBERS: Final[Mapping[Any, Iterable[str]]] = {
    "computer_toolset_20260801": ComputerToolsetConfigsParam.__annotations__,
    "browser_toolset_20260801": BrowserToolsetConfigsParam.__annotations__,
}
"""The member tools of a toolset."""
SCHEME: Final = re.compile(r"[a-z]+://", re.IGNORECASE)
HOST: Final = re.compile(r"[^\s/@?#:.]+(\.[^\s/@?#:.]+)+\.?\Z")
FILTERED: Final = ("web_search_2026", "web_fetch_2026")
"""Web tools that code calls unless `allowed_callers` says otherwise; it has to be as new."""
OLD_CODE: Final = ("code_execution_2025",)


def check_tools(body: Mapping[str, Any]) -> None:
    """Raise the 400 for tools, a tool choice or an output schema that the API would not take."""
    tools: Sequence[Tool] = body.get("tools") or ()
    names: set[str] = set()
    for n, tool in enumerate(tools):
        path = f"tools.{n}"
        name = tool.get("name") or tool["type"].partition("_toolset_2")[0]
        if name in names and tool.get("type") != "mcp_toolset":
            raise bad("tools", f"Tool names must be unique, {name!r} comes twice")
        names.add(name)
        if tool.get("type") in (None, "custom"):
            _check_custom(f"{path}.custom", tool)
        _check_common(path, tool)
    _check_deferred(tools)
    _check_code_version(tools)
    _check_schemas(body, tools)
    _check_choice(body.get("tool_choice"), tools)
    _check_callers(body.get("tool_choice") or {}, tools)
    _check_references(body, {tool.get("name") for tool in tools})


def _check_custom(path: str, tool: Tool) -> None:
    schema, path = tool["input_schema"], f"{path}.input_schema"
    if found := [word for word in TOP_LEVEL if word in schema]:
        raise bad(
            path,
            "input_schema does not support oneOf, allOf, or anyOf at the top level; "
            f"it has {found[0]}",
        )
    for fault in faults(schema):
        raise bad(path, f"JSON schema is invalid. It must match JSON Schema draft 2020-12: {fault}")
    for key in schema.get("properties") or ():
        if not PROPERTY_KEY.match(key):
            raise bad(
                f"{path}.properties",
                f"Property keys should match pattern '^[a-zA-Z0-9_.-]{{1,64}}$', got {key!r}",
            )
    if _by_code(tool) and (cycle := circular(schema, schema)) is not None:
        raise bad(path, f"Circular $ref detected: {cycle}")
    if _by_code(tool) and tool.get("strict"):
        raise bad(path, "strict tools are not supported with programmatic tool calling")


def _check_common(path: str, tool: Tool) -> None:
    for n, example in enumerate(tool.get("input_examples") or ()):
        schema = tool.get("input_schema") or {}
        if (problem := misfit(example, schema, schema)) is not None:
            raise bad(
                f"{path}.input_examples.{n}", f"the example does not fit the schema: {problem}"
            )
    if tool.get("allowed_domains") is not None and tool.get("blocked_domains") is not None:
        raise bad(path, "allowed_domains and blocked_domains cannot be used together")
    for key in ("allowed_domains", "blocked_domains"):
        for domain in tool.get(key) or ():
            if SCHEME.match(domain):
                raise bad(f"{path}.{key}", f"{domain!r} has a scheme; use the bare domain")
            host = domain.partition("/")[0]
            if "*" in host:
                raise bad(f"{path}.{key}", f"{domain!r}: `*` may stand in the path, not the domain")
            if not HOST.match(host):
                raise bad(f"{path}.{key}", f"{domain!r} is no domain, such as example.com")
    if len(_deferrals(tool)) > 1:
        raise bad(f"{path}.configs", "defer_loading must be the same on every enabled member")
    if _deferrals(tool) == {True} and tool.get("cache_control"):
        raise bad(f"{path}.cache_control", "a tool with defer_loading cannot be a breakpoint")


def _deferrals(tool: Tool) -> set[bool]:
    """Whether a tool is loaded later; a toolset may say so of each member."""
    members = MEMBERS.get(tool.get("type"))
    if members is None:
        return {bool(tool.get("defer_loading"))}
    configs = [(tool.get("configs") or {}).get(member) or {} for member in members]
    return {bool(c.get("defer_loading")) for c in configs if c.get("enabled") is not False}


def _check_deferred(tools: Sequence[Tool]) -> None:
    if tools and all(_deferrals(tool) == {True} for tool in tools):
        raise APIError(
            400,
            "At least one tool must have defer_loading=false. All tools cannot be deferred.",
        )
    for n, tool in enumerate(tools):
        if str(tool.get("type")).startswith("tool_search") and tool.get("defer_loading"):
            raise bad(f"tools.{n}", "the tool search tool cannot have defer_loading")


def _check_code_version(tools: Sequence[Tool]) -> None:
    kinds = [str(tool.get("type")) for tool in tools]
    filtered = [kind for kind in kinds if kind.startswith(FILTERED)]
    old = [n for n, kind in enumerate(kinds) if kind.startswith(OLD_CODE)]
    if filtered and old:
        raise bad(
            f"tools.{old[0]}",
            f"{kinds[old[0]]} cannot be used with {filtered[0]}; use code_execution_20260120 or "
            "later",
        )


def _check_schemas(body: Mapping[str, Any], tools: Sequence[Tool]) -> None:
    """The output schema and strict tools, one by one and together."""
    strict = [(n, t) for n, t in enumerate(tools) if t.get("strict") and "input_schema" in t]
    for n, tool in strict:
        check_schema(tool["input_schema"], f"tools.{n}.custom.input_schema")
    form = output_format(body)
    if form is not None:
        where = "output_format" if body.get("output_format") else "output_config.format"
        check_schema(form["schema"], f"{where}.schema")
    schemas = [tool["input_schema"] for _, tool in strict]
    if schemas or form is not None:
        check_complexity([*schemas, *([form["schema"]] if form else [])], len(strict))


def output_format(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The output format of a request, in its new or its old place."""
    form = (body.get("output_config") or {}).get("format") or body.get("output_format")
    return form if form is None or isinstance(form, Mapping) else None


def _check_choice(choice: Mapping[str, Any] | None, tools: Sequence[Tool]) -> None:
    if choice is None:
        return
    if not tools:
        raise bad("tool_choice", "tool_choice may only be specified while providing tools")
    if choice["type"] != "tool":
        return
    named = [tool for tool in tools if tool.get("name") == choice["name"]]
    if not named:
        raise bad("tool_choice.tool.name", f"Tool '{choice['name']}' not found in provided tools")
    if "direct" not in (named[0].get("allowed_callers") or ("direct",)):
        raise bad(
            "tool_choice",
            f"{choice['name']!r} may not be called directly: its allowed_callers lacks 'direct'",
        )


def _check_callers(choice: Mapping[str, Any], tools: Sequence[Tool]) -> None:
    """Tools that code may call need code execution, and calls that may go side by side."""
    callable_ = [n for n, tool in enumerate(tools) if "input_schema" in tool and _by_code(tool)]
    if not callable_:
        return
    if not any(str(tool.get("type")).startswith(CODE) for tool in tools):
        raise bad(
            f"tools.{callable_[0]}.allowed_callers",
            "calls from code need a code_execution tool in `tools`",
        )
    if choice.get("disable_parallel_tool_use"):
        raise bad(
            "tool_choice",
            "disable_parallel_tool_use is not supported with programmatic tool calling",
        )


def _by_code(tool: Tool) -> bool:
    return any(CODE in caller for caller in tool.get("allowed_callers") or ())


def _check_references(body: Mapping[str, Any], names: set[str | None]) -> None:
    """Tools that a result or a change of tools points to are among the tools."""
    kinds = {tool.get("name"): tool.get("type") or "custom" for tool in body.get("tools") or ()}
    servers = {server["name"] for server in body.get("mcp_servers") or ()}
    for n, message in enumerate(body["messages"]):
        for block in blocks_of(message):
            if block["type"] in ("tool_addition", "tool_removal"):
                _check_change(f"messages.{n}", block["tool"], kinds, servers)
            content = block.get("content")
            if isinstance(content, dict):
                content = content.get("tool_references")
            for part in content if isinstance(content, list) else ():
                if part.get("type") == "tool_reference" and part["tool_name"] not in names:
                    raise bad(
                        f"messages.{n}",
                        f"Tool reference '{part['tool_name']}' not found in available tools",
                    )


def _check_change(
    path: str, tool: Mapping[str, Any], kinds: dict[Any, str], servers: set[str]
) -> None:
    """One tool that is offered or withdrawn in the middle; a new definition joins the tools."""
    if tool["type"] == "tool_definition":
        definition = tool["definition"]
        name, kind = definition.get("name"), definition.get("type") or "custom"
        if kinds.setdefault(name, kind) != kind:
            raise APIError(
                400,
                f"{path}: the name {name!r} is held by a tool of another kind ({kinds[name]})",
                error_code="tool_name_conflict",
            )
        return
    known = (
        tool["name"] in kinds
        if tool["type"] == "tool_reference"
        else tool["server_name"] in servers
    )
    if not known:
        named = tool.get("name") or tool["server_name"]
        raise APIError(
            400,
            f"{path}: {tool['type']} names {named!r}, which is not defined at that position",
            error_code="tool_reference_unresolved",
        )
