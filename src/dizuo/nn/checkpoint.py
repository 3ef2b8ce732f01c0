"""Checkpoints in the Hugging Face folder layout: `config.json`, `model.safetensors`, `tokenizer.json`, and beside
them `dizuo.json`, which says how the weights were made.

What is particular to a family of models stands in one module a branch (`convert_*.py`), with the functions of
`Conversion`; the tables below say which.
"""

import json
import os
import re
import shutil
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.overrides import TorchFunctionMode

from dizuo.core.errors import UserError
from dizuo.nn.encoder import Encoder
from dizuo.nn.int8 import from_int8, is_int8
from dizuo.nn.layout import RawConfig, Table, read_json
from dizuo.nn.tokenizer import load_tokenizer

# `architectures` of config.json -> the module that converts it.
_FAMILIES = {
    "GPT2LMHeadModel": "convert_decoder",
    "GPT2Model": "convert_decoder",
    "LlamaForCausalLM": "convert_decoder",
    "LlamaModel": "convert_decoder",
    "Qwen2ForCausalLM": "convert_decoder",
    "Qwen2Model": "convert_decoder",
    "Qwen3ForCausalLM": "convert_decoder",
    "Qwen3Model": "convert_decoder",
    "BertModel": "convert_encoder",
    "BertForMaskedLM": "convert_encoder",
    "BertForPreTraining": "convert_encoder",
    "MarianMTModel": "convert_encoder_decoder",
    "T5ForConditionalGeneration": "convert_encoder_decoder",
    "BertForSequenceClassification": "convert_heads",
    "BertForQuestionAnswering": "convert_heads",
    "BertForTokenClassification": "convert_heads",
    "GPT2ForSequenceClassification": "convert_heads",
    "LlamaForSequenceClassification": "convert_heads",
    "Qwen2ForSequenceClassification": "convert_heads",
    "Qwen3ForSequenceClassification": "convert_heads",
}
# Where `architectures` is missing: `model_type` -> what it is taken for.
_BY_TYPE = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "bert": "BertModel",
    "marian": "MarianMTModel",
    "t5": "T5ForConditionalGeneration",
}
# Our class -> the module that converts it.
_CLASSES = {
    "Decoder": "convert_decoder",
    "Encoder": "convert_encoder",
    "EncoderDecoder": "convert_encoder_decoder",
    "SequenceClassifier": "convert_heads",
    "SpanReader": "convert_heads",
    "TokenClassifier": "convert_heads",
    "SentenceEncoder": "convert_heads",
    "RewardModel": "convert_heads",
}
# What `data` of a Provenance says of weights from elsewhere: no set, but their licence and credit count as one's.
BASE_WEIGHTS = "weights that training started from"
# All that transformers and sentence-transformers may keep of a tokenizer in a folder.
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "spiece.model", "source.spm", "target.spm",
)  # fmt: skip


class Conversion(Protocol):
    """What a `convert_*.py` module gives."""

    def build(self, raw: RawConfig) -> nn.Module:
        """The model that a config.json describes. Raises UserError where it cannot be computed here."""
        ...

    def describe(self, model: Any) -> dict[str, Any]:
        """config.json of a model."""
        ...

    def generation(self, model: Any) -> dict[str, Any]:
        """generation_config.json of a model; empty where it generates no text."""
        ...

    def table(self, model: Any) -> Table:
        """The names of a model's weights."""
        ...


@dataclass(frozen=True)
class Provenance:
    """How weights were made; kept in `dizuo.json`."""

    recipe: dict[str, Any] = field(default_factory=dict)
    data: list[dict[str, Any]] = field(default_factory=list)  # name, sha256, licence, rows, …
    commit: str = ""
    scores: dict[str, Any] = field(default_factory=dict)
    parents: list[str] = field(default_factory=list)  # the models whose weights these were made from


def is_native(folder: Path) -> bool:
    """Whether `load_model` computes this checkpoint itself (False: a family that only transformers knows).

    Raises UserError when config.json is missing or no JSON object.
    """
    return _architecture(_read_config(folder)) in _FAMILIES


def load_model(folder: Path, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The model of a checkpoint with its weights in `dtype`, in evaluation mode.

    Raises UserError when a file is missing or damaged, the architecture is unknown, sizes do not add up, or weights
    are missing, misshaped, unknown or not finite.
    """
    raw = _read_config(folder)
    architecture = _architecture(raw)
    if architecture not in _FAMILIES:
        raise UserError(
            "The checkpoint {folder} is a {architecture!r}; known here are: {known}.",
            folder=folder,
            architecture=architecture or raw.model_type,
            known=", ".join(sorted(_FAMILIES)),
        )
    return _load(raw, _conversion(_FAMILIES[architecture]), dtype)


def load_encoder(folder: Path) -> Encoder:
    """The BERT encoder of a checkpoint, whatever head it was saved with, ready to be evaluated.

    Raises UserError when a file is missing, the architecture is another one, or weights are missing or misshaped.
    """
    encoder = _load(_read_config(folder), _conversion("convert_encoder"), torch.float32)
    return cast(Encoder, encoder).requires_grad_(False)


def save_model(
    model: nn.Module,
    folder: Path,
    *,
    tokenizer: Path | None = None,
    provenance: Provenance | None = None,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Writes a model as `folder`; what stood there is replaced in one step, or stays as it was when writing fails.

    `tokenizer` is a `tokenizer.json` or a folder with one; the files that belong to it come along. `weights` is a
    state dict to write in place of the model's own (gathered from several processes, or an average).
    Raises UserError when the tokenizer is missing or has more tokens than the model.
    """
    conversion = _conversion(_CLASSES[type(model).__name__])
    state = model.state_dict() if weights is None else weights
    theirs = conversion.table(model).to_theirs(state)
    described = {key: value for key, value in conversion.describe(model).items() if value is not None}
    described["dtype"] = str(next(iter(theirs.values())).dtype).removeprefix("torch.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        new.chmod(0o755)
        save_file(theirs, new / "model.safetensors", metadata={"format": "pt"})
        _write_json(new / "config.json", described)
        if generation := {key: one for key, one in conversion.generation(model).items() if one is not None}:
            _write_json(new / "generation_config.json", generation)
        for name, content in getattr(conversion, "files", _no_files)(model).items():
            (new / name).parent.mkdir(exist_ok=True)
            _write_json(new / name, content)
        if tokenizer is not None:
            _copy_tokenizer(tokenizer, new, described)
        if provenance is not None:
            _write_json(new / "dizuo.json", {"format": 1, **asdict(provenance)})
        _replace(new, folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def weight_names(model: nn.Module) -> Table:
    """What each weight of a model is called in the Hugging Face layout."""
    return _conversion(_CLASSES[type(model).__name__]).table(model)


def read_provenance(folder: Path) -> Provenance | None:
    """How the weights of a checkpoint were made; None where `dizuo.json` is missing.

    Raises UserError when the file is damaged.
    """
    file = folder / "dizuo.json"
    if not file.is_file():
        return None
    raw = read_json(file)
    known = {one.name: raw[one.name] for one in fields(Provenance) if one.name in raw}
    for name, value in known.items():
        if not isinstance(value, type(getattr(Provenance(), name))):
            raise UserError("{file} says {key} = {value!r}, which nobody can read.", file=file, key=name, value=value)
    return Provenance(**known)


def inherited_data(start: Path | None) -> list[dict[str, Any]]:
    """The data of the checkpoint that a training starts from, for its own `Provenance`, marked with `through`.

    What was learnt from a set stays learnt: its licence and its credit go on to every model made from that one. Of
    weights from elsewhere, which have no `dizuo.json`, it is what their model card says of them.
    """
    if start is None:
        return []
    made = read_provenance(start)
    return _weights_of_others(start) if made is None else [{"through": start.name, **one} for one in made.data]


def _weights_of_others(folder: Path) -> list[dict[str, Any]]:
    """Name (the card's first heading), licence and language, as the card of a checkpoint has them."""
    import yaml

    card = folder / "README.md"
    text = card.read_text("utf-8", "replace") if card.is_file() else ""
    found = re.match(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL)
    if found is None:
        return []
    try:
        front = yaml.safe_load(found[1])
    except yaml.YAMLError:
        return []
    if not isinstance(front, dict):
        return []
    heading = re.search(r"^# +(.+)$", found[2], re.MULTILINE)
    named = {"name": heading[1].strip() if heading else folder.name, "about": BASE_WEIGHTS}
    facts = (("licence", front.get("license")), ("language", front.get("language")))
    return [named | {key: value for key, value in facts if value}]


def _load(raw: RawConfig, conversion: Conversion, dtype: torch.dtype) -> nn.Module:
    with _NoInit(), torch.device("meta"):  # no time spent on random weights that are replaced at once
        model = conversion.build(raw)
    theirs = _read_weights(raw.folder)
    try:
        if is_int8(raw.raw):
            theirs = from_int8(theirs)
        ours = conversion.table(model).to_ours(theirs)
        _check(ours, model)
        ours = {name: weight.to(dtype).contiguous() for name, weight in ours.items()}
        model.load_state_dict(ours, strict=False, assign=True)
        tie = getattr(model, "tie", None)
        if tie is not None:
            tie()
        if left := [name for name, weight in model.named_parameters() if weight.is_meta]:
            raise ValueError(f"missing {', '.join(left[:3])}")
    except (ValueError, RuntimeError) as error:
        raise UserError(
            "The weights of {folder} do not fit its config.json: {reason}", folder=raw.folder, reason=error
        ) from error
    return model.eval()


def _check(weights: Mapping[str, torch.Tensor], model: nn.Module) -> None:
    """Raises ValueError with a sentence on a weight of the wrong shape or type, or with numbers that are none."""
    for name, wanted in model.state_dict().items():
        weight = weights.get(name)
        if weight is None:  # the other name of a tied one, or missing, which shows once all are assigned
            continue
        if weight.shape != wanted.shape:
            raise ValueError(f"{name} is {tuple(weight.shape)}, not {tuple(wanted.shape)}")
        if not weight.is_floating_point():
            raise ValueError(f"{name} is of {weight.dtype}, not of floating-point numbers")
        if not weight.sum(dtype=torch.float32).isfinite():
            raise ValueError(f"{name} holds numbers that are not finite")


class _NoInit(TorchFunctionMode):
    """Modules made within it leave their weights as they are.

    `normal_` on the meta device goes through torch._dynamo: importing that costs a second and 70 MB.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _no_files(model: nn.Module) -> dict[str, Any]:
    return {}


def _conversion(module: str) -> Conversion:
    return cast(Conversion, import_module(f"dizuo.nn.{module}"))


def _architecture(raw: RawConfig) -> str:
    return raw.architecture or _BY_TYPE.get(raw.model_type, "")


def _read_config(folder: Path) -> RawConfig:
    file = folder / "config.json"
    if not file.is_file():
        raise UserError("The checkpoint {folder} has no {file}.", folder=folder, file=file.name)
    raw = read_json(file)
    # What generation_config.json says about the end of a text is newer than what config.json says.
    generation = folder / "generation_config.json"
    if generation.is_file():
        ends = read_json(generation).get("eos_token_id")
        raw = raw if ends is None else raw | {"eos_token_id": ends}
    return RawConfig(folder, raw)


def _write_json(file: Path, content: Mapping[str, Any] | list[Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of `model.safetensors`, or of the pieces that `model.safetensors.index.json` lists."""
    index = folder / "model.safetensors.index.json"
    files = ["model.safetensors"]
    if not (folder / files[0]).is_file() and index.is_file():
        placed = read_json(index).get("weight_map")
        if not isinstance(placed, dict) or not all(isinstance(one, str) for one in placed.values()):
            raise UserError("{file} has to be a JSON object.", file=index)
        files = sorted({Path(one).name for one in placed.values()})
    weights: dict[str, torch.Tensor] = {}
    for name in files:
        file = folder / name
        if not file.is_file():
            if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
                raise UserError(
                    "The checkpoint {folder} has its weights in a pickle, which can run any program when it is read. "
                    "Ask its maker for {file}, or convert it on a machine without secrets.",
                    folder=folder,
                    file=name,
                )
            raise UserError("The checkpoint {folder} has no {file}.", folder=folder, file=name)
        try:
            weights |= load_file(file)
        except (SafetensorError, struct.error, OSError) as error:
            raise UserError(
                "{file} is damaged or cut short ({reason}). Fetch or copy it again.", file=file, reason=error
            ) from error
    return weights


def _copy_tokenizer(source: Path, folder: Path, described: Mapping[str, Any]) -> None:
    file = source / "tokenizer.json" if source.is_dir() else source
    tokenizer = load_tokenizer(file)
    if tokenizer.get_vocab_size() > described["vocab_size"]:
        raise UserError(
            "The tokenizer {file} has {tokens} tokens, the model only {vocab_size}.",
            file=file,
            tokens=tokenizer.get_vocab_size(),
            vocab_size=described["vocab_size"],
        )
    for name in _TOKENIZER_FILES[1:]:
        if (file.parent / name).is_file():
            shutil.copyfile(file.parent / name, folder / name)
    shutil.copyfile(file, folder / "tokenizer.json")
    if not (folder / "tokenizer_config.json").is_file():
        _write_json(folder / "tokenizer_config.json", _tokenizer_config(tokenizer, described))


def _tokenizer_config(tokenizer: Any, described: Mapping[str, Any]) -> dict[str, Any]:
    """What transformers needs to open a tokenizer.json of any kind, with the marks that the model was made with."""
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    longest = described.get("max_position_embeddings", described.get("n_positions"))
    if longest is not None:
        config["model_max_length"] = longest
    for mark in ("bos", "eos", "pad"):
        ids = described.get(f"{mark}_token_id")
        token = None if ids is None else tokenizer.id_to_token(ids[0] if isinstance(ids, list) else ids)
        if token is not None:
            config[f"{mark}_token"] = token
    return config


def _replace(new: Path, folder: Path) -> None:
    """`new` becomes `folder`, on disk before it has the name."""
    for file in (one for one in new.rglob("*") if one.is_file()):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    if not folder.exists():
        new.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent)) / folder.name
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old.parent, ignore_errors=True)
