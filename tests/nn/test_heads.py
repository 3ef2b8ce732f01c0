"""The heads against those of transformers and sentence-transformers, both ways."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from dizuo.core.errors import UserError
from dizuo.nn.checkpoint import load_encoder, load_model, save_model
from dizuo.nn.decoder import Decoder, DecoderConfig
from dizuo.nn.encoder import Encoder, EncoderConfig
from dizuo.nn.heads import RewardModel, SentenceEncoder, SequenceClassifier, SpanReader, TokenClassifier

transformers = pytest.importorskip("transformers")

ENCODER = EncoderConfig(vocab_size=50, channels=24, layers=2, heads=3, hidden=40, positions=16)
BERT = {
    "vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40,
    "max_position_embeddings": 16,
}  # fmt: skip
HEADS = {
    "BertForSequenceClassification": lambda: SequenceClassifier(Encoder(ENCODER), ["no", "yes", "perhaps"]),
    "BertForTokenClassification": lambda: TokenClassifier(Encoder(ENCODER), ["O", "B", "I"]),
    "BertForQuestionAnswering": lambda: SpanReader(Encoder(ENCODER)),
}
DECODER = {"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
REWARDS = {
    "llama": DECODER | {"num_key_value_heads": 2, "intermediate_size": 40, "max_position_embeddings": 32},
    "qwen2": DECODER | {"num_key_value_heads": 2, "intermediate_size": 40, "max_position_embeddings": 32},
    "qwen3": DECODER | {"num_key_value_heads": 2, "intermediate_size": 40, "head_dim": 8},
    "gpt2": {"vocab_size": 50, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 32},
}
MARKS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def _pairs() -> dict[str, torch.Tensor]:
    ids, segments = torch.randint(1, 50, (3, 12)), torch.zeros(3, 12, dtype=torch.long)
    segments[:, 5:] = 1
    mask = torch.ones_like(ids)
    mask[1, 8:] = mask[2, 3:] = 0
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments}


def _theirs(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        said = model(**batch)
    return said.logits if "logits" in said else torch.stack([said.start_logits, said.end_logits])


def _ours(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        said = model.eval()(batch["input_ids"], batch["attention_mask"].bool(), batch["token_type_ids"])
    return torch.stack(said) if isinstance(said, tuple) else said


def _compare(ours: torch.Tensor, theirs: torch.Tensor, batch: dict[str, torch.Tensor]) -> None:
    if ours.shape[-2:] != (3, 3):  # by tokens: what stands at padding means nothing
        kept = batch["attention_mask"].bool()
        ours, theirs = (one[kept] if one.shape[0] == 3 else one[:, kept] for one in (ours, theirs))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_their_head_gives_their_logits(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    n_labels = 2 if name == "BertForQuestionAnswering" else 3
    theirs = getattr(transformers, name)(transformers.BertConfig(**BERT, num_labels=n_labels)).eval()
    theirs.save_pretrained(tmp_path)
    batch = _pairs()
    _compare(_ours(load_model(tmp_path), batch), _theirs(theirs, batch), batch)


@pytest.mark.parametrize("name", HEADS)
def test_our_head_opens_in_transformers_with_our_logits(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    ours = HEADS[name]()
    save_model(ours, tmp_path / "model")
    theirs = getattr(transformers, name).from_pretrained(tmp_path / "model", local_files_only=True).eval()
    batch = _pairs()
    _compare(_ours(ours, batch), _theirs(theirs, batch), batch)
    torch.testing.assert_close(_ours(load_model(tmp_path / "model"), batch), _ours(ours, batch))


def test_labels_and_the_problem_survive_both_ways(tmp_path: Path) -> None:
    save_model(SequenceClassifier(Encoder(ENCODER), ["rude", "kind"], "multi_label_classification"), tmp_path / "m")
    theirs = transformers.BertConfig.from_pretrained(tmp_path / "m")
    assert (theirs.id2label, theirs.problem_type) == ({0: "rude", 1: "kind"}, "multi_label_classification")
    again = load_model(tmp_path / "m")
    assert isinstance(again, SequenceClassifier)
    assert (again.labels, again.problem) == (("rude", "kind"), "multi_label_classification")


@pytest.mark.parametrize("family", REWARDS)
def test_a_reward_is_that_of_transformers_both_ways(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **REWARDS[family], **MARKS, num_labels=1)
    theirs = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs")
    assert isinstance(ours, RewardModel)
    save_model(ours, tmp_path / "ours")
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours").eval()
    ids = torch.randint(3, 50, (3, 9))
    ids[1, 6:] = ids[2, 1:] = 0
    with torch.no_grad():
        rewards = ours(ids, ids != 0)
        for model in (theirs, again):
            expected = model(input_ids=ids, attention_mask=(ids != 0).long()).logits[:, 0]
            torch.testing.assert_close(rewards, expected, atol=1e-4, rtol=1e-4)


def test_a_reward_model_gives_up_the_output_matrix_of_its_decoder() -> None:
    decoder = Decoder(DecoderConfig("llama", 50, 24, 1, 4, 40, 16, tied=False))
    before = sum(weight.numel() for weight in decoder.parameters())
    after = sum(weight.numel() for weight in RewardModel(decoder).parameters())
    assert after == before - 50 * 24 + 24


def test_sentence_transformers_opens_our_encoder_with_our_vectors(tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    torch.manual_seed(0)
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "cat", "sat", "down"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    marks = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    said = {"tokenizer_class": "PreTrainedTokenizerFast", **marks}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
    ours = SentenceEncoder(Encoder(ENCODER)).eval()
    save_model(ours, tmp_path / "model", tokenizer=tmp_path / "tokenizer.json")
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "model"), device="cpu")
    texts = ["a cat sat down", "a cat"]
    expected = [ours(torch.tensor([tokenizer.encode(text).ids]))[0] for text in texts]
    torch.testing.assert_close(torch.tensor(theirs.encode(texts)), torch.stack(expected).detach(), atol=1e-4, rtol=1e-4)
    ids = torch.tensor([[1, 4, 2]])
    torch.testing.assert_close(load_encoder(tmp_path / "model")(ids), ours.encoder(ids))


@pytest.mark.parametrize("labels", [{"0": "a", "2": "c"}, ["a"], {"x": "a"}])
def test_labels_that_are_not_numbered_from_zero_are_refused(labels: Any, tmp_path: Path) -> None:
    save_model(TokenClassifier(Encoder(ENCODER), ["O", "B"]), tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | {"id2label": labels}))
    with pytest.raises(UserError, match="id2label"):
        load_model(tmp_path / "m")


def test_a_reward_model_with_several_scores_is_refused(tmp_path: Path) -> None:
    config = transformers.LlamaConfig(**REWARDS["llama"], **MARKS, num_labels=2)
    transformers.LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="2 scores"):
        load_model(tmp_path)
