"""Tools and results in the shapes that broke other clients, each with the report that tells of it.

The shapes are written anew after public reports; names, fields and words are of our own choosing.
"""

import base64
import struct
import zlib
from dataclasses import dataclass
from typing import Any

GH = "https://github.com/"


def png(width: int = 8, height: int = 8) -> bytes:
    """A small real image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = (b"\0" + b"\x7f" * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def b64(data: bytes | str) -> str:
    """Base64 of bytes or text."""
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


PNG = b64(png())
PDF = b64(b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n")


@dataclass(frozen=True)
class Shape:
    """One tool declaration, with arguments that Claude may send under the original names."""

    source: str
    schema: Any
    arguments: Any
    name: str = "tool"
    usable: bool = True


def obj(properties: Any, **more: Any) -> Any:
    """An object schema."""
    return {"type": "object", "properties": properties, **more}


TEXT = {"type": "string"}
TOOLS = (
    Shape(
        GH + "opentokenz/mcpx/issues/28",
        obj({"a": TEXT, "b": TEXT}, oneOf=[{"required": ["a"]}, {"required": ["b"]}]),
        {"a": "x"},
    ),
    Shape(
        GH + "dearlordylord/huly-mcp/issues/66",
        obj(
            {"project": TEXT, "title": TEXT, "priority": {"type": "integer"}},
            required=["project"],
            anyOf=[{"required": ["title"]}, {"required": ["priority"]}],
        ),
        {"project": "p", "priority": 1},
    ),
    Shape(
        GH + "software-mansion/argent/issues/773",
        {
            "oneOf": [
                obj({"mode": {"const": "fast"}, "speed": {"type": "number"}}, required=["mode"]),
                obj({"mode": {"const": "safe"}, "note": TEXT}, required=["mode", "note"]),
            ]
        },
        {"mode": "safe", "note": "slowly"},
    ),
    Shape(
        GH + "makenotion/notion-mcp-server/issues/341",
        obj(
            {"page": TEXT}, allOf=[obj({"block": TEXT}, required=["block"]), {"required": ["page"]}]
        ),
        {"page": "p", "block": "b"},
    ),
    Shape(
        GH + "anomalyco/opencode/issues/35516",
        obj({"route": TEXT, "file": TEXT}, anyOf=[{"required": ["route"]}, {"required": ["file"]}]),
        {"file": "f"},
    ),
    Shape(
        GH + "eric-tramel/moraine/pull/256",
        obj(
            {"event": TEXT, "session": TEXT, "kind": {"oneOf": [TEXT, {"type": "null"}]}},
            oneOf=[{"required": ["event"]}, {"required": ["session"]}],
            additionalProperties=False,
        ),
        {"event": "e", "kind": None},
    ),
    Shape(
        GH + "marianfoo/mcp-sap-docs/pull/51",
        obj({"version": TEXT}, anyOf=[{"required": ["version"]}, obj({"from": TEXT, "to": TEXT})]),
        {"from": "1", "to": "2"},
    ),
    Shape(
        GH + "freee/freee-mcp/issues/15",
        obj({"会社": TEXT, "filter[date]": TEXT}, required=["会社"]),
        {"会社": "a", "filter[date]": "b"},
    ),
    Shape(
        GH + "twilio-labs/mcp/issues/56",
        obj({"Started<": TEXT, "Started>": TEXT, "Started": TEXT}),
        {"Started<": "a", "Started>": "b", "Started": "c"},
    ),
    Shape(
        GH + "ComposioHQ/composio/issues/2330",
        obj({"settings__" + "very__long__name__" * 4 + part: TEXT for part in ("a", "b")}),
        {"settings__" + "very__long__name__" * 4 + "b": "x"},
    ),
    Shape(GH + "anthropics/claude-code/issues/92648", obj({"uids[]": TEXT}), {"uids[]": "x"}),
    Shape(GH + "roychri/mcp-server-asana/issues/16", obj({"who.any": TEXT}), {"who.any": "x"}),
    Shape(
        GH + "decocms/studio/pull/6874",
        obj({"a b": TEXT, "a_b": TEXT, "a/b": TEXT}, required=["a b", "a/b"]),
        {"a b": "1", "a_b": "2", "a/b": "3"},
    ),
    Shape(
        GH + "microsoft/azure-devops-mcp/issues/332",
        obj({"$top": {"type": "integer"}, "$skip": {"type": "integer"}}),
        {"$top": 5, "$skip": 1},
    ),
    Shape(
        GH + "IBM-Cloud/ibm-cloud-cli-release/issues/226",
        obj({"(--force)": {"type": "boolean"}, "": TEXT}),
        {"(--force)": True, "": "x"},
    ),
    Shape(
        GH + "blurrah/mcp-graphql/issues/14",
        obj({"variables": {"type": "any"}, "query": TEXT}, required=["query"]),
        {"query": "{}", "variables": [1]},
    ),
    Shape(
        GH + "Dokploy/mcp/issues/10",
        obj({"port": {"type": "number", "exclusiveMinimum": True, "minimum": 0}}),
        {"port": 80},
    ),
    Shape(
        GH + "boshyxd/robloxstudio-mcp/issues/69",
        obj({"at": {"type": "array", "items": [TEXT, {"type": "number"}], "minItems": 2}}),
        {"at": ["x", 1]},
    ),
    Shape(
        GH + "MarkusPfundstein/mcp-gsuite/issues/47",
        obj(
            {
                "user": {"type": "string", "required": True},
                "n": {"type": "integer", "default": None},
            }
        ),
        {"user": "u"},
    ),
    Shape(
        GH + "pydantic/logfire-mcp/issues/37",
        obj({"age": {"type": "integer", "description": None}}),
        {"age": 3},
    ),
    Shape(
        GH + "anthropics/claude-code/issues/586",
        obj({"a": TEXT}, **{"$schema": "http://json-schema.org/draft-07/schema#"}),
        {"a": "x"},
    ),
    Shape(
        GH + "CaviraOSS/LongMemory/issues/111", obj({"tags": {"type": "array", "items": None}}), {}
    ),
    Shape(GH + "anthropics/claude-code/issues/2758", {"type": "object", "properties": None}, {}),
    Shape(
        GH + "github/copilot-cli/issues/1876",
        obj(
            {"query": {"$ref": "#/$defs/Query"}},
            required=["query"],
            **{"$defs": {"Query": obj({"limit": {"type": "integer"}})}},
        ),
        {"query": {"limit": 3}},
    ),
    Shape(
        GH + "davideast/stitch-mcp/issues/184",
        obj({"screens": {"type": "array", "items": {"$ref": "#/$defs/Missing"}}}),
        {"screens": [{"id": 1}]},
    ),
    Shape(
        GH + "Mnehmos/mnehmos.rpg.mcp/issues/73",
        obj(
            {
                "my status": TEXT,
                "filter": {"type": "array", "items": {"$ref": "#/properties/my status"}},
            }
        ),
        {"my status": "a", "filter": ["a"]},
    ),
    Shape(
        GH + "QwenLM/Qwen-Agent/pull/873",
        {
            "$ref": "#/definitions/Node",
            "definitions": {
                "Node": obj(
                    {"$id": TEXT, "child": {"$ref": "#/definitions/Node"}}, required=["$id"]
                )
            },
        },
        {"$id": "1", "child": {"$id": "2"}},
    ),
    Shape(GH + "anthropics/claude-code/issues/467", obj({}), {}, name="google search.web/v2"),
    Shape(GH + "cloudwego/eino/issues/632", obj({}), {}, name="x" * 140),
    Shape(
        GH + "baguskto/threads-mcp/issues/2", obj({"text": TEXT}), {"text": "x"}, name="schedule"
    ),
    Shape(GH + "WebMCP-org/npm-packages/issues/261", {"type": ["object", "null"]}, {}),
    Shape(
        GH + "universal-tool-calling-protocol/typescript-utcp/pull/12",
        {"type": "array", "items": TEXT},
        [],
        usable=False,
    ),
)


@dataclass(frozen=True)
class Returned:
    """One result on the wire, what Claude must find in it, and the kinds of blocks."""

    source: str
    result: Any
    found: tuple[str, ...]
    kinds: tuple[str, ...]


def said(text: str) -> Any:
    """A text block."""
    return {"type": "text", "text": text}


def embedded(**resource: Any) -> Any:
    """An embedded resource."""
    return {"type": "resource", "resource": resource}


RESULTS = (
    Returned(
        GH + "CopilotKit/OpenBot/pull/597",
        {
            "content": [
                said("got it"),
                embedded(uri="repo://a/x.json", mimeType="application/json", text='{"k": 1}'),
            ]
        },
        ("got it", "repo://a/x.json", "application/json", '{"k": 1}'),
        ("text", "document"),
    ),
    Returned(
        GH + "github/copilot-cli/issues/4916",
        {"content": [embedded(uri="x://n", mimeType="text/plain", blob=b64("the nonce"))]},
        ("the nonce", "x://n"),
        ("document",),
    ),
    Returned(
        GH + "strands-agents/harness-sdk/pull/2218",
        {"content": [embedded(uri="x://y", mimeType="application/x-yaml", blob=b64("a: 1"))]},
        ("a: 1", "application/x-yaml"),
        ("document",),
    ),
    Returned(
        GH + "synthetic-lab/octofriend/issues/29",
        {"content": [embedded(uri="x://d", mimeType="text/xml", text="<i>hi</i>")]},
        ("<i>hi</i>", "text/xml"),
        ("document",),
    ),
    Returned(
        GH + "nicobailon/pi-mcp-adapter/issues/588",
        {"content": [said("ok")], "structuredContent": {"message": "pong"}},
        ("ok", "pong"),
        ("text", "text"),
    ),
    Returned(
        GH + "nicobailon/pi-mcp-adapter/issues/113",
        {"content": [], "structuredContent": {"status": "available"}},
        ("available",),
        ("text",),
    ),
    Returned(
        GH + "MoonshotAI/kimi-code/pull/3234",
        {"content": [said('{"rows": [1, 2]}')], "structuredContent": {"rows": [1, 2]}},
        ('{"rows": [1, 2]}',),
        ("text",),
    ),
    Returned(
        GH + "anthropics/claude-code/issues/58330",
        {"content": [{"type": "image", "data": b64("<svg/>"), "mimeType": "image/svg+xml"}]},
        ("<svg/>",),
        ("text",),
    ),
    Returned(
        GH + "anthropics/claude-code/issues/12009",
        {"content": [{"type": "image", "data": PNG, "mimeType": "image/jpeg"}]},
        ("image/png",),
        ("image",),
    ),
    Returned(
        GH + "nota/gyazo-mcp-server/pull/129",
        {
            "content": [
                {"type": "image", "data": f"data:image/png;base64,{PNG}", "mimeType": "image/png"}
            ]
        },
        (PNG,),
        ("image",),
    ),
    Returned(
        GH + "agentscope-ai/agentscope-java/issues/3052",
        {
            "content": [
                {"type": "image", "data": "https://x.example/a.png", "mimeType": "image/png"}
            ]
        },
        ("not shown",),
        ("text",),
    ),
    Returned(
        GH + "modelcontextprotocol/csharp-sdk/pull/1762",
        {"content": [embedded(uri="file://a.pdf", mimeType="application/pdf", blob=PDF)]},
        (PDF,),
        ("document",),
    ),
    Returned(
        GH + "stacklok/mecatl/issues/223",
        {
            "content": [
                {
                    "type": "resource_link",
                    "name": "log",
                    "uri": "x://log",
                    "description": "of today",
                },
                {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"},
            ]
        },
        ("x://log", "of today", "audio/wav"),
        ("text", "text"),
    ),
    Returned(GH + "google/adk-go/issues/1352", {"content": [said("")]}, (), ()),
    Returned(
        GH + "drewburchfield/help-scout-mcp-server/pull/31",
        {"content": [], "isError": True},
        ("did not say why",),
        ("text",),
    ),
    Returned(
        GH + "griptape-ai/griptape/pull/2285",
        {
            "content": [said(" \n"), {"type": "image", "data": PNG, "mimeType": "image/png"}],
            "isError": True,
        },
        ("image/png",),
        ("text",),
    ),
    Returned(
        GH + "openJiuwen-ai/agent-core/issues/290",
        {
            "content": [
                said("tree"),
                {"type": "image", "data": PNG, "mimeType": "image/png"},
                said("end"),
            ]
        },
        ("tree", "end"),
        ("text", "image", "text"),
    ),
)
