"""The stage that trains classifiers."""

from pathlib import Path

import pytest

from dizuo.core.errors import UserError
from dizuo.inference.classifier import TextClassifier
from tests.tiny_models import save_bert, tiny_encoder
from tests.train.tuning import run, write_rows


def recipe(start: Path, data: str) -> dict:
    return {"stage": "classify", "model": {"start": str(start)}, "data": [{"name": data}], "length": 32}


def test_a_classifier_learns_and_keeps_the_names_of_its_classes(tmp_path: Path) -> None:
    start = save_bert(tmp_path / "bert", tiny_encoder())
    topics = {"weather": ["rain", "sun", "storm"], "food": ["bread", "soup", "apple"]}
    rows = [
        {"text": f"{a} and {b}", "label": label} for label, words in topics.items() for a in words for b in words
    ] * 4  # fmt: skip
    lines = run(tmp_path / "run", recipe(start, write_rows(tmp_path / "rows.jsonl", rows)), 25)
    assert lines[-1]["val_accuracy"] == 1.0
    ((best, *_others),) = TextClassifier(tmp_path / "run" / "model").classify(["soup and soup"])
    assert best.name == "food"


def test_one_class_is_nothing_to_tell_apart(tmp_path: Path) -> None:
    start = save_bert(tmp_path / "bert", tiny_encoder())
    data = write_rows(tmp_path / "rows.jsonl", [{"text": "x", "label": "same"}] * 40)
    with pytest.raises(UserError, match="'same'"):
        run(tmp_path / "run", recipe(start, data), 1)


def test_a_class_that_only_the_held_out_rows_have_is_left_out(tmp_path: Path) -> None:
    start = save_bert(tmp_path / "bert", tiny_encoder())
    rows = [{"text": f"word {n}", "label": "rare" if n == 19 else ("even", "odd")[n % 2]} for n in range(40)]
    lines = run(tmp_path / "run", recipe(start, write_rows(tmp_path / "rows.jsonl", rows)), 1)
    assert lines[-1]["val_commonest"] == 1.0
