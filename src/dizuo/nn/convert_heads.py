"""The heads to and from transformers (Bert… and …ForSequenceClassification) and sentence-transformers."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

from torch import nn

from dizuo.core.errors import UserError
from dizuo.nn import convert_decoder, convert_encoder
from dizuo.nn.decoder import Decoder
from dizuo.nn.encoder import Encoder
from dizuo.nn.heads import Problem, RewardModel, SentenceEncoder, SequenceClassifier, SpanReader, TokenClassifier
from dizuo.nn.layout import Names, RawConfig, Table

_PROBLEMS = ("single_label_classification", "multi_label_classification", "regression")
_REWARDS = {
    "gpt2": "GPT2ForSequenceClassification",
    "llama": "LlamaForSequenceClassification",
    "qwen2": "Qwen2ForSequenceClassification",
    "qwen3": "Qwen3ForSequenceClassification",
}


def build(raw: RawConfig) -> nn.Module:
    """The model with its head that a config.json describes. Raises UserError where it cannot be computed here."""
    if raw.architecture in _REWARDS.values():
        labels = _labels(raw)
        if len(labels) != 1:
            raise UserError(
                "The checkpoint {folder} gives {n} scores a text; a reward model here gives one.",
                folder=raw.folder,
                n=len(labels),
            )
        return RewardModel(Decoder(replace(convert_decoder.read_config(raw), tied=True)))
    encoder = Encoder(convert_encoder.read_config(raw))
    if raw.architecture == "BertForQuestionAnswering":
        return SpanReader(encoder)
    labels = _labels(raw)
    if raw.architecture == "BertForTokenClassification":
        return TokenClassifier(encoder, labels)
    assumed = "regression" if len(labels) == 1 else "single_label_classification"  # as transformers does
    problem = raw.only("problem_type", *_PROBLEMS, default=assumed)
    return SequenceClassifier(encoder, labels, cast(Problem, problem))


def describe(model: nn.Module) -> dict[str, Any]:
    """config.json of a model with a head."""
    if isinstance(model, RewardModel):
        said = convert_decoder.describe(model.decoder)
        return said | {"architectures": [_REWARDS[model.decoder.config.family]], **_label_maps(["reward"])}
    assert isinstance(model, SequenceClassifier | SpanReader | TokenClassifier | SentenceEncoder)
    said = convert_encoder.describe(model.encoder)
    match model:
        case SequenceClassifier():
            said |= {"architectures": ["BertForSequenceClassification"], "problem_type": model.problem}
            return said | _label_maps(model.labels)
        case TokenClassifier():
            return said | {"architectures": ["BertForTokenClassification"], **_label_maps(model.labels)}
        case SpanReader():
            return said | {"architectures": ["BertForQuestionAnswering"]}
        case SentenceEncoder():
            return said


def generation(model: nn.Module) -> dict[str, Any]:
    """Nothing: a head generates no text."""
    return {}


def files(model: nn.Module) -> dict[str, Any]:
    """What sentence-transformers wants to find beside the weights of a `SentenceEncoder`, by name; JSON each."""
    if not isinstance(model, SentenceEncoder):
        return {}
    config = model.encoder.config
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds.items())
    ]
    pooling = {"word_embedding_dimension": config.channels, "pooling_mode_mean_tokens": True}
    return {
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "2_Normalize/config.json": {},
        "sentence_bert_config.json": {"max_seq_length": config.positions, "do_lower_case": False},
    }


def table(model: nn.Module) -> Table:
    """The names of all weights of a model with its head."""
    if isinstance(model, RewardModel):
        inner = convert_decoder.table(model.decoder)
        # transformers 5 names GPT-2's weights as in the language model, and so does this table.
        names = [replace(one, ours=f"decoder.{one.ours}") for one in inner.names]
        return Table([*names, Names("score.weight", ("score.weight",))], "", rf"{inner.ignored}|^lm_head\.weight$")
    assert isinstance(model, SequenceClassifier | SpanReader | TokenClassifier | SentenceEncoder)
    if isinstance(model, SentenceEncoder):
        return Table(list(convert_encoder.names(model.encoder.config, "encoder.")), "bert.", r"pooler\.|position_ids$")
    ignored = r"position_ids$" if isinstance(model, SequenceClassifier) else r"pooler\.|position_ids$"
    return Table([*convert_encoder.names(model.encoder.config, "encoder.", "bert."), *_head(model)], "", ignored)


def _head(model: nn.Module) -> Iterator[Names]:
    heads = {
        SequenceClassifier: {"pooler": "bert.pooler.dense", "classifier": "classifier"},
        TokenClassifier: {"classifier": "classifier"},
        SpanReader: {"ends": "qa_outputs"},
    }
    for ours, theirs in heads[type(model)].items():
        for kind in ("weight", "bias"):
            yield Names(f"{ours}.{kind}", (f"{theirs}.{kind}",))


def _labels(raw: RawConfig) -> list[str]:
    """In the order of their numbers. transformers takes two where nothing is said."""
    said = raw.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})
    try:
        numbered = {int(number): str(label) for number, label in said.items()}
        return [numbered[number] for number in range(len(numbered))]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            "config.json of {folder} says id2label = {value!r}; it has to number the labels from 0.",
            folder=raw.folder,
            value=said,
        ) from error


def _label_maps(labels: Any) -> dict[str, Any]:
    return {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }
