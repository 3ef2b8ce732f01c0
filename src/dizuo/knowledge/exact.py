"""The words of a quotation that answer: a reader points at them in the passage that is quoted."""

from dizuo.core.documents import ExactAnswer
from dizuo.core.errors import UserError
from dizuo.core.protocols import Reader
from dizuo.knowledge.extract import Quote

READER = "local/reader"  # ships; a model of that name under DIZUO_HOME takes its place

# How far the span must outweigh that there is none.
_SURE = 0.0


def exact_answer(question: str, quote: Quote, reader: Reader) -> ExactAnswer | None:
    """What the reader sees inside the quotation; None where it is not sure, or the whole quotation is the answer.

    Blocking.
    """
    start, end = quote.start - quote.hit.start, quote.end - quote.hit.start
    try:
        (found,) = reader.read(question, [quote.hit.text], within=[(start, end)])
    except UserError:  # a question too long for it
        return None
    if found.margin < _SURE or not found.text or (found.start, found.end) == (start, end):
        return None
    return ExactAnswer(text=found.text, start=quote.hit.start + found.start, end=quote.hit.start + found.end)
