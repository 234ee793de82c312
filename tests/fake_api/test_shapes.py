"""Shapes are the SDK's own: its parameter types are walked, field by field.

One body for every field of every type that a request can hold: each is accepted, or opened by a
beta, or named here on purpose. Judges: the types without betas, and pydantic.
"""

import types
import typing
from collections.abc import Iterator
from typing import Any, Union, get_args

import anthropic
import pytest
import typing_extensions as te
from anthropic.types import AnthropicBetaParam
from anthropic.types.beta.message_create_params import MessageCreateParamsBase
from anthropic.types.message_create_params import MessageCreateParamsBase as WithoutBetas
from pydantic import BaseModel, TypeAdapter, ValidationError

from patterns.core.models import SONNET
from patterns.fake_api import FakeAPI
from patterns.fake_api.validation.betas import OPENED_BY
from patterns.fake_api.validation.ranges import RANGES
from patterns.fake_api.validation.request import HEADERS, CountParams, CreateParams
from patterns.fake_api.validation.shapes import check_shape, name_of, shape_of
from patterns.fake_api.wire.errors import APIError

UNIONS = (Union, types.UnionType)
ALL = frozenset(name for betas in OPENED_BY.values() for name in betas)
TRIES: tuple[Any, ...] = ("x", "srvtoolu_1", "DE", 1, 1024, 20_000, 0.5, True, {}, [])
BASE = {"model": SONNET, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


def hints_of(shape: Any) -> dict[str, Any]:
    """The fields of a `TypedDict`."""
    return te.get_type_hints(shape, include_extras=True)


def values(hint: Any, name: str, seen: set[str]) -> Iterator[Any]:
    """Values of a type: at least one, and one for every field in it that was not yet seen."""
    origin: Any = te.get_origin(hint)
    arguments: tuple[Any, ...] = te.get_args(hint)
    if origin in (te.Required, te.NotRequired, te.Annotated):
        yield from values(arguments[0], name, seen)
    elif te.is_typeddict(hint):
        yield from records(hint, seen)
    elif origin in UNIONS:
        # Beside a record a plain dict says that further fields are open, not that none is needed.
        typed = any(te.is_typeddict(each) for each in arguments)
        for each in arguments:
            if not (typed and te.get_origin(each) is dict):
                yield from values(each, name, seen)
    elif origin in (te.Literal, typing.Literal):
        yield from arguments
    elif origin not in (None, dict):
        yield from ([each] for each in values(arguments[0], name, seen))
    elif hint is type(None):
        yield None
    elif not (isinstance(hint, type) and issubclass(hint, BaseModel)):
        kinds = {float: (int, float), int: int, str: str, bool: bool, dict: dict}
        wanted = kinds.get(origin or hint)
        if wanted is not None or hint is object:
            yield next(v for v in TRIES if fits(v, wanted, name))


def fits(value: Any, wanted: Any, name: str) -> bool:
    """Whether a value is of a type and within its bounds."""
    if wanted is not None and (
        not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool)
    ):
        return False
    bound = RANGES.get(name)
    return bound is None or bound(value) is None


def records(shape: Any, seen: set[str]) -> Iterator[dict[str, Any]]:
    """A record with its required fields, and then one for each value of each field."""
    hints, name = hints_of(shape), name_of(shape)
    needed = {
        key: hint
        for key, hint in hints.items()
        if te.get_origin(hint) in (te.Required, typing.Required) or key in shape.__required_keys__
    }
    least = {key: next(values(hint, f"{name}.{key}", {*seen, "*"})) for key, hint in needed.items()}
    yield least
    if name not in seen and "*" not in seen:
        seen.add(name)
        for key, hint in hints.items():
            for value in values(hint, f"{name}.{key}", seen):
                yield {**least, key: value}


def bodies(shape: Any) -> list[dict[str, Any]]:
    """Every body that the walk makes of a type."""
    return [
        {**BASE, key: value}
        for key, hint in hints_of(shape).items()
        if key not in HEADERS
        for value in values(hint, f"CreateParams.{key}", set())
    ]


def accepted(shape: Any, body: Any, betas: frozenset[str] = frozenset()) -> bool:
    """Whether a body has a shape."""
    try:
        check_shape(shape, body, betas)
    except APIError:
        return False
    return True


BODIES = bodies(MessageCreateParamsBase)


def test_every_parameter_that_the_sdk_can_send_has_its_shape() -> None:
    """With every beta asked for, whatever the SDK's types allow is taken."""
    assert len(BODIES) > 900
    assert [body for body in BODIES if not accepted(CreateParams, body, ALL)] == []


def test_without_a_beta_exactly_the_plain_types_are_open() -> None:
    """A body is refused where it needs a beta, and only there: the plain types are the judge."""
    unsaid = [{"role": "system"}]  # content may be left out beside output_config: `turns` checks
    for body in [body for body in BODIES if body["messages"] != unsaid]:
        plain = accepted(WithoutBetas, body, ALL) and "updates" not in str(body.get("thinking"))
        assert accepted(CreateParams, body) == plain, body


def test_each_beta_opens_something_and_is_known_to_the_sdk() -> None:
    """No beta in the table is misspelt, and none is there for nothing."""
    known = {name for part in get_args(AnthropicBetaParam) for name in get_args(part)}
    assert known >= ALL
    closed = [body for body in BODIES if not accepted(CreateParams, body)]
    for key, betas in OPENED_BY.items():
        if not key.startswith(("CountParams.", "CreateParams.output_format")):
            rest = ALL - set(betas)
            assert any(not accepted(CreateParams, body, rest) for body in closed), key


def test_a_beta_opens_its_own_fields_and_nothing_else() -> None:
    """With one beta, everything that another opens stays closed."""
    threads = frozenset(("message-threads-2026-08-12",))
    assert accepted(CreateParams, {**BASE, "thread": {"type": "create"}}, threads)
    assert not accepted(CreateParams, {**BASE, "compaction": {"type": "summarize"}}, threads)
    assert not accepted(CreateParams, {**BASE, "nonsense": 1}, threads)


def test_every_bound_is_of_a_field_that_there_is() -> None:
    """And so is every key of the table of betas."""
    found: dict[str, set[str]] = {}

    def walk(hint: Any) -> None:
        if te.is_typeddict(hint):
            if name_of(hint) not in found:
                found[name_of(hint)] = set(hints_of(hint))
                for part in hints_of(hint).values():
                    walk(part)
            return
        for part in te.get_args(hint):
            if not isinstance(part, str | int):
                walk(part)

    walk(CreateParams)
    walk(CountParams)
    for key in (*RANGES, *OPENED_BY):
        shape, _, field = key.partition(".")
        assert shape in found, key
        top = {"billing_policy", "fallback_credit_token", "fallbacks", "thread"}
        assert field.partition("=")[0] in found[shape] | top, key


ADAPTER: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsBase)
LEAVES: tuple[Any, ...] = (None, True, 7, 0.5, "x", [], {}, [7], {"type": "x"})


def spots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a value: the container and the key."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from spots(value[key])


@pytest.mark.parametrize("body", BODIES[::60], ids=lambda body: ",".join(body)[-40:])
def test_what_pydantic_refuses_is_refused(body: dict[str, Any]) -> None:
    """A value of another JSON type anywhere: pydantic reads the same types and is the judge."""
    for place, key in list(spots(body)):
        kept = place[key]
        for leaf in LEAVES:
            place[key] = leaf
            try:
                ADAPTER.validate_python(body, strict=True)
            except ValidationError:
                assert not accepted(CreateParams, body, ALL), body
        place[key] = kept


def test_the_same_type_is_looked_at_once() -> None:
    """Checks are made once per type and kept."""
    assert shape_of(CreateParams) is shape_of(CreateParams)


HEADER_FIELDS = {"betas": ["x"], "user_profile_id": "u", "workspace_id": "w"}


@pytest.mark.parametrize("name", sorted(HEADERS))
def test_parameters_that_travel_as_headers_are_no_fields(name: str) -> None:
    """The SDK sends them as headers; in a body they are unknown."""
    client = FakeAPI().client()
    with pytest.raises(anthropic.BadRequestError, match=f"{name}: Extra inputs"):
        client.post("/v1/messages", body={**BASE, name: HEADER_FIELDS[name]}, cast_to=object)


def test_an_unknown_beta_is_refused_by_name() -> None:
    """As a header that the API does not know."""
    client = FakeAPI().client()
    with pytest.raises(anthropic.BadRequestError, match=r"Unexpected value.*`soon-2030-01-01`"):
        client.beta.messages.create(**BASE, betas=["soon-2030-01-01"])  # type: ignore[call-overload]
