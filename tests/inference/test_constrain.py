"""Constrained output of a model with random weights: what ended by itself always parses."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dizuo.core.errors import UserError
from dizuo.inference.engine import TextEngine
from dizuo.inference.sampling import SamplingOptions
from tests.inference.tiny import make_checkpoint

SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "maximum": 150}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    {"type": "array", "items": {"enum": ["red", "绿", None, 3]}, "minItems": 1, "maxItems": 4},
    {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": "^[a-c]{2,4}$"}]},
    {
        "type": "object",
        "properties": {"inner": {"type": "object", "properties": {"x": {"const": 1}}, "required": ["x"],
                                 "additionalProperties": False}},
        "required": ["inner"],
        "additionalProperties": False,
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TextEngine]:
    engine = TextEngine(make_checkpoint(tmp_path_factory.mktemp("models") / "tiny"), slots=8)
    yield engine
    engine.close()


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_text_obeys_its_schema(engine: TextEngine, schema: dict[str, Any]) -> None:
    validator = pytest.importorskip("jsonschema_rs").validator_for(schema)
    runs = [engine.generate("Ada", SamplingOptions(json_schema=schema, seed=n, max_tokens=120)) for n in range(8)]
    for done in (run.wait() for run in runs):
        assert done.finish_reason == "stop"
        validator.validate(json.loads(done.text))


def test_any_object_at_a_high_temperature_parses_whenever_it_ended(engine: TextEngine) -> None:
    options = [SamplingOptions(json_schema={"type": "object"}, seed=n, temperature=2, max_tokens=150) for n in range(8)]
    ended = [d for o in options if (d := engine.generate("Ada", o).wait()).finish_reason == "stop"]
    assert ended
    assert all(isinstance(json.loads(done.text), dict) for done in ended)


def test_a_text_matches_its_expression(engine: TextEngine) -> None:
    for n in range(5):
        done = engine.generate("Ada", SamplingOptions(regex=r"(\d{3}-){2}[A-F]+!", seed=n, max_tokens=100)).wait()
        assert done.finish_reason == "stop"
        assert re.fullmatch(r"(\d{3}-){2}[A-F]+!", done.text)


def test_a_text_follows_its_grammar(engine: TextEngine) -> None:
    grammar = 'start: NAME "(" (NAME ("," NAME)~0..2)? ")."\nNAME: /[a-z]{1,3}/'
    for n in range(5):
        done = engine.generate("Ada", SamplingOptions(grammar=grammar, seed=n, max_tokens=60)).wait()
        assert done.finish_reason == "stop"
        assert re.fullmatch(r"[a-z]{1,3}\(([a-z]{1,3}(,[a-z]{1,3}){0,2})?\)\.", done.text)


def test_max_tokens_may_cut_a_text_and_says_so(engine: TextEngine) -> None:
    done = engine.generate("Ada", SamplingOptions(json_schema=SCHEMAS[0], max_tokens=3)).wait()
    assert done.finish_reason == "length"


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ({"regex": "(["}, "regex"),
        ({"grammar": "start: nowhere"}, "grammar"),
        ({"json_schema": {"type": "no such type"}}, "json_schema"),
        ({"json_schema": "{"}, "json_schema"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_reason(engine: TextEngine, rule: dict[str, Any], kind: str) -> None:
    with pytest.raises(UserError, match=f"The {kind} cannot be followed: .+"):
        engine.generate("Ada", SamplingOptions(**rule))


def test_a_model_that_names_no_end_cannot_be_constrained(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "endless")
    for name in ("config.json", "generation_config.json"):
        described = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({k: v for k, v in described.items() if k != "eos_token_id"}))
    engine = TextEngine(folder, slots=1)
    with pytest.raises(UserError, match="eos_token_id"):
        engine.generate("Ada", SamplingOptions(regex="a"))
    engine.close()


def _chained(count: int) -> dict[str, Any]:
    """A schema whose definitions each name the next one."""
    each: dict[str, Any] = {
        f"a{n}": {"type": "object", "properties": {"p": {"$ref": f"#/$defs/a{n + 1}"}}} for n in range(count)
    }
    return {"$ref": "#/$defs/a0", "$defs": each | {f"a{count}": {"type": "null"}}}


def test_a_chain_of_references_that_overflowed_the_stack_is_followed(engine: TextEngine) -> None:
    engine.generate("Ada", SamplingOptions(json_schema=_chained(1200), max_tokens=2)).wait()


def test_a_schema_too_large_or_too_deep_is_refused(engine: TextEngine) -> None:
    deep: dict[str, Any] = {"type": "null"}
    for _ in range(3000):
        deep = {"anyOf": [deep]}
    for schema in (_chained(5000), deep):
        with pytest.raises(UserError, match="cannot be followed"):
            engine.generate("Ada", SamplingOptions(json_schema=schema, max_tokens=2))
