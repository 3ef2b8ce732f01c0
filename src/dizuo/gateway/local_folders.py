"""Folders in the Hugging Face layout, seen as models: what each is, and what is wrong with those that cannot be used.

Only `config.json`, `dizuo.json` and the header of the weights are read here: a listing loads no model.
"""

import json
import math
import operator
import re
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dizuo.core.documents import Note
from dizuo.core.errors import Conflict, NotFound, UserError

Kind = Literal[
    "chat", "completion", "embedding", "rerank", "classifier", "reader", "translation", "reward", "backbone", "unknown"
]
PREFIX = "local/"
HUB = "hf"  # DIZUO_HOME/models/hf/ORG/NAME is the model hf/ORG/NAME
HUB_PREFIX = f"{HUB}/"
SHIPPED = Path(__file__).parents[1] / "models"

# A direct child of the folder of models and nothing else: no separators, no "..", nothing hidden.
_NAME = re.compile(r"\w[\w.\-]{0,63}")
_REPOSITORY = re.compile(r"hf/([A-Za-z0-9][\w.\-]{0,95})/([A-Za-z0-9][\w.\-]{0,95})", re.ASCII)
_JSON_LIMIT_BYTES = 4 << 20  # real configurations are a few kilobytes
_HEADER_LIMIT_BYTES = 100 << 20  # what the format itself allows
HUB_FILE = "hub.json"  # where a folder came from
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"

# What an architecture does, by its name in transformers. Encoders with a head are those of `nn`; a decoder of any
# family is tried, because transformers can run those that `nn` does not know.
_KINDS: dict[str, Kind] = {
    "BertModel": "embedding",
    "BertForSequenceClassification": "classifier",
    "BertForQuestionAnswering": "reader",
    "MarianMTModel": "translation",
    "T5ForConditionalGeneration": "translation",
}
_KINDS_BY_END: dict[str, Kind] = {
    "ForCausalLM": "completion",
    "LMHeadModel": "completion",
    "ForMaskedLM": "backbone",
    "ForTokenClassification": "backbone",
    "ForSequenceClassification": "reward",
    "Model": "backbone",
}
# Where `architectures` is missing, as the checkpoints of some older tools leave it.
_BY_TYPE: dict[str, Kind] = {
    "gpt2": "completion", "llama": "completion", "qwen2": "completion", "qwen3": "completion", "bert": "embedding",
}  # fmt: skip


@dataclass(frozen=True)
class LocalFolder:
    """One folder of models. With a `problem` it cannot be used, and the rest of its facts may be missing."""

    name: str  # local/NAME or hf/ORG/NAME
    path: Path
    shipped: bool  # comes with Dizuo, as against put into the home or trained there
    kind: Kind = "unknown"
    architecture: str = ""
    parameters: int = 0
    size_bytes: int = 0
    context_tokens: int = 0  # longest input; 0: not said
    dimension: int = 0  # width of its vectors
    languages: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)  # dizuo.json
    revision: str = ""  # of the hub, for models that come from there
    problem: Note | None = None

    def stamp(self) -> tuple[Any, ...]:
        """Changes when a file of the folder that an engine reads is replaced."""
        return _stamp(self.path)


class LocalFolders:
    """The models of an instance: those under `home`, and those that ship. A new folder is there at the next look."""

    def __init__(self, home: Path | None, shipped: Path = SHIPPED, reserved: Sequence[str] = ()) -> None:
        """`home` is the folder of models itself, DIZUO_HOME/models. `reserved` names are taken by other models."""
        self._home = home
        self._shipped = shipped
        self._reserved = frozenset(reserved)
        self._seen: dict[Path, tuple[tuple[Any, ...], LocalFolder]] = {}

    def list(self) -> "list[LocalFolder]":
        """Every folder, by name; one in the home comes before one of the same name that ships."""
        found: dict[str, LocalFolder] = {}
        for root, shipped in ((self._shipped, True), (self._home, False)):
            for path in _children(root):
                if not (path.name == HUB and not shipped):
                    found[path.name] = self._look(f"{PREFIX}{path.name}", path, shipped)
        hub = None if self._home is None else self._home / HUB
        for path in (path for organisation in _children(hub) for path in _children(organisation)):
            name = f"{HUB_PREFIX}{path.parent.name}/{path.name}"
            if is_repository(name):
                found[name] = self._look(name, path, False)
        return [found[name] for name in sorted(found, key=lambda name: (name.startswith(HUB_PREFIX), name))]

    def has(self, name: str) -> bool:
        """Whether there is a folder for a model of that name, usable or not."""
        return self._find(name) is not None

    def get(self, name: str) -> LocalFolder:
        """The folder of a model. Raises NotFound, also for a name that is no name."""
        if found := self._find(name):
            return self._look(name, *found)
        if is_repository(name):
            raise NotFound("The model {name} is not on this machine. Fetch it: dizuo model add {name}", name=name)
        raise NotFound(
            "No local model is named {name!r}. There are: {names}. A folder in the Hugging Face layout becomes one "
            "when it is put into {home}.",
            name=name,
            names=", ".join(one.name for one in self.list()) or "-",
            home=self._home or "DIZUO_HOME/models",
        )

    def usable(self, name: str) -> LocalFolder:
        """The same, and raises UserError with what is wrong when the folder cannot be used."""
        folder = self.get(name)
        if folder.problem is not None:
            raise UserError("The model {name} cannot be used. {problem}", name=name, problem=folder.problem)
        return folder

    def remove(self, name: str) -> LocalFolder:
        """Deletes a model of the home. Raises NotFound, and Conflict for one that ships with Dizuo."""
        folder = self.get(name)
        if folder.shipped:
            raise Conflict("The model {name} comes with Dizuo; only models of your own can be removed.", name=name)
        if folder.path.is_symlink():
            folder.path.unlink()  # what it leads to is somebody else's
        else:
            # Out of sight first, so that nobody sees half a model; and so that what cannot be deleted is said at once.
            aside = folder.path.with_name(f".removed-{folder.path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            folder.path.rename(aside)
            shutil.rmtree(aside)
        return folder

    def _find(self, name: str) -> tuple[Path, bool] | None:
        if self._home is not None and is_repository(name):
            path = self._home / name
            return (path, False) if path.is_dir() else None
        short = name.removeprefix(PREFIX)
        if name.startswith(PREFIX) and _NAME.fullmatch(short) and short != HUB:
            for root, shipped in ((self._home, False), (self._shipped, True)):
                if root is not None and (root / short).is_dir():
                    return root / short, shipped
        return None

    def _look(self, name: str, path: Path, shipped: bool) -> LocalFolder:
        stamp = _stamp(path)
        known = self._seen.get(path)
        if known is None or known[0] != stamp:
            known = (stamp, self._read(name, path, shipped))
            self._seen[path] = known
        return known[1]

    def _read(self, name: str, path: Path, shipped: bool) -> LocalFolder:
        try:
            if not name.startswith(HUB_PREFIX) and not _NAME.fullmatch(path.name):
                raise UserError(
                    "The folder's name is {name!r}; rename it: letters, digits, dots, hyphens and underscores, at most "
                    "64 of them.",
                    name=path.name,
                )
            if name.removeprefix(PREFIX) in self._reserved:
                raise UserError("The name {name} is taken by a model that comes with Dizuo. Rename it.", name=name)
        except UserError as error:
            return LocalFolder(name=name, path=path, shipped=shipped, problem=Note.of(error))
        return read_folder(name, path, shipped)


def is_repository(name: str) -> bool:
    """Whether it is a name such as hf/ORG/NAME: a direct child of a direct child of the hub's folder, nothing else."""
    return _REPOSITORY.fullmatch(name) is not None


def read_folder(name: str, path: Path, shipped: bool = False) -> LocalFolder:
    """What a folder is as a model; with a problem, as far as that could be read."""
    facts: dict[str, Any] = {}
    try:
        for more in _facts(path):
            facts |= more
    except UserError as error:
        facts["problem"] = Note.of(error)
    except OSError as error:
        reason = error.strerror or repr(error)
        facts["problem"] = Note(template="{file} cannot be read: {reason}.", params=_unread(error, path, reason))
    return LocalFolder(name=name, path=path, shipped=shipped, **facts)


def count(number: int) -> str:
    """A number of parameters as the field writes it: 950, 12 K, 41.3 M, 1.5 B."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if number >= size:
            value = number / size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return str(number)


def _unread(error: OSError, path: Path, reason: str) -> dict[str, str]:
    return {"file": Path(error.filename).name if error.filename else path.name, "reason": reason}


def _children(root: Path | None) -> list[Path]:
    if root is None:
        return []
    try:
        return [path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]
    except OSError:  # not there yet
        return []


def _stamp(path: Path) -> tuple[Any, ...]:
    marks: list[Any] = []
    try:
        files = sorted(path.iterdir())
    except OSError:
        return ()
    for file in files:
        try:
            facts = file.stat()
        except OSError:
            continue
        marks.append((file.name, facts.st_mtime_ns, facts.st_size))
    return tuple(marks)


def _facts(path: Path) -> Iterator[dict[str, Any]]:
    """What the files say, one after another, so that a fault in one leaves what the others said."""
    yield {"size_bytes": sum(file.stat().st_size for file in path.rglob("*") if file.is_file())}
    if (path / "dizuo.json").is_file():
        yield {"provenance": _json(path / "dizuo.json")}
    if (path / HUB_FILE).is_file():
        yield {"revision": str(_json(path / HUB_FILE).get("revision") or "")[:64]}
    if not (path / "config.json").is_file():
        raise UserError(
            "It has no config.json. A model is a folder in the Hugging Face layout: config.json, model.safetensors, "
            "tokenizer.json."
        )
    config = _json(path / "config.json")
    kind, architecture = _kind(path, config)
    yield {
        "kind": kind,
        "architecture": architecture,
        "context_tokens": _context_tokens(path, config),
        "languages": _languages(path),
        "dimension": width if isinstance(width := config.get("hidden_size"), int) else 0,
    }
    weights = _weight_files(path)
    if not weights:
        others = [file.name for file in path.iterdir() if file.suffix in (".bin", ".pt", ".pth", ".gguf", ".onnx")]
        raise UserError(
            "It has no model.safetensors (found: {found}). Other formats of weights are not read; those of pickle can "
            "run code.",
            found=", ".join(sorted(others)) or "-",
        )
    yield {"parameters": sum(map(_parameters, weights))}
    if kind == "unknown":
        raise UserError(
            "Its architecture is {architecture!r}, which no engine here runs. Those that are run: …ForCausalLM, "
            "GPT2LMHeadModel, {known}.",
            known=", ".join(_KINDS),
            architecture=architecture or "-",
        )
    if kind == "embedding" and (pooling := _pooling(path)) != "mean":
        raise UserError("Its vectors are pooled by {pooling!r}; the engine here pools by 'mean'.", pooling=pooling)
    if not (path / "tokenizer.json").is_file():
        raise UserError("It has no tokenizer.json: without it, text cannot be turned into tokens.")


def _kind(path: Path, config: Mapping[str, Any]) -> tuple[Kind, str]:
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    if (path / "modules.json").is_file():  # sentence-transformers
        return "embedding", architecture
    kind: Kind = _KINDS.get(architecture, "unknown")
    for end, one in _KINDS_BY_END.items():
        if kind == "unknown" and architecture.endswith(end):
            kind = one
    if not architecture:
        architecture = str(config.get("model_type") or "")
        kind = _BY_TYPE.get(architecture, "unknown")
    if kind == "reward" and not architecture.startswith(("GPT2", "Llama", "Qwen")):  # an encoder that is not BERT
        kind = "unknown"
    if kind == "completion" and _has_chat_template(path):
        return "chat", architecture
    if kind == "classifier" and _n_labels(config) == 1:
        return "rerank", architecture
    return kind, architecture


def _has_chat_template(path: Path) -> bool:
    if (path / "chat_template.jinja").is_file():
        return True
    file = path / "tokenizer_config.json"
    return file.is_file() and bool(_json(file).get("chat_template"))


def _n_labels(config: Mapping[str, Any]) -> int:
    labels = config.get("id2label")
    if isinstance(labels, dict) and labels:
        return len(labels)
    number = config.get("num_labels")
    return number if isinstance(number, int) else 2  # transformers' default


def _pooling(path: Path) -> str:
    """How a sentence-transformers folder says that tokens become one vector; "mean" where it says nothing."""
    file = path / "1_Pooling" / "config.json"
    if not file.is_file():
        return "mean"
    config = _json(file)
    modes = {key.removeprefix("pooling_mode_").removesuffix("_tokens") for key, on in config.items() if on is True}
    named = config.get("pooling_mode")
    found = [str(named)] if named else sorted(modes - {"include_prompt"})
    return "+".join(found) or "mean"


def _context_tokens(path: Path, config: Mapping[str, Any]) -> int:
    limits = [config.get(key) for key in ("max_position_embeddings", "n_positions", "n_ctx")]
    file = path / "sentence_bert_config.json"
    if file.is_file():
        limits.append(_json(file).get("max_seq_length"))
    return min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=0)


def _languages(path: Path) -> tuple[str, ...]:
    """The languages that the model card's front matter names: `language: en`, or a list of them."""
    file = path / "README.md"
    if not file.is_file():
        return ()
    with file.open(encoding="utf-8", errors="replace") as lines:
        start = lines.read(20_000)
    if not start.startswith("---\n"):
        return ()
    front = start[4:].partition("\n---")[0]
    listed = re.search(r"^languages?:[ \t]*(.*(?:\n[ \t]*-[ \t]*\S+)*)", front, re.M)
    return tuple(re.findall(r"\b[a-z]{2,3}\b", listed[1])) if listed else ()


def _weight_files(path: Path) -> list[Path]:
    if (path / _WEIGHTS).is_file():
        return [path / _WEIGHTS]
    if not (path / _INDEX).is_file():
        return []
    shards = _json(path / _INDEX).get("weight_map")
    names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
    for name in names:
        if Path(name).name != name or not (path / name).is_file():
            raise UserError("Its weights are incomplete: {file} is missing.", file=name)
    return [path / name for name in names]


def _parameters(file: Path) -> int:
    """How many numbers the weights are; the scales of rounded ones are not counted.

    Raises UserError for a file that is cut off. The format: https://github.com/huggingface/safetensors#format
    """
    size = file.stat().st_size
    with file.open("rb") as weights:
        start = weights.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size or length > _HEADER_LIMIT_BYTES:
            raise UserError("{file} is cut off or is not in the safetensors format. Copy it again.", file=file.name)
        header = weights.read(length)
    try:
        tensors: dict[str, Any] = json.loads(header)
        tensors.pop("__metadata__", None)
        end = max((operator.index(tensor["data_offsets"][1]) for tensor in tensors.values()), default=0)
        total = sum(
            math.prod(map(operator.index, tensor["shape"]))
            for name, tensor in tensors.items()
            if not name.endswith((".scale", "_scale"))
        )
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise UserError(
            "{file} is cut off or is not in the safetensors format. Copy it again.", file=file.name
        ) from error
    if 8 + length + end > size:
        raise UserError(
            "{file} is cut off: it has {size} of {whole} bytes. Copy it again.",
            file=file.name,
            size=size,
            whole=8 + length + end,
        )
    return total


def _json(file: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises UserError for anything else."""
    if file.stat().st_size > _JSON_LIMIT_BYTES:
        size = file.stat().st_size
        raise UserError("{file} has {size} bytes, which no configuration has.", file=file.name, size=size)
    try:
        content = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError("{file} is not JSON: {reason}", file=file.name, reason=str(error)[:200]) from error
    if not isinstance(content, dict):
        raise UserError("{file} is not JSON: {reason}", file=file.name, reason=f"{type(content).__name__}")
    return content
