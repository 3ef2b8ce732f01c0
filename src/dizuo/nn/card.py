"""The model card of a checkpoint: README.md with the front matter that the Hugging Face hub reads.

All of it comes from `dizuo.json`, `config.json` and the weights' header, so the same checkpoint has the same card.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from dizuo.core.errors import UserError
from dizuo.nn.checkpoint import BASE_WEIGHTS, Provenance, read_provenance
from dizuo.nn.int8 import is_int8
from dizuo.nn.layout import read_json

# The end of an architecture's name -> (the hub's task, what such a model does).
_TASKS = {
    "ForCausalLM": ("text-generation", "a decoder that continues text"),
    "LMHeadModel": ("text-generation", "a decoder that continues text"),
    "MTModel": ("translation", "an encoder-decoder that turns a sentence of one language into one of another"),
    "ForConditionalGeneration": ("text2text-generation", "an encoder-decoder that turns one text into another"),
    "BertForSequenceClassification": ("text-classification", "an encoder that labels or scores a text or a pair"),
    "ForSequenceClassification": ("text-classification", "a reward model: one number for how good a text is"),
    "ForTokenClassification": ("token-classification", "an encoder that labels every token"),
    "ForQuestionAnswering": ("question-answering", "a reader that points at the answer to a question in a passage"),
    "Model": ("feature-extraction", "an encoder that turns text into vectors"),
}
_SENTENCES = ("sentence-similarity", "an encoder that turns a sentence into one vector, for search by meaning")
_LANGUAGES = {"en": "English", "zh": "Chinese", "de": "German", "fr": "French"}
# The licence of weights where no data asks for another.
_DEFAULT_LICENCE = "apache-2.0"


def model_card(folder: Path) -> str:
    """README.md of a checkpoint. Raises UserError when config.json or dizuo.json is missing or damaged."""
    import yaml

    file = folder / "config.json"
    if not file.is_file():
        raise UserError("The checkpoint {folder} has no {file}.", folder=folder, file=file.name)
    config = read_json(file)
    made = read_provenance(folder)
    if made is None:
        raise UserError(
            "{folder} has no {file}: nothing says how the model was made, so it gets no card.",
            folder=folder,
            file="dizuo.json",
        )
    front = yaml.safe_dump(_front_matter(folder, config, made), sort_keys=False, allow_unicode=True)
    body = "\n\n".join("\n\n".join(part) for part in _sections(folder, config, made) if part)
    return f"---\n{front}---\n\n{body}\n"


def _front_matter(folder: Path, config: Mapping[str, Any], made: Provenance) -> dict[str, Any]:
    task, does = _task(folder, config)
    licence, why = _licence(made)
    tags = ["dizuo", made.recipe.get("stage"), "reward-model" if "reward model" in does else None]
    weights = [one for one in made.data if one.get("about") == BASE_WEIGHTS]
    sets = [one for one in made.data if one.get("about") != BASE_WEIGHTS]
    front = {
        "license": licence,
        "license_name": why if licence == "other" else None,
        "language": _languages(made),
        "library_name": _library(task, config),
        "pipeline_tag": task,
        "base_model": [*made.parents, *_names(weights)],
        "datasets": _names(sets),
        "tags": [str(one) for one in tags if one],
    }
    return {key: value for key, value in front.items() if value}


def _names(data: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(str(one["name"]) for one in data if one.get("name")))


def _sections(folder: Path, config: Mapping[str, Any], made: Provenance) -> Iterator[list[str]]:
    # int8 is what ships: a folder that was given its name.
    name = str((not is_int8(config) and made.recipe.get("name")) or folder.resolve().name)
    yield [f"# {name}", *_about(folder, config, made)]
    yield ["## Use", _use(folder, config, name)]
    if made.scores:
        yield ["## Scores", "Measured on data that it did not train on.", _scores(made.scores)]
    yield ["## Data", *_data(made)]
    yield ["## How it was made", *_recipe(made)]
    yield ["## Limits", "\n".join(f"- {one}" for one in _limits(config, made))]


def _about(folder: Path, config: Mapping[str, Any], made: Provenance) -> Iterator[str]:
    _tag, does = _task(folder, config)
    size = _parameters(folder)
    count = f"{size / 1e6:.1f} million" if size >= 1e6 else f"{size:,}"
    numbers = f" with {count} parameters" if size else ""
    yield f"This is {does}: a {config.get('model_type', 'unknown')} model{numbers}, trained with Dizuo."
    described = made.recipe.get("description")
    yield from described.values() if isinstance(described, Mapping) else [str(described)] if described else []


def _use(folder: Path, config: Mapping[str, Any], name: str) -> str:
    architecture = _architecture(config)
    lines = [
        f"Put this folder at `DIZUO_HOME/models/{name}`: Dizuo then knows it as `local/{name}`. Or, in Python:",
        "",
    ]
    if is_int8(config):
        lines[0] = f"Its weights are int8 with a scale a row, as Dizuo reads them: the model `local/{name}`. In Python:"
        code = _code("dizuo.nn.checkpoint", "load_model", f'load_model(Path("{name}"))')
        return "\n".join([*lines, code[0], "from pathlib import Path", "", *code[1:]])
    if _task(folder, config)[0] == _SENTENCES[0]:
        return "\n".join(
            [*lines, *_code("sentence_transformers", "SentenceTransformer", f'SentenceTransformer("{name}")')]
        )
    return "\n".join([*lines, *_code("transformers", architecture, f'{architecture}.from_pretrained("{name}")')])


def _code(module: str, name: str, call: str) -> list[str]:
    return ["```python", f"from {module} import {name}", "", f"model = {call}", "```"]


def _library(task: str, config: Mapping[str, Any]) -> str:
    if is_int8(config):  # a layout of ours
        return "dizuo"
    return "sentence-transformers" if task == _SENTENCES[0] else "transformers"


def _scores(scores: Mapping[str, Any]) -> str:
    """A row a measure; what another model reached (`beside`, by its name) stands in columns of its own."""
    beside = {name: dict(_flat(reached)) for name, reached in scores.get("beside", {}).items()}
    own = _flat({name: value for name, value in scores.items() if name != "beside"})
    rows = [(name, _number(value), *(_number(one.get(name, "")) for one in beside.values())) for name, value in own]
    return _table(("measure", "value", *beside), rows)


def _data(made: Provenance) -> Iterator[str]:
    if not made.data:
        yield "Nothing is recorded."
        return
    columns = ("set", "split", "rows", "licence", "sha256", "through")
    yield _table(columns, [_data_row(one) for one in made.data])
    if any(one.get("through") for one in made.data):
        yield "What has a name under *through* was learnt by the model that this one started from."
    if origins := list(dict.fromkeys(filter(None, map(_origin, made.data)))):
        yield "Where it is from, and whom to credit:"
        yield "\n".join(origins)


def _data_row(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    licence = facts.get("licence") or "not stated"
    named = (facts.get(key, "") for key in ("name", "split", "rows"))
    return *named, licence, _sha256(facts), facts.get("through", "")


def _origin(facts: Mapping[str, Any]) -> str:
    said = [str(facts[key]).rstrip(".") for key in ("about", "attribution") if facts.get(key)]
    said += [f"Source: {one}" for one in facts.get("sources") or []]
    return f"- {facts.get('name')}: {'. '.join(said)}." if said else ""


def _recipe(made: Provenance) -> Iterator[str]:
    import yaml

    if made.parents:
        yield f"It started from {', '.join(f'`{one}`' for one in made.parents)}."
    yield f"Code: commit `{made.commit}`." if made.commit else "The commit of the code is not recorded."
    if made.recipe:
        yield f"```yaml\n{yaml.safe_dump(made.recipe, sort_keys=False, allow_unicode=True).strip()}\n```"


def _limits(config: Mapping[str, Any], made: Provenance) -> Iterator[str]:
    languages = [_LANGUAGES.get(one, one) for one in _languages(made)]
    longest = config.get("max_position_embeddings") or config.get("n_positions")
    if longest:
        yield f"It reads {longest} tokens at most."
    if languages:
        yield f"It saw text in {' and '.join(languages)} only; in other languages its answers mean nothing."
    yield "It can be wrong and sound sure, and it repeats the errors and slants of its data. Check what matters."
    if not made.scores:
        yield "No score of it is recorded."
    unshippable = sorted({str(one["name"]) for one in made.data if one.get("may_ship") is False})
    if unshippable:
        yield f"Weights trained on {', '.join(unshippable)} may not be given away."
    licence, _why = _licence(made)
    if licence.startswith("cc-by-sa"):
        yield "Some of its data asks that what is adapted from it be shared alike; the licence above follows that."


def _task(folder: Path, config: Mapping[str, Any]) -> tuple[str, str]:
    if (folder / "modules.json").is_file():
        return _SENTENCES
    architecture = _architecture(config)
    ends = (task for end, task in _TASKS.items() if architecture.endswith(end))
    return next(ends, ("other", "a model"))


def _architecture(config: Mapping[str, Any]) -> str:
    named = config.get("architectures")
    return str(named[0]) if isinstance(named, list) and named else "AutoModel"


def _licence(made: Provenance) -> tuple[str, str]:
    """(the hub's name of it, why it is "other"): what the data asks for, the most demanding of all sets."""
    if any(one.get("may_ship") is False for one in made.data):
        return "other", "not-for-distribution"
    said = [str(one.get("licence") or "") for one in made.data]
    alike = [one for one in said if re.search(r"by-sa", one.replace(" ", "-"), re.IGNORECASE)]
    if alike:  # what stands under 3.0 may be adapted under 4.0
        return ("cc-by-sa-4.0" if any("4.0" in one for one in alike) else "cc-by-sa-3.0"), ""
    if not all(said):
        return "other", "unknown-data"
    return _DEFAULT_LICENCE, ""


def _languages(made: Provenance) -> list[str]:
    """What the sets say of themselves, or what their names say ("text/zh-wikipedia")."""
    found: set[str] = set()
    for one in made.data:
        said = one.get("language") or re.split(r"[^a-z]+", str(one.get("name", "")).lower())
        found |= {part for part in ([said] if isinstance(said, str) else said) if part in _LANGUAGES}
    return sorted(found)


def _parameters(folder: Path) -> int:
    """Of all weights; 0 where they cannot be read. A header is read, no weight."""
    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as weights:
                total += sum(prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
        except (OSError, SafetensorError):
            return 0
    return total


def _sha256(facts: Mapping[str, Any]) -> str:
    files = facts.get("files")
    sums = [facts.get("sha256")] if facts.get("sha256") else [one.get("sha256") for one in files or []]
    first = str(sums[0])[:16] + "…" if sums and sums[0] else ""
    return first + (f" (and {len(sums) - 1} more files)" if len(sums) > 1 else "")


def _flat(scores: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in scores.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} / ")
        else:
            yield f"{prefix}{name}", value


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join("| " + " | ".join(_cell(one) for one in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
