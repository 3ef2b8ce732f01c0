"""How telling a term is in the language at large, from a table that ships (rarity.json).

A knowledge base of ten documents is too small to tell which words of a question matter: "do" may be as rare in it
as "backup". So the weight comes from general text, and a threshold calibrated with it holds for any collection.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

UNSEEN = 7.5  # of a term that the table does not list: rarer than all it lists
LIMIT = 8.0


@cache
def _table() -> Mapping[str, float]:
    levels: Mapping[str, str] = json.loads(files("dizuo.knowledge").joinpath("rarity.json").read_text("utf-8"))["terms"]
    return {term: float(level) for level, terms in levels.items() for term in terms.split()}


def rarity(term: str) -> float:
    """Inverse document frequency (natural logarithm) of a term of `analyze.terms`, in general text."""
    return _table().get(term, UNSEEN)
