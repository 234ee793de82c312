"""The boundary: tools of strangers on their way to Claude, and their results on the way back."""

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from mcp.server import Server
from mcp.types import (
    CallToolResult,
    EmbeddedResource,
    GetPromptResult,
    ImageContent,
    ListToolsResult,
    PromptMessage,
    ReadResourceResult,
    TextContent,
    TextResourceContents,
    Tool,
)
from mcp_session_misbehaving import misbehaving
from mcp_session_strangers import PDF, PNG, RESULTS, TOOLS, Returned, Shape, b64, obj, png
from PIL import Image

from patterns.core.models import SONNET
from patterns.fake_api import FakeAPI, Reply, ToolUse
from patterns.mcp_session import ResultValidationError, ToolSession, as_claude_content, results
from patterns.mcp_session.boundary import NAME_LIMIT, WHOSE_WORDS, claude_name, offer
from patterns.mcp_session.claude import MARK
from patterns.mcp_session.media import as_text, decoded, image_type, is_pdf
from patterns.mcp_session.prompts import as_claude_messages, as_claude_resource
from patterns.mcp_session.schemas import UnusableSchema, claude_input
from patterns.mcp_session.visible import data, shown

KEY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
META = Draft202012Validator(Draft202012Validator.META_SCHEMA)


def as_the_api_wants_it(schema: Any) -> bool:
    """The rules that refusals of the API have taught, checked by other means than the module's."""
    keys_fit = all(KEY.fullmatch(key) for key in schema.get("properties", {}))
    root = schema.get("type") == "object" and not {"anyOf", "oneOf", "allOf", "$ref"} & set(schema)
    return keys_fit and root and META.is_valid(schema)


def renamed(arguments: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """What Claude would send: the server's arguments under the keys that it was shown."""
    back = {old: new for new, old in names.items()}
    return {back.get(key, key): value for key, value in arguments.items()}


@pytest.mark.parametrize("shape", TOOLS, ids=lambda shape: shape.source.removeprefix("https://"))
def test_a_tool_that_broke_others_goes_through_and_back(shape: Shape) -> None:
    """Or it is rejected with a reason; the server gets its own names in any case."""
    offered = offer([Tool(name=shape.name, input_schema={"type": "object"})])
    tool = Tool.model_construct(name=shape.name, description="d", input_schema=shape.schema)
    offered = offer([tool])
    if not shape.usable:
        assert offered.tools == ()
        assert "not an object" in offered.rejected[0].reason
        return
    (given_tool,) = offered.tools
    param = given_tool.param()
    assert NAME.fullmatch(param["name"])
    assert as_the_api_wants_it(param["input_schema"])
    sent = renamed(shape.arguments, given_tool.input.names)
    assert Draft202012Validator(param["input_schema"]).is_valid(sent)
    assert offered.call(param["name"], sent) == (shape.name, shape.arguments)


def test_all_of_them_at_once_are_taken_by_the_api_and_called_with_their_own_names() -> None:
    """One session, one request, and no tool missing but the unusable one."""
    tools = [
        Tool.model_construct(
            name=shape.name if shape.name != "tool" else f"tool.{number}",
            description="x",
            input_schema=shape.schema,
        )
        for number, shape in enumerate(TOOLS)
    ]
    offered = offer(tools)
    assert len(offered.tools) == len(TOOLS) - 1
    api = FakeAPI()
    api.enqueue("fine")
    api.client().messages.create(
        model=SONNET,
        max_tokens=100,
        tools=offered.params(cache_control={"type": "ephemeral"}),
        messages=[{"role": "user", "content": "hi"}],
    )
    sent: Any = api.journal[0].body
    assert [("cache_control" in tool) for tool in sent["tools"]].count(True) == 1


@pytest.mark.parametrize("case", RESULTS, ids=lambda case: case.source.removeprefix("https://"))
def test_a_result_that_broke_others_reaches_claude_whole(case: Returned) -> None:
    """In blocks that the API takes, with nothing lost in silence."""
    result = CallToolResult.model_validate(case.result)
    blocks = as_claude_content(result)
    assert tuple(block["type"] for block in blocks) == case.kinds
    told = json.dumps(blocks, ensure_ascii=False).replace('\\"', '"')
    assert all(word in told for word in case.found), told
    api = FakeAPI()
    api.enqueue("fine")
    api.client().messages.create(
        model=SONNET,
        max_tokens=100,
        tools=[{"name": "t", "description": "d", "input_schema": {"type": "object"}}],
        messages=[
            {"role": "user", "content": "go"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "toolu_01A", "name": "t", "input": {}}],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_01A",
                        "content": [*blocks, MARK],
                        "is_error": result.is_error,
                    }
                ],
            },
        ],
    )


# -- open inputs: what is renamed comes back, and what was allowed stays allowed -----------------

keys = st.text(st.sampled_from("ab$[] é/~.-_" + "\u200b"), max_size=70)
leaves = st.sampled_from(
    [
        {},
        {"type": "string"},
        {"type": "integer", "minimum": 0},
        {"enum": ["a", 1, None]},
        {"type": "array", "items": {"type": "string"}},
        {"$ref": "#/$defs/thing"},
    ]
)
plain = st.fixed_dictionaries(
    {"properties": st.dictionaries(keys, leaves, max_size=4)},
    optional={"type": st.just("object"), "required": st.lists(keys, max_size=2, unique=True)},
)
either = st.lists(
    st.lists(keys, max_size=2, unique=True).map(lambda names: {"required": names}),
    min_size=1,
    max_size=3,
)
schemas = st.recursive(
    plain,
    lambda inner: (
        st.builds(lambda base, parts: {**base, "allOf": parts}, plain, st.lists(inner))
        | st.builds(lambda base, parts: {**base, "anyOf": parts}, inner, either)
        | st.builds(lambda base, parts: {**base, "oneOf": parts}, inner, either)
    ),
    max_leaves=4,
).map(lambda schema: {**schema, "$defs": {"thing": {"type": "boolean"}}})
values = st.sampled_from(["a", "", 1, 0, None, True, ["a"], [1], {"b": 1}])


@settings(max_examples=100, deadline=None)
@given(schemas, st.dictionaries(keys, values, max_size=6))
def test_renaming_and_restoring_is_the_identity(schema: Any, arguments: Any) -> None:
    """For every object schema and all arguments, known to it or not (but for our new names)."""
    given_input = claude_input(schema)
    assert as_the_api_wants_it(given_input.schema)
    arguments = {key: arguments[key] for key in arguments if key not in given_input.names}
    assert given_input.restore(renamed(arguments, given_input.names)) == arguments


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(schemas, st.data())
def test_what_the_server_accepts_is_never_forbidden(schema: Any, draw: Any) -> None:
    """The rewritten schema may allow more, because the server checks; it never allows less."""
    known = sorted(claude_input(schema).schema["properties"])
    given_input = claude_input(schema)
    originals = [given_input.names.get(key, key) for key in known]
    arguments = draw.draw(st.dictionaries(st.sampled_from(originals or ["x"]), values, max_size=4))
    if Draft202012Validator(schema).is_valid(arguments):
        sent = renamed(arguments, given_input.names)
        assert Draft202012Validator(given_input.schema).is_valid(sent)


WORDS = [
    "type",
    "properties",
    "required",
    "items",
    "anyOf",
    "allOf",
    "$ref",
    "$defs",
    "enum",
    "additionalProperties",
    "description",
    "minimum",
    "exclusiveMinimum",
    "x",
    "$id",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(WORDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(json_values)
def test_any_json_is_a_legal_schema_or_a_reason(raw: Any) -> None:
    """No other exception, whatever a server puts into `inputSchema`."""
    try:
        schema = claude_input(raw).schema
    except UnusableSchema:
        return
    assert as_the_api_wants_it(schema)
    json.dumps(schema, allow_nan=False).encode()


def test_a_schema_with_a_mistake_in_every_place_is_mended_in_one_go() -> None:
    """Three hundred fields whose type is a number: each allows everything, and keeps its words."""
    fields = {str(n): {"type": n, "description": "d"} for n in range(300)}
    schema = claude_input(obj(fields)).schema
    assert schema["properties"] == {str(n): {"description": "d"} for n in range(300)}


def test_a_legal_schema_stays_as_it_is() -> None:
    """So that a prompt cache of it stays warm."""
    schema = obj({"a": {"type": "string"}, "b": {"$ref": "#/$defs/B"}}, required=["b", "a"])
    schema["$defs"] = {"B": {"type": "integer"}}
    assert json.dumps(claude_input(schema).schema) == json.dumps(schema)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"$ref": "#"}, "leads nowhere"),
        ({"$ref": "https://x.example/schema"}, "leads nowhere"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "not an object"),
        ({"allOf": [False]}, "a part of the input schema is false"),
        ("text", "not an object"),
        (obj({"a": {"enum": ["\ud800"]}}), "surrogates not allowed"),
    ],
)
def test_a_schema_that_cannot_be_used_says_why(schema: Any, reason: str) -> None:
    """In the words of the list of rejected tools."""
    with pytest.raises(UnusableSchema, match=reason):
        claude_input(schema)


def test_a_schema_without_an_end_is_rejected() -> None:
    """A thousand levels, as a generator in a loop makes them."""
    deep: Any = {"type": "string"}
    for _ in range(3_000):
        deep = {"type": "array", "items": deep}
    with pytest.raises(UnusableSchema, match="nested too deeply"):
        claude_input(obj({"a": deep}))


def test_references_to_the_root_find_it_although_it_was_rewritten() -> None:
    """A tree whose nodes have a key that the root may not have: inside, it keeps its name."""
    tree = obj(
        {"$id": {"type": "string"}, "child": {"$ref": "#"}, "same": {"$ref": "#/properties/$id"}},
        required=["$id"],
    )
    given_input = claude_input(tree)
    check = Draft202012Validator(given_input.schema)
    assert check.is_valid({"id": "1", "child": {"$id": "2"}, "same": "x"})
    assert not check.is_valid({"id": "1", "child": {"id": "2"}})
    assert not check.is_valid({"id": "1", "same": 3})


def test_references_by_the_schemas_own_address_and_by_index_are_followed() -> None:
    """`$id` names the document itself; a pointer may go through a list and escaped keys."""
    home = "https://shop.example/order"
    schema = {
        "$id": home,
        "$ref": f"{home}#/$defs/a~1b/anyOf/0",
        "$defs": {"a/b": {"anyOf": [obj({"x": {"type": "integer"}})]}},
    }
    assert claude_input(schema).schema["properties"] == {"x": {"type": "integer"}}
    for lost in (f"{home}#/$defs/none", f"{home}#/$defs/a~1b/anyOf/7", f"{home}#/$id"):
        with pytest.raises(UnusableSchema, match="leads nowhere"):
            claude_input({**schema, "$ref": lost})


def test_conditions_about_keys_that_were_renamed_are_left_to_the_server() -> None:
    """They would speak of keys that Claude does not have; without a new name they stay."""
    conditions: Any = {
        "propertyNames": {"pattern": "^.{1,2}$"},
        "dependentRequired": {"b": ["c"]},
        "dependentSchemas": {"b": {"required": ["c"]}},
        "if": {"required": ["b"]},
        "then": {"properties": {"c": {"minLength": 2}}},
        "else": {"required": ["d"]},
        "not": {"required": ["e"]},
        "patternProperties": {"^x": {"type": "string"}},
    }
    kept = claude_input(obj({"b": {}}, **conditions))
    assert kept.schema == obj({"b": {}}, **conditions)
    renamed = claude_input(obj({"$b": {}}, required=["$b"], title="t", **conditions))
    assert renamed.schema == obj({"b": {}}, required=["b"], title="t")


def test_what_a_schema_can_no_longer_say_is_said_in_words() -> None:
    """In the description, where Claude reads it."""
    (tool,) = offer([Tool(name="t", input_schema=TOOLS[0].schema)]).tools
    assert tool.description == "Give exactly one of these sets of fields: a; b."
    (tool,) = offer([Tool(name="t", input_schema=TOOLS[1].schema, description="Update.")]).tools
    wanted = f"{WHOSE_WORDS}Update. Give at least one of these sets of fields: title; priority."
    assert tool.description == wanted


def test_old_drafts_are_read_as_they_were_meant() -> None:
    """Draft 4 to 7: tuples, exclusive bounds, required flags."""
    old = obj(
        {
            "n": {"type": "number", "maximum": 9, "exclusiveMaximum": True},
            "t": {"items": [{"type": "string"}], "additionalItems": False},
            "u": {"items": [{"type": "string"}], "additionalItems": "x"},
        }
    )
    schema = claude_input(old).schema["properties"]
    assert schema["n"] == {"type": "number", "exclusiveMaximum": 9}
    assert schema["t"] == {"prefixItems": [{"type": "string"}], "items": False}


def test_two_tools_with_one_name_are_one_tool_and_one_reason() -> None:
    """The server could not tell them apart either."""
    twice = [Tool(name="post", input_schema=obj({})), Tool(name="post", input_schema=obj({}))]
    offered = offer(twice, taken={"post"})
    assert [tool.name for tool in offered.tools] == ["post_2"]
    assert "lists this name twice" in offered.rejected[0].reason
    with pytest.raises(KeyError, match="no tool 'get' was offered"):
        offered.call("get", {})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.sampled_from("ab.é"), max_size=140), max_size=8, unique=True))
def test_names_are_unique_legal_and_lead_back(names: list[str]) -> None:
    """Whatever two servers call their tools."""
    tools = [Tool(name=name, input_schema=obj({})) for name in names]
    first = offer(tools)
    second = offer(tools, taken={tool.name for tool in first.tools})
    both = [*first.tools, *second.tools]
    assert len({tool.name for tool in both}) == 2 * len(names)
    assert all(NAME.fullmatch(tool.name) for tool in both)
    assert [second.call(tool.name, {})[0] for tool in second.tools] == names
    assert NAME_LIMIT == 128


def test_what_is_hidden_in_a_description_is_shown() -> None:
    """Zero-width spaces, turned text, Unicode tags; also inside the schema."""
    hidden = "Adds.\u200b\U000e0041\u202eevil"
    schema = obj({"a": {"type": "string", "description": "one\u2060", "enum": ["\u200b"]}})
    (tool,) = offer([Tool(name="t", description=hidden, input_schema=schema)]).tools
    assert tool.description == f"{WHOSE_WORDS}Adds.<U+200B><U+E0041><U+202E>evil"
    property_a = tool.input.schema["properties"]["a"]
    assert property_a["description"] == "one<U+2060>"
    assert property_a["enum"] == ["\u200b"]  # a value has to come back as it was


def test_a_result_keeps_what_may_matter_and_shows_what_hides_text() -> None:
    """A family emoji keeps its joiners; half a surrogate pair is replaced."""
    assert data("a\u200db\U000e0041\u202ec\ud800") == "a\u200db<U+E0041><U+202E>c\ufffd"
    assert shown("plain\ttext\n") == "plain\ttext\n"


@given(st.text())
def test_shown_text_can_be_sent_and_holds_nothing_invisible(text: str) -> None:
    """Shown twice it is the same."""
    shown(text).encode()
    assert shown(shown(text)) == shown(text)


@pytest.mark.parametrize(
    "options",
    [
        {"strict": True},
        {"defer_loading": True},
        {"allowed_callers": ["direct"]},
        {"cache_control": {"type": "ephemeral"}},
    ],
)
def test_the_options_of_the_sdks_converter_are_kept(options: Any) -> None:
    """A cache breakpoint stands on the last tool only: four are allowed."""

    async def tools(context: Any, params: Any) -> ListToolsResult:
        bounded = obj({"n": {"type": "integer", "maximum": 9}}, required=["n"])
        return ListToolsResult(tools=[Tool(name=name, input_schema=bounded) for name in "ab"])

    async def run() -> list[Any]:
        async with ToolSession(Server("s", on_list_tools=tools)) as session:
            return [tool.to_dict() for tool in await session.anthropic_tools(**options)]

    first, last = asyncio.run(run())
    ((name, value),) = options.items()
    assert last[name] == value
    assert (name in first) == (name != "cache_control")
    assert ("additionalProperties" in str(last)) == (name == "strict")


def test_a_rejected_tool_costs_a_line_in_the_log_and_no_other_tool(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And arguments with illegal keys reach the server under its own."""
    tools = [
        {"name": "bad", "inputSchema": {"type": "array"}},
        {"name": "a.b", "inputSchema": {"anyOf": [obj({"$top": {"type": "integer"}})]}},
        {"inputSchema": {"type": "object"}},
        "no tool",
        {"name": "e", "inputSchema": 7},
        {"name": "c", "inputSchema": None, "annotations": {"title": 5}, "outputSchema": 7},
        {"name": "d", "inputSchema": obj({}), "outputSchema": obj({"x": {"$ref": "#/lost"}})},
    ]
    api = FakeAPI()

    async def run() -> list[str]:
        async with ToolSession(state.url) as session:
            offered = await session.anthropic_tools()
            api.enqueue(Reply(tool_use=(ToolUse("a_b_" + MARK_OF_A_B, {"top": 5}),)), "done")
            runner = api.async_client().beta.messages.tool_runner(
                model=SONNET,
                max_tokens=1_000,
                tools=offered,
                thread=False,
                messages=[{"role": "user", "content": "go"}],
            )
            await runner.until_done()
            return [tool.name for tool in offered]

    with misbehaving("none", tools=tools) as state:
        assert asyncio.run(run()) == ["a_b_" + MARK_OF_A_B, "d"]
    (called,) = state.called
    assert (called["name"], called["arguments"]) == ("a.b", {"$top": 5})
    assert "tool 'bad' is not offered" in caplog.text
    assert "tool 'c' is not offered" in caplog.text
    assert "tool 'e' is not offered" in caplog.text
    assert "its name is invalid" in caplog.text
    sent: Any = api.journal[-1].body
    assert sent["messages"][-1]["content"][0]["content"][-1] == MARK


MARK_OF_A_B = hashlib.sha256(b"a.b").hexdigest()[:8]


# -- results: one budget -------------------------------------------------------------------------


def text_of_blocks(blocks: Any) -> str:
    """Everything Claude reads."""
    return json.dumps(blocks, ensure_ascii=False)


def text(words: str) -> TextContent:
    """A text block."""
    return TextContent(type="text", text=words)


def resource(words: str, mime: str | None = "text/plain") -> EmbeddedResource:
    """An embedded text."""
    content = TextResourceContents(uri="x://long", text=words, mime_type=mime)
    return EmbeddedResource(type="resource", resource=content)


@pytest.mark.parametrize(
    "content",
    [
        [text("x" * 2_000_000)],
        [resource("x" * 2_000_000)],
        [text("x" * 900)] * 5_000,
        [resource("x" * 900)] * 5_000,
        [text("x")] * 20_000,
        [text("x" * 30_000), resource("y" * 30_000), text("z")],
    ],
)
@pytest.mark.parametrize("is_error", [False, True])
def test_one_budget_holds_for_a_whole_result(content: Any, is_error: bool) -> None:
    """Text, resources, structure and errors together; what is missing is said, with a way on."""
    result = CallToolResult(
        content=content, structured_content={"long": "s" * 100_000}, is_error=is_error
    )
    told = text_of_blocks(as_claude_content(result, limit=50_000))
    assert len(told) < 50_000 * 1.6 + 2_000
    assert "characters shown; " in told or "more blocks not shown: ask for less" in told


def test_what_is_cut_says_how_to_get_the_rest() -> None:
    """A resource can be read, a tool can be asked for less."""
    blocks: Any = as_claude_content(CallToolResult(content=[resource("abc" * 100)]), limit=30)
    assert blocks[0]["source"]["data"].endswith(
        "[cut: 30 of 300 characters shown; read x://long for the rest]"
    )


def test_files_are_counted_and_weighed() -> None:
    """Twenty images pass, the next is described; so is one that is too large to send."""
    images: Any = [ImageContent(type="image", data=PNG, mime_type="image/png")] * 25
    blocks = as_claude_content(CallToolResult(content=images))
    assert [block["type"] for block in blocks].count("image") == 20
    assert "too many or too large" in text_of_blocks(blocks)


def image(kind: str, width: int = 16, height: int = 32, **options: Any) -> bytes:
    """A file as Pillow writes it."""
    file = BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, kind, **options)
    return file.getvalue()


JPEG, GIF, WEBP = image("JPEG"), image("GIF"), image("WEBP")


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (png(), "image/png"),
        (image("PNG"), "image/png"),
        (image("PNG", icc_profile=b"p" * 99).replace(b"iCCP", b"iCCp"), "image/png"),
        (JPEG, "image/jpeg"),
        (image("JPEG", progressive=True), "image/jpeg"),
        (image("MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))]), "image/jpeg"),
        (GIF, "image/gif"),
        (WEBP, "image/webp"),
        (image("WEBP", lossless=True), "image/webp"),
        (image("PNG", 8_000, 1), "image/png"),
        (image("PNG", 8_001, 1), None),
        (image("JPEG", 1, 8_001), None),
        (image("PNG", 12_000, 12_000), None),
        (png(0, 1), None),
        (png()[:-30], None),
        (JPEG[:-2], None),
        (JPEG[:4] + b"\xff\xd9", None),
        (b"\xff\xd8\xff\xd9\x00\x02\xff\xd9\x00\x00", None),
        (b"\x89PNG\r\n\x1a\n IEND", None),
        (GIF[:-1], None),
        (WEBP[:-6], None),
        (WEBP[:20], None),
        (image("BMP"), None),
        (image("TIFF"), None),
        (b"", None),
        (png() + b"\0" * 10_000_000, None),
    ],
)
def test_an_image_is_told_by_its_bytes(raw: bytes, kind: str | None) -> None:
    """Whole, of a size that Claude reads, and of one of four kinds."""
    assert image_type(raw) == kind


def test_a_pdf_is_told_by_its_bytes() -> None:
    """A password or a cut would end the conversation."""
    whole = decoded(PDF) or b""
    assert is_pdf(whole)
    assert not is_pdf(whole[:-8])
    assert not is_pdf(whole.replace(b"<<>>", b"<</Encrypt 1 0 R>>", 1))
    assert not is_pdf(b"%%EOF")


def test_text_is_told_by_its_bytes() -> None:
    """Not by its label."""
    assert as_text(b"a: \xc3\xa9") == "a: é"
    assert [as_text(raw) for raw in (None, b"", b"\xff", b"a\0b")] == [None] * 4


def test_a_binary_resource_is_described_with_its_address() -> None:
    """It can be read by whoever can use it."""
    result = CallToolResult.model_validate(
        {
            "content": [
                {
                    "type": "resource",
                    "resource": {
                        "uri": "x://a.zip",
                        "mimeType": "application/zip",
                        "blob": b64(b"PK\0\xff"),
                    },
                },
                {"type": "resource", "resource": {"uri": "x://none", "text": ""}},
                {
                    "type": "resource",
                    "resource": {
                        "uri": "x://" + "a" * 400,
                        "blob": "AAAA",
                        "mimeType": "image/png",
                    },
                },
            ]
        }
    )
    told = text_of_blocks(as_claude_content(result))
    assert "[resource at x://a.zip, application/zip, 4 bytes, not shown]" in told
    assert "[resource at x://none, empty]" in told
    assert "a" * 301 not in told


def test_resources_and_prompts_convert_too() -> None:
    """Every content of a resource; an assistant's files as text; empty messages not at all."""
    read = ReadResourceResult(
        contents=[
            TextResourceContents(uri="x://a", text="one"),
            TextResourceContents(uri="x://b", text="two"),
        ]
    )
    assert [block["type"] for block in as_claude_resource(read)] == ["document", "document"]
    prompt = GetPromptResult(
        messages=[
            PromptMessage(
                role="user", content=ImageContent(type="image", data=PNG, mime_type="image/png")
            ),
            PromptMessage(role="user", content=text("  ")),
            PromptMessage(role="assistant", content=resource("said")),
            PromptMessage(
                role="assistant",
                content=ImageContent(type="image", data=PNG, mime_type="image/png"),
            ),
        ]
    )
    messages: Any = as_claude_messages(prompt)
    assert [(m["role"], m["content"][0]["type"]) for m in messages] == [
        ("user", "image"),
        ("assistant", "text"),
        ("assistant", "text"),
    ]
    assert messages[1]["content"][0]["text"] == "[resource at x://long]\nsaid"


def test_a_lists_items_are_not_said_twice() -> None:
    """The server library gives a list as one text per item, and a number as its digits."""
    for content, structured in (
        (["1", "2"], {"result": [1, 2]}),
        (["5"], {"result": 5}),
        (["five"], {"result": "five"}),
        (['{"a": 1}'], {"a": 1}),
    ):
        result = CallToolResult(
            content=[text(words) for words in content], structured_content=structured
        )
        assert len(as_claude_content(result)) == len(content)


def test_an_unknown_kind_of_content_is_named() -> None:
    """A later protocol may have more kinds than we know."""
    result = CallToolResult.model_construct(
        content=[TOOLS[0]], structured_content=None, is_error=False
    )
    assert as_claude_content(result) == [{"type": "text", "text": "[content, not shown]"}]


def test_tools_that_are_no_list_are_named() -> None:
    """The client refuses them, and the error says which request it was."""

    async def run() -> None:
        async with ToolSession(state.url) as session:
            with pytest.raises(ResultValidationError, match="tools"):
                await session.list_tools()

    wrong: Any = {"sell": {}}
    with misbehaving("none", tools=wrong) as state:
        asyncio.run(run())


def test_without_a_breakpoint_no_tool_gets_one() -> None:
    """The definitions are those of the tools alone."""
    offered = offer([Tool(name="a", input_schema={"type": "object"})])
    assert [sorted(param) for param in offered.params()] == [
        ["description", "input_schema", "name"]
    ]


def test_a_part_of_a_schema_that_allows_everything_is_nothing() -> None:
    """`true` is a schema too."""
    from patterns.mcp_session.schemas import _resolved

    assert _resolved(True, {}, ()) == {}


@pytest.mark.parametrize("name", ["a", "Z9_-", "n" * 128])
def test_a_legal_name_stays(name: str) -> None:
    """Down to one letter and up to 128."""
    assert claude_name(name) == name


@pytest.mark.parametrize("name", ["", "n" * 129, "a b", "\ud800", "é"])
def test_an_illegal_name_becomes_a_legal_one_of_its_own(name: str) -> None:
    """Even one that cannot be encoded; the same one each time."""
    assert NAME.fullmatch(claude_name(name))
    assert claude_name(name) == claude_name(name) != claude_name(name + "x")


def test_what_does_not_fit_is_cut_once_and_counted_after_that() -> None:
    """Exactly: the first text fills the budget, the other two are not there at all."""
    result = CallToolResult(content=[text("abcd"), text("e"), resource("f")])
    (first, notice) = as_claude_content(result, limit=4)
    assert first == {"type": "text", "text": "abcd"}
    assert notice == {
        "type": "text",
        "text": "[2 more blocks not shown: ask for less at a time]",
    }


def test_each_block_after_the_first_costs_a_little() -> None:
    """Twenty characters: three of these five texts have room."""
    texts: Any = [text("x" * 10) for _ in range(5)]
    blocks: Any = as_claude_content(CallToolResult(content=texts), limit=75)
    assert [block["text"][:2] for block in blocks] == ["xx", "xx", "xx", "[2"]
    one_less: Any = as_claude_content(CallToolResult(content=texts), limit=69)
    assert one_less[2]["text"].startswith(
        "x" * 9 + "\n[cut: 9 of 10 characters shown; ask for less"
    )


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (
            {"type": "resource_link", "uri": "x://a", "name": "a"},
            "[resource 'a' at x://a]",
        ),
        (
            {"type": "resource_link", "uri": "x://a", "name": "a", "description": "b\nc"},
            "[resource 'a' at x://a: b c]",
        ),
        (
            {"type": "audio", "data": b64(b"abc"), "mimeType": "audio/wav"},
            "[audio, audio/wav, 3 bytes, not shown]",
        ),
        (
            {"type": "image", "data": "?", "mimeType": "image/png"},
            "[image, image/png, unreadable bytes, not shown]",
        ),
        (
            {"type": "resource", "resource": {"uri": "x://a", "blob": b64(b"\xff")}},
            "[resource at x://a, unknown type, 1 bytes, not shown]",
        ),
        (
            {"type": "resource_link", "uri": "x://a", "name": "n" * 301},
            f"[resource '{'n' * 300}…' at x://a]",
        ),
        (
            {"type": "resource_link", "uri": "x://a", "name": "n" * 300},
            f"[resource '{'n' * 300}' at x://a]",
        ),
    ],
)
def test_what_claude_cannot_read_is_described_exactly(item: Any, said: str) -> None:
    """Name, address, kind and size."""
    result = CallToolResult.model_validate({"content": [item]})
    assert as_claude_content(result) == [{"type": "text", "text": said}]


def test_a_text_in_a_file_keeps_its_address_and_type() -> None:
    """As a document, whatever it was labelled as."""
    blobs = [
        {"uri": "x://a", "mimeType": "audio/wav", "blob": b64(b"a: 1")},
        {"uri": "x://b", "blob": b64(b"b: 2")},
    ]
    content = [{"type": "resource", "resource": blob} for blob in blobs]
    found = as_claude_content(CallToolResult.model_validate({"content": content}))
    source = {"type": "text", "media_type": "text/plain"}
    assert found == [
        {
            "type": "document",
            "source": {**source, "data": "a: 1"},
            "title": "x://a",
            "context": "audio/wav",
        },
        {"type": "document", "source": {**source, "data": "b: 2"}, "title": "x://b"},
    ]


def test_a_file_goes_as_its_bytes_say() -> None:
    """An image that calls itself text, and a PDF; in an error neither."""
    image = {
        "type": "resource",
        "resource": {"uri": "x://a", "mimeType": "text/plain", "blob": PNG},
    }
    paper = {"type": "resource", "resource": {"uri": "x://b", "blob": PDF}}
    result = {"content": [image, paper]}
    found = as_claude_content(CallToolResult.model_validate(result))
    sources = [("image", "image/png", PNG), ("document", "application/pdf", PDF)]
    assert found == [
        {"type": kind, "source": {"type": "base64", "media_type": media, "data": data}}
        for kind, media, data in sources
    ]
    failed = as_claude_content(CallToolResult.model_validate({**result, "isError": True}))
    assert [block["type"] for block in failed] == ["text", "text"]
    assert "too many or too large for one result" in text_of_blocks(failed)


def test_twenty_megabytes_of_files_are_one_results_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is just as large as what is left still goes."""
    monkeypatch.setattr(results, "MOST_BYTES", 2 * len(PNG) + 1)
    images: Any = [ImageContent(type="image", data=PNG, mime_type="image/png")] * 3
    kinds = [block["type"] for block in as_claude_content(CallToolResult(content=images))]
    assert kinds == ["image", "image", "text"]
    monkeypatch.setattr(results, "MOST_BYTES", 2 * len(PNG))
    kinds = [block["type"] for block in as_claude_content(CallToolResult(content=images))]
    assert kinds == ["image", "image", "text"]


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        (
            obj({"n": {"minimum": 1, "exclusiveMinimum": True}}),
            {"n": {"exclusiveMinimum": 1}},
        ),
        (obj({"n": {"minimum": 1, "exclusiveMinimum": False}}), {"n": {"minimum": 1}}),
        (obj({"n": {"exclusiveMinimum": 3}}), {"n": {"exclusiveMinimum": 3}}),
        (obj({"n": {"minimum": float("nan"), "maximum": 2.5}}), {"n": {"maximum": 2.5}}),
        (obj({"n": {"$schema": "http://old", "type": "string"}}), {"n": {"type": "string"}}),
        (obj({"n": {"$ref": "#/$defs/lost", "title": "t"}}), {"n": {"title": "t"}}),
        (
            {"allOf": [obj({"n": {"minimum": 1}}), obj({"n": {"maximum": 9}})]},
            {"n": {"allOf": [{"minimum": 1}, {"maximum": 9}]}},
        ),
        (
            {
                "anyOf": [
                    obj({"n": {"const": 1}}),
                    obj({"n": {"const": 2}}),
                    obj({"n": {"const": 3}}),
                ]
            },
            {"n": {"anyOf": [{"const": 1}, {"const": 2}, {"const": 3}]}},
        ),
        (
            {"anyOf": [obj({"n": {"const": 1, "title": "t"}}), obj({"n": {"const": 2}})]},
            {"n": {"anyOf": [{"const": 1, "title": "t"}, {"const": 2}]}},
        ),
    ],
)
def test_a_field_keeps_what_it_meant(schema: Any, wanted: Any) -> None:
    """Older drafts in today's words, several parts as one field, and nothing that is no number."""
    assert claude_input(schema).schema["properties"] == wanted


@pytest.mark.parametrize(
    ("schema", "required"),
    [
        (obj({"a": {"required": True}, "b": {"required": False}}), ["a"]),
        (obj({"a": {}, "b": {"required": True}}, required=["a"]), ["a", "b"]),
        ({"anyOf": [obj({}, required=["b", "a"]), obj({}, required=["a", "b", "c"])]}, ["a", "b"]),
        (
            {"allOf": [obj({}, required=["b"]), obj({}, required=["a"])], "required": ["c"]},
            ["c", "b", "a"],
        ),
        ({"anyOf": [obj({}, required=["a"]), obj({})]}, None),
        (obj({"a": {}}, required="a"), None),
        (obj({"a": {}}, required=[]), None),
    ],
)
def test_what_every_alternative_requires_is_required(schema: Any, required: Any) -> None:
    """No more than that: the server still checks."""
    assert claude_input(schema).schema.get("required") == required


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        (["$top", "top"], {"top": "top", "top_2": "$top"}),
        (["a[]", "a_", "a["], {"a_": "a_", "a": "a[]", "a_2": "a["}),
        (["é", "ü"], {"field": "é", "field_2": "ü"}),
        (["x" * 65, "x" * 66], {"x" * 64: "x" * 65, "x" * 62 + "_2": "x" * 66}),
        (["a b  c"], {"a_b_c": "a b  c"}),
    ],
)
def test_a_key_is_renamed_to_the_nearest_legal_one(keys: Any, wanted: Any) -> None:
    """Legal ones stay; the way back is known."""
    found = claude_input(obj({key: {} for key in keys}))
    assert {new: found.names.get(new, new) for new in found.schema["properties"]} == wanted
