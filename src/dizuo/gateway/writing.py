"""Questions without what only their writing brings: the cache's second step, which compares nothing."""

import re
import unicodedata
from collections.abc import Callable

_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_CODE = re.compile(r"[`{}<>\\|;=$]|\n\s*\S|\w\(|://")
_ENDS = " \t\r\n.?!。？！…~～"
_SPACES = re.compile(r"\s+")
_BESIDE_HAN = re.compile(r"(?<=[\u3400-\u9fff]) (?=\S)|(?<=\S) (?=[\u3400-\u9fff])")
_SOFT_COMMA = re.compile(r"[,、:](?=\s|$)|(?<=[\u3400-\u9fff])[,、]|(?<=\s)[-–—]+(?=\s)")
# At the very ends only, and set apart there: "translate please" asks about the word.
_POLITE_START = re.compile(
    r"(?:(?:hi|hello|hey|dear sir|good (?:morning|afternoon|evening))(?: there| all)?[,.!]+\s*"
    r"|(?:please|pls|kindly)\b[,\s]+|(?:excuse me|sorry)[,.!]+\s*"
    r"|(?:你好|您好|嗨|哈喽|早上好|下午好|晚上好|大家好|打扰一下|不好意思)[,.!，。！\s]+"
    r"|(?:请问一下|请问|请教一下|麻烦您?问一下|麻烦您|麻烦你|麻烦|想问一下|请)(?=[^的是字这]))[,，\s]*",
    re.IGNORECASE,
)
_POLITE_END = re.compile(
    r"[,.!?，。！？]+\s*(?:please|pls|thanks|thank you|thx|cheers|many thanks|thanks a lot|thank you very much"
    r"|谢谢|谢谢您|谢谢你|多谢|感谢|谢了|拜托|拜托了)[\s.!。！~]*$",
    re.IGNORECASE,
)
# Words whose capitals tell them apart: WHO is not who.
_CAPITALS = frozenset("IT US WHO AIDS CAN MAY AM PM OR IN AS ALL NOW ARM SAP CAT GO".split())  # noqa: SIM905


def normalised(text: str, fold: Callable[[str], str]) -> str:
    """The question without what only its writing brings: width, case, spaces, sentence marks, politeness at its ends,
    traditional characters. Code keeps all but the blanks around it, because there every mark may matter.

    `fold` makes traditional characters simplified.
    """
    plain = unicodedata.normalize("NFKC", text).strip()
    if _CODE.search(plain):
        return text.strip()
    if _HAN.search(plain):
        plain = fold(plain)
    for _again in range(3):
        cut = _POLITE_END.sub("", _POLITE_START.sub("", plain, count=1)).strip(_ENDS)
        if not cut or cut == plain:
            break
        plain = cut
    plain = plain.replace("’", "'").replace("“", '"').replace("”", '"')
    plain = _SPACES.sub(" ", _SOFT_COMMA.sub(" ", plain)).strip()
    plain = _BESIDE_HAN.sub("", plain)
    shouted = not any(c.islower() for c in plain)
    return " ".join(word if word in _CAPITALS and not shouted else word.casefold() for word in plain.split(" "))
