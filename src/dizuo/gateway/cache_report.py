"""How well the cache tells questions apart, as it was measured, beside how it does here."""

from dizuo.core.messages import Noun
from dizuo.gateway.cache import Cache, CacheUse
from dizuo.gateway.verifier import shipped
from dizuo.platform.catalogue import _

Rate = tuple[float, float, float]  # a share and its 95 % interval

# What people call the sets and the rules of verifier.json.
KINDS = {
    "all": _("all together"),
    "banking": _("customers' questions (Banking77)"),
    "mock": _("GPTCache's own pairs"),
    "tatoeba": _("translations of one sentence (Tatoeba)"),
    "reading": _("questions on one passage"),
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


class CacheReport(Noun):
    """`budget` is what the thresholds were fitted to: the upper 95 % bound of the false-hit rate over each language."""

    budget: float
    made_by: str
    data: str
    languages: dict[str, bool]  # whether questions in other words are answered: where the budget could be shown to hold
    measured: tuple[Measured, ...]
    here: CacheUse


def report(cache: Cache) -> CacheReport:
    """The figures that ship with the weights, and the counts of this instance. Blocking."""
    content = shipped()
    weights = content["weights"]
    return CacheReport(
        budget=content["about"]["budget"],
        made_by=content["about"]["made_by"],
        data=content["about"]["data"],
        languages={
            language: weights["en dense" if language == "en" else language]["threshold"] <= 1
            for language in ("en", "zh")
        },
        measured=tuple(Measured(**one) for one in content["figures"]),
        here=cache.use(),
    )
