"""Arguments against schemas of others, which may be made to do harm."""

import time
from typing import Any

import pytest

from dizuo.agents.schemas import given_schema
from dizuo.core.errors import UserError
from dizuo.core.tools import Tool, ToolArgumentsError

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}


def tool_of(schema: dict[str, Any]) -> Tool:
    return Tool("weather", "The weather.", lambda arguments: arguments, given_schema(schema))


def test_a_model_reads_the_schema_as_it_was_given() -> None:
    assert tool_of(SCHEMA).described()["function"]["parameters"] == SCHEMA


def test_arguments_that_fit_come_as_one_dict() -> None:
    assert tool_of(SCHEMA).checked('{"city": "Rome", "days": 2}') == {"arguments": {"city": "Rome", "days": 2}}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("{}", "'city' is a required property"),
        ('{"city": 1}', "city: 1 is not of type 'string'"),
        ('{"city": "Rome", "dayz": 2}', "'dayz' was unexpected"),
        ("[]", "must be an object"),
        ("{", "Expecting"),
        ("[" * 100_000, "nested too deeply"),
        ('{"city": ' + "[" * 100 + "]" * 100 + "}", "is not of type 'string'"),
    ],
)
def test_arguments_that_do_not_fit_are_told_to_the_model(arguments: str, says: str) -> None:
    with pytest.raises(ToolArgumentsError, match="weather") as raised:
        tool_of(SCHEMA).checked(arguments)
    assert says in str(raised.value)
    assert len(str(raised.value)) < 2000


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"type": "object", "properties": 5},
        {"type": "object", "description": "x" * 100_000},
        {"type": "object", "properties": {"a": {"type": "nothing"}}},
    ],
)
def test_what_is_no_schema_of_arguments_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        given_schema(schema)


def doubled(levels: int) -> dict[str, Any]:
    """A short schema that stands for a tree of 2^levels."""
    steps = {f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}] * 2} for n in range(levels)}
    return {"type": "object", "$defs": {**steps, f"s{levels}": {}}, "$ref": "#/$defs/s0"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "$ref": "#"},
        {"type": "object", "$ref": "http://127.0.0.1:9/schema"},  # is not fetched
        {"type": "object", "$ref": "#/nowhere"},
        doubled(40),
    ],
)
def test_a_schema_that_cannot_be_followed_refuses_every_call_and_at_once(schema: dict[str, Any]) -> None:
    began_s = time.monotonic()
    with pytest.raises(ToolArgumentsError, match="cannot be followed"):
        tool_of(schema).checked("{}")
    assert time.monotonic() - began_s < 5


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": "(x+)+$"}}},
        {"patternProperties": {"(x+)+$": False}, "additionalProperties": False},
        {"patternProperties": {"(x+)+$": {}}, "unevaluatedProperties": False},
    ],
)
def test_no_expression_of_others_runs(schema: dict[str, Any]) -> None:
    long = "x" * 40 + "!"
    tool_of({"type": "object", **schema}).checked(f'{{"a": "{long}", "{long}": 1}}')
