"""What a small chat model can do."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dizuo.evals.starter import Asked, _right, _schema, bits_per_byte, call_schema, own_calls, reading, tool_calls
from dizuo.inference.engine import TextEngine
from tests.tiny_models import save_llama

TOOL = {
    "type": "function",
    "function": {
        "name": "rain",
        "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
    },
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TextEngine]:
    opened = TextEngine(save_llama(tmp_path_factory.mktemp("starter") / "tiny", positions=1024))
    yield opened
    opened.close()


def test_a_call_is_held_to_the_schema_even_of_a_model_that_says_nonsense(engine: TextEngine) -> None:
    asked = [Asked([{"role": "user", "content": "rain 3"}], [TOOL], "rain", {"n": [3]})]
    found = tool_calls(engine, asked)
    assert found.name in (0.0, 1.0)  # 0 where the limit of tokens cut the number
    assert found.first_tool == 1.0
    assert json.loads(json.dumps(call_schema([TOOL])))["anyOf"][0]["properties"]["name"] == {"const": "rain"}


def test_nonsense_answers_nothing(engine: TextEngine) -> None:
    rows = [{"passage": "The gate is red.", "question": "Which colour?", "answers": [{"text": "red"}]}]
    assert reading(engine, rows).em == 0.0


def test_bits_per_byte_of_an_untrained_model_are_those_of_blind_guessing(engine: TextEngine) -> None:
    assert 2 < bits_per_byte(engine, ["The quick brown fox jumps over the lazy dog. 今天天气很好。"]) < 20


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ({"city": "paris", "days": 3}, True),
        ({"city": "Paris"}, True),
        ({"city": "Rome"}, False),
        ({"days": 3}, False),
        ({"city": "Paris", "more": 1}, False),
    ],
)
def test_arguments_are_right_when_each_is_among_those_accepted(said: dict[str, Any], right: bool) -> None:
    assert _right(said, {"city": ["Paris"], "days": ["", 3]}) is right


def test_foreign_types_become_those_of_json_schema() -> None:
    theirs = {
        "type": "dict",
        "properties": {"a": {"type": "float", "default": 1}, "b": {"type": "tuple", "items": {"type": "String"}}},
    }
    assert _schema(theirs)["properties"] == {
        "a": {"type": "number"},
        "b": {"type": "array", "items": {"type": "string"}},
    }


def test_own_requests_end_where_the_call_comes() -> None:
    for one in own_calls(60):
        assert one.messages[-1]["role"] == "user" or one.name is None
        assert one.name is None or one.name in [tool["function"]["name"] for tool in one.tools]
