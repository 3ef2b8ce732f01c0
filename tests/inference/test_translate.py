"""Greedy and beam search against transformers, and what a translator does with texts."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from dizuo.core.errors import UserError
from dizuo.inference.search import beam_search, greedy
from dizuo.inference.translate import Translator
from dizuo.nn.checkpoint import save_model
from dizuo.nn.decoder import Decoder, DecoderConfig
from dizuo.nn.encoder_decoder import EncoderDecoder, EncoderDecoderConfig

WORDS = ["<pad>", "</s>", "<unk>", *(f"w{n}" for n in range(27))]
CONFIGS = {
    "marian": EncoderDecoderConfig("marian", 30, 24, 2, 3, 40, positions=24),
    "t5": EncoderDecoderConfig("t5", 30, 24, 2, 3, 40, head_width=8, positions=24, tied=False, scaled_output=False),
}


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, sharp enough to say different things and to end now and then."""
    torch.manual_seed(3)
    model = EncoderDecoder(CONFIGS[request.param]).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
        model.head.weight[1].mul_(1 if model.config.tied else 3)
        if model.config.family == "marian":
            model.logits_bias[0, 1] = 4.0
    path = tmp_path_factory.mktemp("translator")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<pad>", "</s>"])
    tokenizer.save(str(path / "tokenizer.json"))
    save_model(model, path / "model", tokenizer=path / "tokenizer.json")
    return path / "model"


@pytest.fixture(scope="module")
def sources() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    ids = torch.randint(3, 30, (12, 9))
    mask = torch.ones_like(ids, dtype=torch.bool)
    for row in range(12):
        end = 2 + row % 8
        ids[row, end - 1], mask[row, end:] = 1, False
        ids[row, end:] = 0
    return ids, mask


def _theirs(folder: Path, ids: torch.Tensor, mask: torch.Tensor, beams: int) -> list[list[int]]:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, local_files_only=True).eval()
    said = model.generate(
        ids, attention_mask=mask.long(), num_beams=beams, do_sample=False, max_length=16, length_penalty=0.0,
        bad_words_ids=[[0]],
    )  # fmt: skip
    texts = [row[1:].tolist() for row in said]
    return [text[: text.index(1)] if 1 in text else [one for one in text if one != 0] for text in texts]


@torch.inference_mode()
def test_greedy_search_says_what_transformers_says(folder: Path, sources: tuple[torch.Tensor, torch.Tensor]) -> None:
    model = Translator(folder)._model
    said = greedy(model, *sources, max_tokens=15)
    assert said == _theirs(folder, *sources, beams=1)
    assert len({len(text) for text in said}) > 1  # some ended early: rows left the batch


@pytest.mark.parametrize("beams", [2, 4])
@torch.inference_mode()
def test_beam_search_finds_what_transformers_finds(
    folder: Path, sources: tuple[torch.Tensor, torch.Tensor], beams: int
) -> None:
    model = Translator(folder)._model
    said = beam_search(model, *sources, beams, length_penalty=0.0, max_tokens=15)
    assert said == _theirs(folder, *sources, beams=beams)


@torch.inference_mode()
def test_a_penalty_on_length_makes_longer_texts_win(folder: Path, sources: tuple[torch.Tensor, torch.Tensor]) -> None:
    model = Translator(folder)._model
    lengths = [
        sum(map(len, beam_search(model, *sources, 4, length_penalty=alpha, max_tokens=15))) for alpha in (0.0, 2.0)
    ]
    assert lengths[0] < lengths[1]


@pytest.mark.parametrize("beams", [1, 3])
def test_a_translation_does_not_depend_on_what_is_translated_beside_it(folder: Path, beams: int) -> None:
    translator = Translator(folder)
    texts = ["w3 w4 w5", "", "w6", "w7 w8 w9 w10 w11 w12", "  "]
    together = translator.translate(texts, beams=beams)
    assert together == [translator.translate([text], beams=beams)[0] for text in texts]
    assert together[1] == together[4] == ""
    assert any(together)


def test_a_text_that_is_too_long_is_refused_with_its_length(folder: Path) -> None:
    with pytest.raises(UserError, match="31 tokens; the model reads 24"):
        Translator(folder).translate(["w1 " * 30])


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    save_model(Decoder(DecoderConfig("llama", 30, 24, 1, 4, 40, 16)), tmp_path / "m")
    with pytest.raises(UserError, match="no encoder-decoder"):
        Translator(tmp_path / "m").translate(["hello"])


def test_beams_below_one_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="at least 1"):
        Translator(folder).translate(["w1"], beams=0)
