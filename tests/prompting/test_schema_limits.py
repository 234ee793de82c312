"""patterns.prompting.schema_limits: what the API would refuse is refused before it is paid for."""

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model

from patterns.fake_api import FakeAPI
from patterns.prompting.schema_limits import why_refused
from patterns.prompting.structured import SchemaRefused, output_format, structured


class Tree(BaseModel):
    """Refers to itself."""

    name: str
    children: list["Tree"]


class Left(BaseModel):
    """Refers to Right, which refers back."""

    right: "Right | None"


class Right(BaseModel):
    """The other half of a circle."""

    left: Left


def optional(n: int) -> type[BaseModel]:
    """A model with so many fields that have a default."""
    return create_model("Many", **{f"f{i}": (str, "") for i in range(n)})  # type: ignore[call-overload, no-any-return]


class Cat(BaseModel):
    """One of two, told apart by a field."""

    kind: Literal["cat"]


class Dog(BaseModel):
    """The other."""

    kind: Literal["dog"]


def tagged(n: int) -> type[BaseModel]:
    """A model with so many unions that have a discriminator."""
    pet = Annotated[Cat | Dog, Field(discriminator="kind")]
    return create_model("Pets", **{f"f{i}": (pet, ...) for i in range(n)})  # type: ignore[call-overload, no-any-return]


def unions(n: int) -> type[BaseModel]:
    """A model with so many fields that may be null."""
    return create_model("Wide", **{f"f{i}": (int | None, ...) for i in range(n)})  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (Tree, r"Tree refers to itself; unroll it"),
        (Left, r"(Left|Right) refers to itself"),
        (optional(25), r"25 optional fields, at most 24.*from f0 on"),
        (unions(17), r"17 fields with a union type, at most 16.*from f0 on"),
        (tagged(17), r"17 fields with a union type, at most 16.*from f0 on"),
    ],
)
def test_a_model_beyond_the_limits_is_refused_with_what_to_change(
    output: type[BaseModel], words: str
) -> None:
    """No request is made."""
    api = FakeAPI()
    with pytest.raises(SchemaRefused, match=words):
        structured(api.client(), "?", output)
    assert api.journal == []


class Inner(BaseModel):
    """Used twice, which is no recursion."""

    kind: Literal["a", "b"] = "a"


class Outer(BaseModel):
    """Close to every limit, and inside all of them."""

    one: Inner
    two: Inner
    additionalProperties: str  # noqa: N815  # a name that people really use
    sample: str = Field(examples=[{"additionalProperties": {"type": "string"}}])


@pytest.mark.parametrize("output", [Outer, optional(24), unions(16), tagged(16)])
def test_a_model_inside_the_limits_is_asked_for(output: type[BaseModel]) -> None:
    """Names and example values are no schemas."""
    assert why_refused(output.model_json_schema()) is None
    assert output_format(output)["type"] == "json_schema"


def test_optional_fields_are_counted_over_the_whole_schema() -> None:
    """In definitions and lists too."""
    inner = optional(13)
    outer = create_model("Two", one=(inner, ...), many=(list[optional(12)], ...))  # type: ignore[misc, arg-type]
    found = why_refused(outer.model_json_schema())
    assert found is not None
    assert found.startswith("25 optional fields")


@pytest.mark.parametrize("schema", [{"type": "object", "properties": {"x": True}}, {"anyOf": None}])
def test_a_schema_by_hand_may_be_odd(schema: dict[str, Any]) -> None:
    """`true` is a schema too; nothing is refused that is not known to be."""
    assert why_refused(schema) is None


def mixed(nullable: int, plain: int) -> type[BaseModel]:
    """A model with fields that are None by default, and others with a default."""
    fields: dict[str, Any] = {f"n{i}": (str | None, None) for i in range(nullable)}
    fields |= {f"p{i}": (int, 3) for i in range(plain)} | {"other": (int | None, 3)}
    return create_model("Mixed", must=(str, ...), **fields)


def test_fields_that_are_none_by_default_can_be_asked_for_as_null() -> None:
    """They are optional no more, and mean the same; a default of another value stays one."""
    model = mixed(10, 20)
    with pytest.raises(SchemaRefused, match="31 optional fields, at most 24"):
        output_format(model)
    api = FakeAPI()
    answer = {"must": "x", **{f"n{i}": None for i in range(10)}}
    api.enqueue(json.dumps(answer))
    value = structured(api.client(), "?", model, nulls=True).value
    assert value == model(must="x")
    schema = api.journal[0].body["output_config"]["format"]["schema"]
    assert schema["required"] == ["must", *(f"n{i}" for i in range(10))]


def test_nulls_reach_into_models_within_models() -> None:
    """Each keeps the order of its fields, and the model itself is left as it is."""
    inner = create_model("Inner", a=(int | None, None), b=(int, ...))
    outer = create_model("Outer", inner=(inner, ...), c=(int | None, None))
    schema: Any = output_format(outer, nulls=True)["schema"]
    assert schema["required"] == ["inner", "c"]
    assert schema["$defs"]["Inner"]["required"] == ["a", "b"]
    plain: Any = output_format(outer)["schema"]
    assert (plain["required"], plain["$defs"]["Inner"]["required"]) == (["inner"], ["b"])
