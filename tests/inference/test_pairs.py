"""Encoders with a head: pairs, labels and spans, held to transformers on the same folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dizuo.core.errors import UserError
from dizuo.inference.classifier import TextClassifier
from dizuo.inference.pairs import PairScorer
from dizuo.inference.reader import Reader
from dizuo.nn.heads import SequenceClassifier, SpanReader
from tests.tiny_models import save_bert, tiny_encoder

QUERY = "How long is the paid leave?"
DOCUMENTS = ["Employees have 25 days of paid leave a year.", ".", "The pump is red.", "Trains are booked second class."]
LONG = "Trains are booked second class. " * 30 + "Employees have 25 days of paid leave a year."


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("heads")
    made = {
        "pair": SequenceClassifier(tiny_encoder(), ["score"], "regression"),
        "labels": SequenceClassifier(tiny_encoder(), ["good", "bad", "neither"]),
        "several": SequenceClassifier(tiny_encoder(), ["a", "b"], "multi_label_classification"),
        "spans": SpanReader(tiny_encoder()),
    }
    for model in made.values():  # heads of small random weights say about the same of everything
        for name, weight in model.named_parameters():
            if not name.startswith("encoder"):
                weight.data.mul_(30)
    return {name: save_bert(root / name, model) for name, model in made.items()}


def reference(folder: Path, kind: str) -> Callable[..., Any]:
    """transformers' outputs for texts or pairs of texts, one by one: no padding that could hide a mistake in it."""
    transformers = pytest.importorskip("transformers")
    model = getattr(transformers, kind).from_pretrained(folder, local_files_only=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def run(*texts: str) -> Any:
        with torch.no_grad():
            return model(**tokenizer(*texts, return_tensors="pt", truncation="only_second", max_length=64))

    return run


def test_scores_of_pairs_are_those_of_transformers(folders: dict[str, Path]) -> None:
    run = reference(folders["pair"], "AutoModelForSequenceClassification")
    expected = [torch.sigmoid(run(QUERY, text).logits).item() for text in DOCUMENTS]
    np.testing.assert_allclose(PairScorer(folders["pair"]).score(QUERY, DOCUMENTS), expected, atol=1e-4)


def test_a_long_document_is_as_good_as_its_best_window_whatever_is_scored_beside_it(folders: dict[str, Path]) -> None:
    scorer = PairScorer(folders["pair"])
    windows = scorer._encoder.pairs(QUERY, [LONG])
    assert len(windows) > 3
    assert all(len(window.ids) <= 64 for window in windows)
    owned = [[at for at, own in zip(w.offsets, w.own, strict=True) if own] for w in windows]
    pieces = [LONG[offsets[0][0] : offsets[-1][1]] for offsets in owned]
    alone = scorer.score(QUERY, pieces)
    assert scorer.score(QUERY, [DOCUMENTS[0], LONG, ""])[1] == pytest.approx(max(alone), abs=1e-5)


def test_labels_are_those_of_transformers_and_add_up_to_one(folders: dict[str, Path]) -> None:
    run = reference(folders["labels"], "AutoModelForSequenceClassification")
    found = TextClassifier(folders["labels"]).classify(DOCUMENTS)
    for text, labels in zip(DOCUMENTS, found, strict=True):
        expected = dict(zip(["good", "bad", "neither"], run(text).logits.softmax(-1)[0].tolist(), strict=True))
        assert {label.name: label.probability for label in labels} == pytest.approx(expected, abs=1e-4)
        assert sum(label.probability for label in labels) == pytest.approx(1)
        assert labels[0].probability >= labels[1].probability >= labels[2].probability


def test_labels_that_do_not_exclude_one_another_each_have_a_probability_of_their_own(folders: dict[str, Path]) -> None:
    run = reference(folders["several"], "AutoModelForSequenceClassification")
    [labels] = TextClassifier(folders["several"]).classify([DOCUMENTS[0]])
    expected = torch.sigmoid(run(DOCUMENTS[0]).logits)[0].tolist()
    assert {label.name: label.probability for label in labels} == pytest.approx(
        {"a": expected[0], "b": expected[1]}, abs=1e-4
    )


def test_spans_are_the_best_of_those_that_transformers_scores(folders: dict[str, Path]) -> None:
    run = reference(folders["spans"], "AutoModelForQuestionAnswering")
    passage = DOCUMENTS[0]
    [found] = Reader(folders["spans"]).read(QUERY, [passage], max_answer_tokens=5)
    out = run(QUERY, passage)
    start, end = out.start_logits[0], out.end_logits[0]
    n_question = len(Reader(folders["spans"])._encoder._tokenizer.encode(QUERY).ids)
    places = range(n_question, len(start) - 1)
    best = max(float(start[i] + end[j]) for i in places for j in places if i <= j < i + 5)
    assert found.score == pytest.approx(best, abs=1e-4)
    assert found.null_score == pytest.approx(float(start[0] + end[0]), abs=1e-4)
    assert passage[found.start : found.end] == found.text != ""


def test_a_span_stands_within_what_it_is_asked_of_and_its_score_is_the_best_there(folders: dict[str, Path]) -> None:
    reader, passage = Reader(folders["spans"]), DOCUMENTS[0]
    (free,) = reader.read(QUERY, [passage])
    for low, high in ((0, free.start or 1), (free.end, len(passage)), (3, len(passage) - 3)):
        (found,) = reader.read(QUERY, [passage], within=[(low, high)])
        assert low <= found.start < found.end <= high
        assert found.score <= free.score
        assert found.null_score == free.null_score
    assert reader.read(QUERY, [passage], within=[(free.start, free.end)]) == [free]
    assert reader.read(QUERY, [passage], within=[(0, 0)])[0].text == ""


def test_an_answer_of_a_long_passage_has_the_best_score_and_the_lowest_null_score_of_its_windows(
    folders: dict[str, Path],
) -> None:
    reader = Reader(folders["spans"])
    windows = reader._encoder.pairs(QUERY, [LONG])
    rows = reader._encoder.run(windows, reader._logits)
    found, empty = reader.read(QUERY, [LONG, ""])
    assert LONG[found.start : found.end] == found.text
    assert found.null_score == pytest.approx(min(float(row[0, 0] + row[1, 0]) for row in rows), abs=1e-5)
    assert (empty.text, empty.score) == ("", -np.inf)
    assert empty.margin == -np.inf


def test_a_question_that_leaves_no_room_is_refused_with_its_length(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"has 80 tokens.*reads 64"):
        Reader(folders["spans"]).read("why " * 80, DOCUMENTS)


def test_a_checkpoint_with_another_head_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="SpanReader; this needs a SequenceClassifier"):
        PairScorer(folders["spans"])


def test_no_texts_give_nothing(folders: dict[str, Path]) -> None:
    assert PairScorer(folders["pair"]).score(QUERY, []) == []
    assert TextClassifier(folders["labels"]).classify([]) == []
