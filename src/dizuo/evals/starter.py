"""What a small chat model can do: read, call tools, and predict text.

    python -m dizuo.evals.starter --data FOLDER --model FOLDER [--beside FOLDER] [--every N]

    reading      the passage and the question in the form of programs/grounded; EM and F1 as in evals/reading.py
    tool calls   programs/tool-calls, `test` (tools that were never trained on), and BFCL's simple and multiple calls;
                 whether it calls at all is its own choice; what it writes when it must is held to the tools' schemas,
                 and beside that left free
    text         bits per byte of the held-out text
    trivial      the sentence of the passage that shares the most words with the question; the first tool on offer

`--beside` is a model to compare with, such as the same size untrained. `--keep` writes the figures of both into the
model's dizuo.json and its card; the catalogue of models and the form of runs then tell how well it calls tools.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dizuo.core.errors import UserError
from dizuo.evals.kept import keep
from dizuo.evals.reading import Read, Scores, score

if TYPE_CHECKING:
    from dizuo.inference.engine import TextEngine

_ANSWER_TOKENS, _CALL_TOKENS = 64, 160
_TEXTS = ("text/en-wikipedia", "text/zh-wikipedia", "text/code-python")
_BFCL = ("simple_python", "multiple")
_KINDS = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}


@dataclass(frozen=True)
class Asked:
    """A conversation that ends where a call may come, and the call that is right (None: none is).

    `accepted` says for each argument which values are right."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]]
    name: str | None
    accepted: Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Calls:
    """Shares of `n` conversations."""

    n: int
    decided: float  # called where a call is right, and did not where none is
    name: float  # of those where a call is right: the right tool, when it must call
    exact: float  # … and every argument
    free_name: float  # the right tool where nothing holds it to the schemas, nor to calling at all
    free_exact: float  # … and every argument
    first_tool: float  # the share whose right tool is the first on offer: what choosing blindly gives


# --- reading ----------------------------------------------------------------------------------------------------


def reading(engine: "TextEngine", rows: Sequence[Mapping[str, Any]]) -> Scores:
    """What the model answers to questions about passages; what it says for silent passages is a refusal."""
    from dizuo.data.programs.grounded import SILENT
    from dizuo.data.programs.grounded import asked as asked_of
    from dizuo.inference.sampling import SamplingOptions

    options = SamplingOptions(max_tokens=_ANSWER_TOKENS, temperature=0)
    running = []
    for row in rows:
        language = "en" if row["question"].isascii() else "zh"
        text = asked_of(row["passage"], row["question"], language)
        prompt = engine.apply_chat_template([{"role": "user", "content": text}])
        try:
            running.append(engine.generate(prompt, options))
        except UserError:  # a passage longer than the model reads
            running.append(None)
    read = []
    for row, generation in zip(rows, running, strict=True):
        said = generation.wait().text.strip() if generation else ""
        refused = said in SILENT.values()
        read.append(Read("" if refused else said, float(not refused), tuple(one["text"] for one in row["answers"])))
    return score(read, 0.5)


def nearest_sentences(rows: Sequence[Mapping[str, Any]]) -> Scores:
    """What quoting the sentence that shares the most words (Chinese: pairs of characters) with the question gives."""
    from dizuo.data.programs.questions import sentences
    from dizuo.knowledge.analyze import terms

    read = []
    for row in rows:
        asked, passage = set(terms(row["question"])), row["passage"]
        said = [passage[start:end] for start, end in sentences(passage)] or [passage]
        near = max(said, key=lambda one: len(asked & set(terms(one))))
        read.append(Read(near, 1.0, tuple(one["text"] for one in row["answers"])))
    return score(read, 0.5)


# --- tool calls -------------------------------------------------------------------------------------------------


def tool_calls(engine: "TextEngine", asked: Sequence[Asked]) -> Calls:
    """Whether and what the model calls."""
    from dizuo.inference.sampling import SamplingOptions

    mark = engine.tokenizer.token_to_id("<tool_call>")
    if mark is None:
        raise UserError("The tokenizer has no token {mark}: it was not made for conversations.", mark="<tool_call>")
    free = SamplingOptions(max_tokens=_CALL_TOKENS, temperature=0)
    running = []
    for one in asked:
        prompt = engine.apply_chat_template(one.messages, one.tools)
        room = engine.context_tokens - len(prompt) - 1
        if room < _CALL_TOKENS:  # a list of tools longer than the model reads: nothing is called
            running.append(None)
            continue
        begun = engine.generate(prompt, free)
        options = SamplingOptions(max_tokens=_CALL_TOKENS, temperature=0, json_schema=call_schema(one.tools))
        running.append((begun, engine.generate([*prompt, mark], options) if one.name else None))
    decided, named, exact = [], [], []
    free_named, free_exact = [], []
    for one, started in zip(asked, running, strict=True):
        if started is None:
            decided.append(one.name is None)
            for right in (named, exact, free_named, free_exact) if one.name else ():
                right.append(False)
            continue
        begun, call = started
        ids = begun.wait().token_ids
        decided.append((ids[:1] == (mark,)) == (one.name is not None))
        if call is not None:
            for said, names, exacts in (
                (_parsed(call.wait().text), named, exact),
                (_called(engine, ids, mark), free_named, free_exact),
            ):
                names.append(said.get("name") == one.name)
                exacts.append(names[-1] and _right(said.get("arguments") or {}, one.accepted))
    blind = [one.tools[0]["function"]["name"] == one.name for one in asked if one.name]
    return Calls(
        len(asked), _mean(decided), _mean(named), _mean(exact), _mean(free_named), _mean(free_exact), _mean(blind)
    )


def call_schema(tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The JSON schema of a call of one of the tools."""
    return {
        "anyOf": [
            {
                "type": "object",
                "properties": {"name": {"const": one["function"]["name"]}, "arguments": one["function"]["parameters"]},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for one in tools
        ]
    }


def own_calls(n: int) -> list[Asked]:
    """Requests about tools that no training row shows."""
    from dizuo.data.programs import program_rows

    asked = []
    for row in islice(program_rows("programs/tool-calls", "test", None), n):
        before = next(
            (at for at, message in enumerate(row["messages"]) if message.get("tool_calls")), len(row["messages"]) - 1
        )
        call = row["call"] or {"name": None, "arguments": {}}
        accepted = {name: [value] for name, value in call["arguments"].items()}
        asked.append(Asked(row["messages"][:before], row["tools"], call["name"], accepted))
    return asked


def bfcl_calls(data: Path, every: int) -> list[Asked]:
    """BFCL v4: one call of one tool, or of one of several; any of the values that it lists is right."""
    from dizuo.data.sources import read

    rows = [row for row in read("bfcl_v4", "questions", data) if row["category"] in _BFCL][::every]
    asked = []
    for row in rows:
        ((name, accepted),) = row["ground_truth"][0].items()
        tools = [
            {"type": "function", "function": {**one, "parameters": _schema(one["parameters"])}}
            for one in row["function"]
        ]
        asked.append(Asked(row["question"][0], tools, name, accepted))
    return asked


def _schema(theirs: Any) -> Any:
    """BFCL's types as JSON schema has them."""
    if isinstance(theirs, Mapping):
        made = {key: _schema(value) for key, value in theirs.items() if key not in ("default", "optional")}
        if isinstance(made.get("type"), str):
            made["type"] = _KINDS.get(made["type"].lower(), made["type"].lower())
        return made
    return [_schema(one) for one in theirs] if isinstance(theirs, list) else theirs


def _right(said: Any, accepted: Mapping[str, Sequence[Any]]) -> bool:
    """Each argument is one of the values that are right; one that may be missing has "" among them."""
    return (
        isinstance(said, Mapping)
        and set(said) <= set(accepted)
        and all(
            any(_same(said[name], one) for one in values) if name in said else "" in values
            for name, values in accepted.items()
        )
    )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        return a.strip().lower() == b.strip().lower()
    return a == b


def _called(engine: "TextEngine", ids: Sequence[int], mark: int) -> dict[str, Any]:
    """The call that an answer begins with, or nothing."""
    if not ids or ids[0] != mark:
        return {}
    end = engine.tokenizer.token_to_id("</tool_call>")
    kept = list(ids[1 : ids.index(end)] if end in ids else ids[1:])
    return _parsed(engine.tokenizer.decode(kept))


def _parsed(text: str) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except ValueError:  # cut off by the limit of tokens
        return {}
    return said if isinstance(said, dict) else {}


# --- text -------------------------------------------------------------------------------------------------------


def bits_per_byte(engine: "TextEngine", texts: Sequence[str]) -> float:
    """-log2 p of the texts by their bytes, each cut to what the model reads at once; a first token is given."""
    nats, n_bytes = 0.0, 0
    for text in texts:
        ids = engine.encode(text)[: engine.context_tokens - 1]
        scores = engine.score(ids)
        nats -= sum(one.logprob for one in scores if one.logprob is not None)
        n_bytes += len(engine.tokenizer.decode(ids[1:]).encode())
    return nats / math.log(2) / max(1, n_bytes)


def held_out_texts(name: str, data: Path, n: int) -> Iterator[str]:
    """The first documents of the set's held-out part."""
    from dizuo.data.sources import read

    return (row["text"] for row in islice(read(name, "val", data), n))


def measure(folder: Path, data: Path, every: int) -> dict[str, Any]:
    """Every figure of one model."""
    from dizuo.data.reading import read_reading
    from dizuo.inference.engine import TextEngine

    asked = {name: list(read_reading(name, "test", data))[::every] for name in ("squad_v2_en", "cmrc2018_zh")}
    engine = TextEngine(folder)
    try:
        return {
            **{f"reading {name}": asdict(reading(engine, rows)) for name, rows in asked.items()},
            **{f"trivial reading {name}": asdict(nearest_sentences(rows)) for name, rows in asked.items()},
            "calls of new tools": asdict(tool_calls(engine, own_calls(400)[::every])),
            "calls BFCL": asdict(tool_calls(engine, bfcl_calls(data, every))),
            "bits per byte": {name: bits_per_byte(engine, list(held_out_texts(name, data, 24))) for name in _TEXTS},
        }  # fmt: skip
    finally:
        engine.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: JSON by model."""
    parser = argparse.ArgumentParser(prog="python -m dizuo.evals.starter", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--beside", type=Path, action="append", default=[], help="folder of another to compare with")
    parser.add_argument("--keep", action="store_true", help="also write the figures into the model's dizuo.json")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every Nth question only")
    options = parser.parse_args(arguments)
    found = {str(one): measure(one, options.data, options.every) for one in (options.model, *options.beside)}
    if options.keep:
        beside = {one.name: found[str(one)] for one in options.beside}
        keep(options.model, {**found[str(options.model)], **({"beside": beside} if beside else {})})
    print(json.dumps(found, indent=1, ensure_ascii=False))


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0


if __name__ == "__main__":
    main(sys.argv[1:])
