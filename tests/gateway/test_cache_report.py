"""The figures that ship, beside what this instance counted."""

import pytest

from dizuo.gateway import cache_report
from dizuo.gateway.agreement import Lexicon
from dizuo.gateway.cache import Cache
from dizuo.gateway.cache_report import KINDS, LANGUAGES, Language, report, verdict
from dizuo.gateway.verifier import shipped
from dizuo.knowledge.analyze import fold, terms
from dizuo.knowledge.rarity import rarity
from dizuo.platform.database import Database


@pytest.fixture
def cache(database: Database) -> Cache:
    lexicon = Lexicon(fold, terms, rarity)
    return Cache(database, lambda: None, lexicon, policy="exact", ttl_s=60, limit_mb=1)


def test_every_figure_has_a_name_an_interval_and_a_bound(cache: Cache) -> None:
    found = report(cache)
    assert {one.kind for one in found.measured} <= KINDS.keys()
    assert {one.language for one in found.measured} == LANGUAGES.keys()
    for one in found.measured:
        rate, low, high = one.false_hit_rate
        assert low <= rate <= high
        assert rate <= one.false_hit_bound <= 1
        assert one.wrong <= one.hits <= one.asked


def test_the_twins_of_our_own_are_told_apart_in_both_languages(cache: Cache) -> None:
    twins = {"direction", "negation", "opposite", "number", "date", "name", "unit", "question"}
    measured = [one for one in report(cache).measured if one.kind in twins]
    assert {(one.language, one.kind) for one in measured} == {(one, kind) for one in LANGUAGES for kind in twins}
    assert sum(one.hits for one in measured) == 0


def test_a_language_says_what_holds_of_it(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    content = shipped()
    whole = [one for one in content["figures"] if one["kind"] == "all"]
    figures = [one | {"false_hit_bound": bound} for one, bound in zip(whole, (0.009, 0.02), strict=True)]
    monkeypatch.setattr(cache_report, "shipped", lambda: {**content, "figures": figures})
    assert [one.within_budget for one in report(cache).languages] == [True, False]


def test_the_verdict_is_on_the_bound_that_was_measured() -> None:
    def of(*, answers: bool, within: bool) -> str:
        return verdict(Language(language="en", in_other_words=answers, false_hit_bound=0.02, within_budget=within))

    assert of(answers=True, within=True) == "{language}: the budget holds; the bound measured is {bound}."
    assert "not shown to hold" in of(answers=True, within=False)
    assert "only the same words" in of(answers=False, within=True)


def test_what_is_here_is_counted_here(cache: Cache) -> None:
    here = report(cache).here
    assert (here.policy, here.entries, here.calls, here.hits, here.limit_bytes) == ("exact", 0, 0, {}, 1 << 20)
