"""The stage that trains translators."""

from pathlib import Path

import pytest

from dizuo.core.errors import UserError
from dizuo.inference.translate import Translator
from dizuo.nn.checkpoint import load_model, read_provenance
from dizuo.nn.encoder_decoder import EncoderDecoder
from dizuo.train.translate import Translate
from tests.train.tuning import run, write_rows

WORDS = {"one": "eins", "two": "zwei", "three": "drei", "red": "rot", "blue": "blau", "house": "Haus", "tree": "Baum"}


def recipe(data: str, **more) -> dict:
    model = {"family": "marian", "channels": 32, "layers": 1, "heads": 2}
    options = {"source": "en", "target": "de", "vocab_size": 400, "dropout": 0.0, "smoothing": 0.0}
    return {"stage": "translate", "model": model, "data": [{"name": data}], "length": 32, "options": options, **more}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    pairs = [(a, b) for a in WORDS for b in WORDS]
    rows = [{"en": f"{a} {b}", "de": f"{WORDS[a]} {WORDS[b]}"} for a, b in pairs]
    return write_rows(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", rows)


@pytest.fixture(scope="module")
def trained(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translator") / "run"
    lines = run(folder, recipe(data, warmup=10, batch=16), 90)
    assert lines[-1]["loss"] < 0.3 * lines[0]["loss"]
    return folder / "model"


def test_a_translator_learns_word_for_word(trained: Path) -> None:
    assert Translator(trained).translate(["two red", "blue tree"]) == ["zwei rot", "blau Baum"]


def test_the_folder_says_what_it_was_made_of(trained: Path) -> None:
    assert isinstance(load_model(trained), EncoderDecoder)
    made = read_provenance(trained)
    assert made is not None
    assert made.data[0]["rows"] == 47  # of 49, two are held out
    assert "val_loss" in made.scores


def test_a_field_that_rows_lack_is_named(data: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no field 'fr'; they have en, de"):
        run(tmp_path / "run", recipe(data, options={"source": "fr", "target": "de", "vocab_size": 400}), 1)


def test_smoothing_takes_its_share_from_the_right_word(data: str, tmp_path: Path) -> None:
    plain, smoothed = (
        run(tmp_path / str(n), recipe(data, options={"target": "de", "vocab_size": 400, "smoothing": n}), 1)[0]["loss"]
        for n in (0.0, 0.3)
    )
    assert plain != pytest.approx(smoothed, rel=1e-4)


def test_a_decoder_family_is_refused(data: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'marian' or 't5'"):
        run(tmp_path / "run", recipe(data, model={"family": "llama"}), 1)


def test_the_stage_is_named_in_the_list() -> None:
    from dizuo.train.stage import stage_class

    assert stage_class("translate") is Translate
