"""How the cache is measured, and fitted to a budget."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dizuo.evals import caching, caching_pairs
from dizuo.evals.caching import Candidate, Lookup, fit, hit, measure
from dizuo.evals.caching_pairs import Collection, Kept, Language, again, blind, collections, fits, framed, frames
from dizuo.gateway import verifier
from dizuo.gateway.cache_report import KINDS
from dizuo.gateway.verifier import logistic

TWINS = ("direction", "negation", "opposite", "number", "date", "name", "unit", "question")
WEIGHTS = {"en": {"weights": {"cosine": 10.0}, "bias": -5.0, "threshold": 0.9}}


def lookup(*cosines: tuple[float, bool], answerable: bool = True) -> Lookup:
    """A question with candidates: how near each is, and whether its answer fits."""
    asked = Kept("asked", "a")
    values = [
        {"missing": 0.0, "added": 0.0, "cosine": c, "cosine_high": max(0.0, c - 0.9) * 10} for c, _fits in cosines
    ]
    found = [
        Candidate(Kept(f"kept {n}", "a" if right else "b"), right, cosine, values[n])
        for n, (cosine, right) in enumerate(cosines)
    ]
    return Lookup("banking", "en", "", asked, answerable, None, found)


def test_the_surest_candidate_answers_when_it_is_sure_enough() -> None:
    best = hit(lookup((0.75, False), (0.8, True)), WEIGHTS["en"])
    assert best is not None
    assert best.fits
    assert hit(lookup((0.6, True)), WEIGHTS["en"]) is None


def test_wrong_hits_count_among_the_hits_and_right_ones_among_the_answerable() -> None:
    found = [lookup((0.9, True)), lookup((0.9, False)), lookup((0.5, True)), lookup((0.9, False), answerable=False)]
    (whole, banking) = measure(found, WEIGHTS)
    assert (whole.set, banking.set) == ("all", "banking")
    assert (whole.asked, whole.answerable, whole.hits, whole.wrong) == (4, 3, 3, 2)
    assert whole.hit_rate is not None
    assert whole.hit_rate[0] == pytest.approx(1 / 3)
    assert whole.false_hit_rate[0] == pytest.approx(2 / 3)
    assert whole.false_hit_bound > 0.9


def noisy(n: int, wrong: Sequence[int]) -> list[Lookup]:
    """Lookups, the surest first, of which some are wrong; and some that are far from all."""
    near = [lookup((0.99 - k / 10_000, k not in wrong)) for k in range(n)]
    return near + [lookup((0.3, False), answerable=False) for _ in range(50)]


def hits(found: Sequence[Lookup]) -> int:
    weights = fit(found)["en"]
    return sum(hit(one, weights) is not None for one in found if one.language == "en")


def test_the_threshold_keeps_to_the_budget_and_takes_nothing_that_cannot_show_it() -> None:
    chinese = [Lookup("tatoeba", "zh", "", Kept("a", "a"), True, None, [_chinese(right)]) for right in (True, False)]
    assert 299 <= hits([*noisy(400, []), *chinese]) <= 400
    assert hits([*noisy(200, []), *chinese]) == 0
    assert 299 <= hits([*noisy(500, [350]), *chinese]) <= 350
    assert hits([*noisy(500, [100]), *chinese]) == 0


def _chinese(right: bool) -> Candidate:
    return Candidate(Kept("b", "a"), right, None, {"extra": float(not right)})


def test_no_frame_is_in_both_halves_and_each_pair_is_there_once() -> None:
    for language in ("en", "zh"):
        texts = [{one.text for c in frames(language, half) for one in (*c.kept, *c.asked)} for half in ("fit", "test")]
        assert not texts[0] & texts[1]
        pairs = [frozenset((c.kept[0].text, c.asked[0].text)) for c in frames(language, "fit")]
        assert len(pairs) == len(set(pairs))


def _texts(some: Sequence[Collection]) -> set[str]:
    return {one.text for c in some for one in (*c.kept, *c.asked)}


def test_each_blind_frame_is_fitted_or_measured_and_never_both(monkeypatch: pytest.MonkeyPatch) -> None:
    for read in ("banking", "mock", "tatoeba", "reading"):
        monkeypatch.setattr(caching_pairs, read, lambda *_: Collection("public", "en", [], []))
    fitted, measured = (list(collections(Path(), half)) for half in ("fit", "test"))
    halves = [[one for one in half if one.name == "blind"] for half in (fitted, measured)]
    assert [len(half) for half in halves] == [
        sum(len(list(blind(language, half))) for language in ("en", "zh")) for half in ("fit", "test")
    ]
    assert not _texts(fitted) & _texts(halves[1])
    assert not _texts(measured) & _texts(halves[0])
    for language in ("en", "zh"):
        whole = sum(len(list(caching_pairs._pairs(frame))) for frame in blind_frames(language))
        assert sum(one.language == language for half in halves for one in half) == whole


def blind_frames(language: Language) -> Sequence[Mapping[str, Any]]:
    return json.loads(Path(caching_pairs.__file__).with_name("caching_blind.json").read_text("utf-8"))[language]


@pytest.mark.parametrize(("language", "least"), [("en", 110), ("zh", 130)])
def test_the_blind_pairs_are_many_and_each_has_one_label(language: Language, least: int) -> None:
    assert len(blind_frames(language)) >= least
    both = [c for half in ("fit", "test") for c in blind(language, half)]
    pairs = Counter(frozenset((c.kept[0].text, c.asked[0].text)) for c in both)
    assert max(pairs.values()) == 1
    for half in ("fit", "test"):
        assert {c.rule for c in blind(language, half)} == {"same", *TWINS}
    ours = _texts([c for half in ("fit", "test") for c in frames(language, half)])
    assert not ours & _texts(both)


def test_where_the_rules_leave_nothing_wrong_what_they_refuse_tells_what_is_unlike() -> None:
    refused = [
        replace(lookup((0.6 + k / 2000, False)), candidates=[replace(lookup((0.6, False)).candidates[0], why="number")])
        for k in range(100)
    ]
    chinese = [Lookup("tatoeba", "zh", "", Kept("a", "a"), True, None, [_chinese(right)]) for right in (True, False)]
    fitted = fit([*(lookup((0.99 - k / 10_000, True)) for k in range(400)), *refused, *chinese])["en"]
    assert fitted["weights"]["cosine"] > 0
    assert hit(lookup((0.98, True)), fitted) is not None
    assert hit(lookup((0.5, True)), fitted) is None


@pytest.mark.parametrize(("language", "least"), [("en", 200), ("zh", 200)])
def test_what_taught_rules_is_fitted_and_what_came_after_is_measured(language: Language, least: int) -> None:
    kept = json.loads(Path(caching_pairs.__file__).with_name("caching_again.json").read_text("utf-8"))
    assert len(kept["test"][language]) >= least
    fitted, measured = (list(again(language, half)) for half in ("fit", "test"))
    assert not _texts(fitted) & _texts([one for one in measured if one.rule == "same"])
    for some in (fitted, measured):
        pairs = Counter(frozenset((c.kept[0].text, c.asked[0].text)) for c in some)
        assert max(pairs.values()) == 1


def test_the_blind_pairs_are_told_by_rule_and_whole_and_ship_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = replace(lookup((0.9, True)), set="blind", rule="same")
    twin = replace(lookup((0.9, False), answerable=False), set="blind", rule="date")
    ours = replace(one, set="frames")
    figures = measure([one, twin, ours], WEIGHTS)
    assert {(f.set, f.rule): (f.hits, f.wrong) for f in figures} == {
        ("all", ""): (3, 1),
        ("frames", "same"): (1, 0),
        ("blind", ""): (2, 1),
        ("blind", "date"): (1, 1),
        ("blind", "same"): (1, 0),
    }
    monkeypatch.setattr(verifier, "__file__", str(tmp_path / "verifier.py"))
    caching._write({}, figures, 0.01)
    told = json.loads((tmp_path / "verifier.json").read_text("utf-8"))["figures"]
    assert [one["kind"] for one in told] == ["all", "blind", "same"]
    assert KINDS.keys() >= {one["kind"] for one in told}


def test_one_pair_that_the_rules_leave_does_not_count_as_its_whole_set() -> None:
    """A set of which rules leave one near negative must not bend the weights of all."""
    chinese = [Lookup("tatoeba", "zh", "", Kept("a", "a"), True, None, [_chinese(right)]) for right in (True, False)]
    ruled_out = replace(lookup((0.99, False)).candidates[0], why="word")
    barred = [replace(lookup(answerable=False), set="reading", candidates=[ruled_out]) for _ in range(400)]
    left = replace(lookup((0.99, False), answerable=False), set="reading")
    alone, among = (fit([*noisy(400, []), *chinese, *more])["en"] for more in ([], [*barred, left]))
    near = {"missing": 0.0, "added": 0.0, "cosine": 0.985, "cosine_high": 0.85}
    assert abs(logistic(near, alone) - logistic(near, among)) < 0.05


def test_a_twin_is_asked_of_a_store_that_holds_its_sibling() -> None:
    store = framed("frames", "en", "test")
    groups = {one.group for one in store.kept}
    assert any(one.group in groups for one in store.asked)
    assert any(one.group not in groups for one in store.asked)


def test_pairs_that_a_person_has_read_go_before_their_labels() -> None:
    assert fits(Kept("How can i get new card?", "x"), Kept("I want a new card", "y"))
    assert not fits(Kept("I miss you.", "x"), Kept("I missed you.", "x"))
    assert fits(Kept("a", "x"), Kept("b", "x"))
