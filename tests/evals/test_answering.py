"""What answering without a chat model is worth, on data, and the pieces that measure it."""

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from dizuo.evals.answering import Remembering, Report, answers, cases, halves, measure, run, with_reader
from dizuo.evals.fitting import area_under_roc, fit_chance, fit_ranking, wilson
from dizuo.evals.sets import Asked, Collection, cmrc, squad
from dizuo.gateway.local import LocalEmbedder
from dizuo.gateway.models import Models
from dizuo.knowledge import extract
from dizuo.knowledge.exact import READER
from dizuo.knowledge.features import DENSE_NAMES, NAMES
from tests.conftest import data_file


def part_of(collection: Collection, n_passages: int, n_questions: int) -> Collection:
    """Some passages of the measuring half and some of the questions about them."""
    _fitting, measuring = halves(collection)
    kept = random.Random(5).sample(sorted(measuring), n_passages)
    passages = {one: collection.passages[one] for one in kept}
    questions = [asked for asked in collection.questions if asked.passage in passages]
    every = max(1, len(questions) // n_questions)
    return Collection(collection.name, passages, {i: collection.titles[i] for i in kept}, questions[::every])


def shares(collection: Collection, home: Path) -> Mapping[str, float]:
    embedder = Remembering(LocalEmbedder())
    asked_of = frozenset(collection.passages)
    [reports] = run(
        [collection],
        embedder,
        home,
        lambda c, retriever: measure(
            c.name, with_reader(answers(list(cases(c, retriever, asked_of)), embedder), Models().reader(READER))
        ),
    )
    found: dict[str, Report] = {report.kind: report for report in reports}
    answerable = found["answerable"]
    print(reports)  # what a failure shows
    return {kind: report.good / report.n for kind, report in found.items()} | {
        "quote": answerable.right_quote / answerable.n,
        "named": answerable.named / answerable.right_quote,
        "right words": answerable.right_words / answerable.named,
    }


@pytest.mark.data
@pytest.mark.slow
def test_english_questions_are_answered_and_those_about_other_things_refused(tmp_path: Path) -> None:
    folder = data_file("squad_v2_en", "dev.jsonl.gz").parents[1]
    share = shares(part_of(squad(folder), 70, 150), tmp_path)
    assert share["answerable"] >= 0.78
    assert share["quote"] >= 0.68
    assert share["article gone"] >= 0.90
    assert share["passage gone"] >= 0.66
    assert share["adversarial"] >= 0.28
    assert share["named"] >= 0.45
    assert share["right words"] >= 0.6


@pytest.mark.data
@pytest.mark.slow
def test_chinese_questions_are_answered_and_those_about_other_things_refused(tmp_path: Path) -> None:
    folder = data_file("cmrc2018_zh", "dev.jsonl.gz").parents[1]
    share = shares(part_of(cmrc(folder), 200, 300), tmp_path)
    assert share["answerable"] >= 0.88
    assert share["quote"] >= 0.66
    assert share["passage gone"] >= 0.86
    assert share["named"] >= 0.3
    assert share["right words"] >= 0.6


def test_the_halves_share_no_passage_and_are_the_same_each_time() -> None:
    passages = {str(n): "text" for n in range(51)}
    collection = Collection("en", passages, dict.fromkeys(passages, "one"), [Asked("?", "1", ())])
    fitting, measuring = halves(collection)
    assert fitting.isdisjoint(measuring)
    assert fitting | measuring == frozenset(passages)
    assert halves(collection) == (fitting, measuring)


def test_ranking_finds_the_weight_that_tells_the_right_row_and_keeps_its_sign() -> None:
    chance = np.random.default_rng(3)
    rows = chance.normal(size=(900, 3))
    groups = [n // 3 for n in range(900)]
    right = [bool(rows[n, 0] == rows[n - n % 3 : n - n % 3 + 3, 0].max()) for n in range(900)]
    weights = fit_ranking(rows, groups, right, [1, 0, -1])
    assert weights[0] > 10 * abs(weights[1])
    assert weights[2] <= 0
    assert fit_ranking(rows, groups, right, [-1, 0, 0])[0] == 0


def test_a_chance_is_calibrated() -> None:
    chance = np.random.default_rng(4)
    rows = chance.normal(size=(4000, 2))
    truth = 1 / (1 + np.exp(-(1.5 * rows[:, 0] - 0.5)))
    right = [bool(one) for one in chance.random(4000) < truth]
    weights, bias = fit_chance(rows, right, [1.0] * 4000, [0, 0])
    assert weights == pytest.approx([1.5, 0.0], abs=0.15)
    assert bias == pytest.approx(-0.5, abs=0.15)


def test_measures_of_a_classifier() -> None:
    assert area_under_roc(np.array([0.9, 0.8]), np.array([0.1, 0.2])) == 1.0
    assert area_under_roc(np.array([0.5]), np.array([0.5])) == 0.5
    low, high = wilson(90, 100)
    assert (round(low, 3), round(high, 3)) == (0.826, 0.945)  # Wilson (1927), as R's prop.test without correction
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_weights_that_ship_fit_the_features_and_keep_their_signs() -> None:
    for reader, weights in extract.weights().items():
        known = {*NAMES, *(DENSE_NAMES if " " in reader else ())}
        assert set(weights["rank"]) <= known
        assert set(weights["confidence"]) <= known | set(extract.CONFIDENCE_NAMES)
        assert weights["confidence"].get("missing_names", 0) <= 0 <= weights["confidence"]["cov_window"]
        assert 0.05 <= weights["threshold"] <= 0.6
