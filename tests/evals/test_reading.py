"""Scores of quoted answers."""

import pytest

from dizuo.evals.reading import Read, by_extract, by_first_sentence, exact_match, f1, fit_threshold, read, score

ROW = {"passage": "The gate is old. It was painted by Anna Berg in 1912.", "question": "Who painted the gate?",
       "answers": [{"text": "Anna Berg", "answer_start": 35}]}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "answers", "em", "overlap"),
    [
        ("the Eiffel Tower", ("Eiffel Tower!",), 1.0, 1.0),
        ("in 1912", ("1912",), 0.0, 2 / 3),
        ("no", ("yes", "no"), 1.0, 1.0),
        ("1952年", ("1952 年",), 1.0, 1.0),
        ("青松小学", ("青松学校",), 0.0, 3 / 4),
        ("", ("x",), 0.0, 0.0),
    ],
)
def test_answers_are_compared_as_squad_and_cmrc_do(
    said: str, answers: tuple[str, ...], em: float, overlap: float
) -> None:
    assert exact_match(said, answers) == em
    assert f1(said, answers) == pytest.approx(overlap)


def test_a_refusal_is_right_only_where_there_is_no_answer() -> None:
    cases = [Read("Anna", 0.9, ("Anna",)), Read("Anna", 0.1, ("Anna",)), Read("Anna", 0.9, ()), Read("Anna", 0.1, ())]
    found = score(cases, 0.5)
    assert found.em == 0.5
    assert found.answerable_em == 0.5
    assert found.refused == 0.5
    assert found.forced_f1 == 1.0
    assert found.auroc == 0.5


def test_the_threshold_is_the_best_one_for_its_questions() -> None:
    cases = [Read("a", 3, ("a",)), Read("a", 2, ("a",)), Read("b", 1.5, ()), Read("a", 1, ("a",)), Read("b", 0, ())]
    threshold = fit_threshold(cases)
    best = score(cases, threshold).f1
    assert best == max(score(cases, one).f1 for one in (-1, 0.5, 1.2, 1.7, 2.5, 4))


def test_a_set_without_answers_is_refused_as_a_whole() -> None:
    assert score([Read("a", 2, ()), Read("b", 1, ())], fit_threshold([Read("a", 2, ())])).em == 1.0


def test_what_is_quoted_without_a_reader_holds_the_answer() -> None:
    (found,) = read([ROW], by_extract(None))
    assert "Anna Berg" in found.answer
    assert by_first_sentence(ROW)[0] == "The gate is old."
