"""Schemas: which are well formed, what fits them, an example of each; `jsonschema` is the judge."""

from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.fake_api.validation.examples import example_of
from patterns.fake_api.validation.json_schema import faults, misfit, resolve, same

VALIDATOR = jsonschema.Draft202012Validator
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.sampled_from(["", "a", "ab", "0.5", 0.5]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    ),
    max_leaves=6,
)
TYPES = st.sampled_from(["object", "array", "string", "boolean", "null", "number", "integer"])
SMALL = st.integers(0, 3)


def keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schemas that hold other schemas."""
    named = st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=2, unique=True),
            "properties": named,
            "required": st.lists(st.sampled_from(["a", "b"]), unique=True),
            "additionalProperties": inner,
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "enum": st.lists(VALUES, min_size=1, max_size=3),
            "const": VALUES,
            "minimum": SMALL,
            "maximum": SMALL,
            "exclusiveMinimum": SMALL,
            "exclusiveMaximum": SMALL,
            "multipleOf": st.integers(1, 3),
            "minLength": SMALL,
            "maxLength": SMALL,
            "minItems": SMALL,
            "maxItems": SMALL,
            "minProperties": SMALL,
            "maxProperties": SMALL,
            "pattern": st.sampled_from(["^a", "b$", "[0-9]"]),
            "title": st.just("T"),
            "$ref": st.sampled_from(["#/$defs/A", "#/$defs/B"]),
        },
    )


SCHEMAS: st.SearchStrategy[Any] = st.recursive(st.booleans() | st.just({}), keywords, max_leaves=8)
ROOTS = st.builds(
    lambda schema, a, b: {**schema, "$defs": {"A": a, "B": b}},
    keywords(SCHEMAS),
    SCHEMAS.filter(lambda s: "$ref" not in str(s)),
    SCHEMAS.filter(lambda s: "$ref" not in str(s)),
)


@settings(max_examples=60)
@given(ROOTS, VALUES)
def test_what_fits_a_schema_is_what_jsonschema_says(schema: Any, value: Any) -> None:
    """Over schemas of the keywords that people write for tools."""
    assert list(faults(schema)) == []
    assert (misfit(value, schema, schema) is None) == VALIDATOR(schema).is_valid(value)


BROKEN = st.recursive(
    VALUES,
    lambda inner: st.dictionaries(
        st.sampled_from(
            [
                "type",
                "properties",
                "required",
                "items",
                "anyOf",
                "enum",
                "minimum",
                "pattern",
                "minLength",
                "uniqueItems",
                "multipleOf",
                "$ref",
                "$defs",
                "description",
                "x",
            ]
        ),
        inner,
        max_size=3,
    ),
    max_leaves=6,
)


@settings(max_examples=60)
@given(BROKEN)
def test_a_schema_has_faults_where_the_metaschema_finds_some(schema: Any) -> None:
    """`required: true`, `items: [...]` and the like of older drafts among them."""
    valid = True
    try:
        VALIDATOR.check_schema(schema)
    except jsonschema.SchemaError:
        valid = False
    found = list(faults(schema))
    strings = [f for f in found if ".$ref" in f or f.startswith("$ref")]  # a format, not a type
    assert bool(found) != valid or strings


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 4}}},
        {"type": "integer", "exclusiveMinimum": 3},
        {"type": "integer", "maximum": -2},
        {"type": "integer", "minimum": 5, "multipleOf": 4},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "string", "minLength": 7},
        {"type": "string", "maxLength": 2},
        {"type": "string", "format": "uuid"},
        {"type": "string", "pattern": "^[A-Z][0-9]$"},
        {"type": "array", "items": {"type": "null"}, "minItems": 3},
        {"type": "array", "maxItems": 0},
        {"type": ["null", "string"]},
        {"anyOf": [{"type": "string", "const": "x"}, {"type": "null"}]},
        {"allOf": [{"properties": {"a": {"type": "boolean"}}}, {"required": ["a"]}]},
        {"properties": {"a": {}}, "required": ["a", "b"]},
        {"items": {"enum": ["x"]}},
        {"$ref": "#/$defs/A", "$defs": {"A": {"const": [1]}}},
        {"type": "boolean"},
    ],
    ids=str,
)
def test_an_example_fits_its_schema(schema: Any) -> None:
    """What the echo answers is valid, as far as a small search finds something valid."""
    made = example_of(schema, schema)
    VALIDATOR(schema).validate(made)


def test_an_example_of_a_schema_that_nothing_fits_is_still_a_value() -> None:
    """The echo does its best and says so by being wrong."""
    assert example_of({"type": "string", "pattern": "^zq+$"}, {}) == "echo"
    assert example_of({"type": "integer", "minimum": 5, "maximum": 4}, {}) == 0
    assert example_of(True, {}) is None


EXAMPLES: list[tuple[dict[str, Any], Any]] = [
    ({"items": {"type": "integer"}}, [0]),
    ({"type": "array", "minItems": 2, "items": {"type": "boolean"}}, [False, False]),
    ({"type": "array", "maxItems": 0}, []),
    ({"type": ["null", "string"]}, None),
    ({"properties": {"a": {"type": "number"}}}, {"a": 0.0}),
    ({"type": "object", "required": ["b"]}, {"b": "echo"}),
    ({"type": "integer", "minimum": 3}, 3),
    ({"type": "integer", "exclusiveMinimum": 3}, 4),
    ({"type": "number", "minimum": 0.25, "maximum": 0.3}, 0.25),
    ({"type": "integer", "multipleOf": 5, "minimum": 7}, 10),
    ({"type": "string", "minLength": 6}, "echooo"),
    ({"type": "string", "maxLength": 2}, "ec"),
]


@pytest.mark.parametrize(("schema", "example"), EXAMPLES)
def test_an_example_is_the_plainest_value_that_fits(schema: dict[str, Any], example: Any) -> None:
    """A reader of an echo sees at once that nobody thought about it."""
    assert example_of(schema, schema) == example


def test_an_example_of_a_deep_schema_ends() -> None:
    """Optional parts are left out far down, so that a tree has an end."""
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}
    assert str(example_of(tree, tree)).count("left") < 3_000


def test_references_are_followed_within_the_schema_alone() -> None:
    """The root, a definition, an escaped name; nothing else."""
    root = {"$defs": {"a/b": {"const": 1}}}
    assert resolve("#", root) is root
    assert resolve("#/$defs/a~1b", root) == {"const": 1}
    assert resolve("#/$defs/none", root) is None
    assert resolve("https://example.com/s.json", root) is None
    assert misfit(2, {"$ref": "https://example.com/s.json"}, root) is None


def test_equality_is_that_of_json() -> None:
    """`true` is not 1, in lists and objects too."""
    assert not same(True, 1)
    assert not same([True], [1])
    assert not same({"a": False}, {"a": 0})
    assert same({"a": [1, {"b": None}]}, {"a": [1.0, {"b": None}]})
    assert not same([1], [1, 2])
    assert not same({"a": 1}, {"b": 1})


def test_a_missing_property_is_named() -> None:
    """In the words that the API's 400 then holds."""
    schema = {"type": "object", "required": ["a", "b"]}
    assert misfit({"a": 1}, schema, schema) == "'b' is required"


def test_what_does_not_fit_is_told_with_the_value() -> None:
    """A schema of `false` takes nothing; a constant takes itself."""
    nothing: dict[str, Any] = {"properties": {"a": False}}
    assert misfit({"a": 1}, nothing, nothing) == "a: nothing is allowed here"
    constant = {"const": 1}
    assert misfit(True, constant, constant) == "'True' is not 1"


@pytest.mark.parametrize(
    ("value", "schema", "words"),
    [
        (5, {"anyOf": [{"type": "string"}, {"type": "null"}]}, "fits none of anyOf"),
        (5, {"oneOf": [{"type": "integer"}, {"type": "number"}]}, "exactly one of oneOf"),
        (5, {"const": 6}, "is not 6"),
    ],
)
def test_a_choice_that_does_not_fit_is_named(value: Any, schema: Any, words: str) -> None:
    """With the keyword that refuses it."""
    assert words in (misfit(value, schema, schema, 0) or "")


KEYWORDS = [
    "type", "required", "enum", "const", "properties", "patternProperties", "$defs",
    "definitions", "dependentSchemas", "dependentRequired", "allOf", "anyOf", "oneOf",
    "prefixItems", "items", "contains", "additionalProperties", "propertyNames", "not", "if",
    "then", "else", "unevaluatedItems", "minLength", "maxItems", "minProperties", "minContains",
    "minimum", "exclusiveMaximum", "multipleOf", "$comment", "title", "description", "format",
    "pattern", "uniqueItems", "deprecated", "readOnly", "default", "examples",
    "contentEncoding", "contentMediaType", "contentSchema", "x-own",
]  # fmt: skip
GIVEN: list[Any] = [
    None, True, False, 0, 1, -1, 1.5, 2.0, "a", "", "string", "(", [], ["a"], ["a", "a"],
    ["string", "null"], ["string", "string"], [1], [{}], [True], {}, {"a": {}}, {"a": True},
    {"a": 1}, {"a": ["b"]}, {"a": ["b", "b"]}, {"(": {}}, {"type": "x"}, {"type": "string"},
]  # fmt: skip


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_what_is_a_schema_is_what_jsonschema_says(keyword: str) -> None:
    """Every keyword with values of every kind, at the top and further in."""
    for value in GIVEN:
        for schema in ({keyword: value}, {"properties": {"p": {keyword: value}}}):
            assert (not list(faults(schema))) == is_schema(schema), schema


def is_schema(value: Any) -> bool:
    """Whether the package takes it, patterns compiled."""
    try:
        VALIDATOR.check_schema(value)
    except jsonschema.SchemaError:
        return False
    return True
