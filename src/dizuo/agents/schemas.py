"""JSON schemas of others: looked through once, then arguments are checked against them.

A schema comes from whoever runs a server of tools, so it may be made to hold the process up or to make it fetch
things. Nothing is fetched (`$ref` leads within the schema), no expression of it runs (`pattern`: Python's can take
exponential time), and the work of one check is bounded. What is not checked here the server checks itself.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from dizuo.core.errors import UserError
from dizuo.core.tools import GivenSchema

MOST_SCHEMA_BYTES = 64 << 10
_MOST_REFS = 2000  # followed in one check: a chain of references can stand for a tree of 2^n
_MOST_FAULTS = 5  # told of one call
_MOST_FAULT_CHARACTERS = 300  # of each: it may quote the whole value


def given_schema(schema: Mapping[str, Any]) -> GivenSchema:
    """Arguments as that schema describes them. Raises UserError for one that cannot be used."""
    return _given_schema(json.dumps(schema, sort_keys=True))


@lru_cache(1000)  # looking through one takes milliseconds, and the same ones come again with every run
def _given_schema(text: str) -> GivenSchema:
    from jsonschema import Draft202012Validator, FormatChecker
    from jsonschema.exceptions import SchemaError

    schema: Mapping[str, Any] = json.loads(text)
    if len(text) > MOST_SCHEMA_BYTES:
        raise UserError("The schema of its arguments is larger than {limit} bytes.", limit=MOST_SCHEMA_BYTES)
    if schema.get("type", "object") != "object":
        raise UserError("The schema of its arguments describes no object.")
    try:
        Draft202012Validator.check_schema(schema, FormatChecker(()))
    except SchemaError as error:
        raise UserError("The schema of its arguments is none: {reason}", reason=_short(error.message)) from None
    except RecursionError:
        raise UserError("The schema of its arguments is nested too deeply.") from None
    errors = _checker(schema)

    def faults(value: Any) -> Sequence[str]:
        found: list[str] = []
        try:
            for error in errors(value):
                where = ".".join(str(part) for part in error.absolute_path) or "arguments"
                found.append(f"{where}: {_short(error.message)}")
                if len(found) == _MOST_FAULTS:
                    break
        except Exception as error:  # a reference to nowhere, to itself, or too many: whatever else the schema does
            return [f"arguments: the schema of this tool cannot be followed ({type(error).__name__})"]
        return found

    return GivenSchema(schema, faults)


def _checker(schema: Mapping[str, Any]) -> Callable[[Any], Iterator[Any]]:
    """What jsonschema finds wrong with a value, with what could take forever left out."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend
    from referencing import Registry

    usual = Draft202012Validator.VALIDATORS
    followed = 0

    def bounded(keyword: str) -> Any:
        def follow(validator: Any, reference: Any, instance: Any, within: Any) -> Iterator[Any]:
            nonlocal followed
            followed += 1
            if followed > _MOST_REFS:
                raise RecursionError
            yield from usual[keyword](validator, reference, instance, within)

        return follow

    def additional(validator: Any, value: Any, instance: Any, within: Any) -> Iterator[Any]:
        if "patternProperties" not in within:
            yield from usual["additionalProperties"](validator, value, instance, within)

    def nothing(*_: Any) -> Iterator[Any]:
        return iter(())

    # unevaluated…: jsonschema goes through what lies below once more at each level.
    left_out = ("pattern", "patternProperties", "unevaluatedItems", "unevaluatedProperties")
    changed = {name: nothing for name in left_out} | {name: bounded(name) for name in ("$ref", "$dynamicRef")}
    checked = extend(Draft202012Validator, {**changed, "additionalProperties": additional})
    made = checked(schema, registry=Registry())

    def errors(value: Any) -> Iterator[Any]:
        nonlocal followed
        followed = 0
        return made.iter_errors(value)

    return errors


def _short(text: str) -> str:
    return text if len(text) <= _MOST_FAULT_CHARACTERS else text[: _MOST_FAULT_CHARACTERS - 1] + "…"
