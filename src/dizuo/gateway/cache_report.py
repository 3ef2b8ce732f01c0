"""How well the cache tells questions apart, as it was measured, beside how it does here."""

from dizuo.core.messages import Noun
from dizuo.gateway.cache import Cache, CacheUse
from dizuo.gateway.verifier import shipped
from dizuo.platform.catalogue import _

Rate = tuple[float, float, float]  # a share and its 95 % interval

LANGUAGES = {"en": _("English"), "zh": _("Chinese")}
# What people call the sets and the rules of verifier.json.
KINDS = {
    "all": _("all together"),
    "banking": _("customers' questions (Banking77)"),
    "mock": _("GPTCache's own pairs"),
    "tatoeba": _("translations of one sentence (Tatoeba)"),
    "reading": _("questions on one passage"),
    "blind": _("pairs of an author who had not seen the cache"),
    "again": _("questions asked once more, by authors who had not seen the cache"),
    "same": _("honest paraphrases"),
    "direction": _("twins: direction reversed"),
    "negation": _("twins: negated"),
    "opposite": _("twins: opposite"),
    "number": _("twins: another number"),
    "date": _("twins: another date"),
    "name": _("twins: another name"),
    "unit": _("twins: another unit"),
    "question": _("twins: another question"),
}


class Measured(Noun):
    """The figures of one kind of question in one language, on the half of the data that nothing was fitted on."""

    language: str
    kind: str
    asked: int
    answerable: int  # some kept answer fits
    hits: int
    wrong: int
    hit_rate: Rate | None  # right hits among the answerable; None where there are none
    false_hit_rate: Rate  # wrong hits among the hits; among all that was asked where no kept answer fits
    false_hit_bound: float  # its upper 95 % bound, one-sided: what the budget was fitted for


class Language(Noun):
    """What holds of a language, over all kinds together."""

    language: str
    in_other_words: bool  # whether questions in other words are answered: where the budget held on the fitting half
    false_hit_bound: float  # on the other half
    within_budget: bool


class CacheReport(Noun):
    """`budget` is what the thresholds were fitted to: the upper 95 % bound of the false-hit rate over each language."""

    budget: float
    made_by: str
    data: str
    languages: tuple[Language, ...]
    measured: tuple[Measured, ...]
    here: CacheUse


def report(cache: Cache) -> CacheReport:
    """The figures that ship with the weights, and the counts of this instance. Blocking."""
    content = shipped()
    measured = tuple(Measured(**one) for one in content["figures"])
    budget = content["about"]["budget"]
    return CacheReport(
        budget=budget,
        made_by=content["about"]["made_by"],
        data=content["about"]["data"],
        languages=tuple(
            Language(
                language=one.language,
                in_other_words=content["weights"][one.language]["threshold"] <= 1,
                false_hit_bound=one.false_hit_bound,
                within_budget=one.false_hit_bound <= budget,
            )
            for one in measured
            if one.kind == "all"
        ),
        measured=measured,
        here=cache.use(),
    )


def verdict(language: Language) -> str:
    """A sentence for a person, with places for `language` and `bound`."""
    if not language.in_other_words:
        return _("{language}: only the same words hit; the budget could not be shown to hold.")
    if language.within_budget:
        return _("{language}: the budget holds; the bound measured is {bound}.")
    return _("{language}: the budget is not shown to hold; the bound measured is {bound}.")
