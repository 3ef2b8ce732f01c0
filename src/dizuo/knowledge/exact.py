"""A reader's look at what was quoted: the words in it that answer, and how sure they make the answer."""

import logging
import math
from collections.abc import Mapping
from dataclasses import replace

from dizuo.core.documents import ExactAnswer
from dizuo.core.errors import UserError
from dizuo.core.protocols import Reader
from dizuo.knowledge.extract import Extract, fitted
from dizuo.knowledge.features import Question

READER = "local/reader"  # ships; a model of that name under DIZUO_HOME takes its place

_log = logging.getLogger(__name__)

_NEVER_SURE = 1e-6
_FARTHEST = 20.0  # a margin above this says no more


def read(question: str, extracted: Extract, reader: Reader) -> Extract:
    """The same with the chance that the reader's margin makes of it, and the words that answer, where it is sure of
    them. Unchanged where there is no quotation, the question is too long for the reader, or it cannot be loaded: it
    only helps, and a quotation stands without it. Blocking."""
    quote = extracted.quote
    if quote is None:
        return extracted
    try:
        (span,) = reader.read(question, [quote.hit.text], within=[quote.within])
    except UserError as error:
        _log.warning("%s has not read: %s", reader.name, error)
        return extracted
    weights = fitted()["readers"]["zh" if Question(question).chinese else "en"]
    chance = confidence(extracted.confidence, span.margin, weights)
    exact = None
    if span.text and span.margin >= weights["sure"] and (span.start, span.end) != quote.within:
        exact = ExactAnswer(text=span.text, start=quote.hit.start + span.start, end=quote.hit.start + span.end)
    return replace(extracted, confidence=chance, found=chance >= weights["threshold"], exact=exact)


def confidence(chance: float, margin: float, weights: Mapping[str, float]) -> float:
    """The chance, 0 to 1, that a quotation answers: of the linear model's chance and the reader's margin."""
    known, read_as = values(chance, margin)
    return 1 / (1 + math.exp(-(weights["bias"] + weights["chance"] * known + weights["margin"] * read_as)))


def values(chance: float, margin: float) -> tuple[float, float]:
    """What the chance is made of: the logit of the linear model's, and the margin."""
    known = min(max(chance, _NEVER_SURE), 1 - _NEVER_SURE)
    return math.log(known / (1 - known)), min(max(margin, -_FARTHEST), _FARTHEST)
