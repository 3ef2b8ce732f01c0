"""Links and pictures in text that a model wrote or a document holds.

A picture's address is fetched as soon as it is shown: a model that was talked into writing one would carry the
conversation to a stranger in its query string. So pictures become the words they are called by, everywhere, and a
model's link is kept only where a passage that it was given has the very same address.
"""

import re
from collections.abc import Iterable

IMAGE = re.compile(r"!\[([^\]\n]*)\](?:\([^)\n]*\)|\[[^\]\n]*\])")
LINK = re.compile(r"\[([^\]\n]*)\]\(\s*<?([^)\s>]*)>?[^)\n]*\)")
ADDRESS = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9+.-]{1,20}://|\bwww\.)[^\s<>\"'`)\]，。；！？、）】」]+")
_FETCHING_TAG = re.compile(
    r"</?\s*(?:img|image|picture|iframe|frame|object|embed|link|script|style|video|audio|source|svg|form|input|base|meta|a)"
    r"\b[^>\n]*>?",
    re.IGNORECASE,
)
_AFTER_ADDRESS = ".,;:!?*_"


def without_images(text: str) -> str:
    """The text with each picture replaced by what it is called."""
    return IMAGE.sub(lambda match: match[1], text)


def addresses(texts: Iterable[str]) -> frozenset[str]:
    """Every address that stands in the texts."""
    return frozenset(found.rstrip(_AFTER_ADDRESS) for text in texts for found in ADDRESS.findall(text))


def only_known(text: str, known: frozenset[str]) -> str:
    """The text without pictures and HTML that fetches, and without addresses that are not known."""

    def link(match: re.Match[str]) -> str:
        return match[0] if match[2].rstrip(_AFTER_ADDRESS) in known else match[1]

    def address(match: re.Match[str]) -> str:
        return match[0] if match[0].rstrip(_AFTER_ADDRESS) in known else "[…]"

    return ADDRESS.sub(address, LINK.sub(link, _FETCHING_TAG.sub("", without_images(text))))
