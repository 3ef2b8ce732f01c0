"""Bytes to text: which encoding a file is in, found without being told, and what could not be decoded.

Byte-order mark, UTF-8 and UTF-16 are proved by the bytes. The double-byte encodings of East Asia are told apart by
how many of the decoded characters are the common ones of that encoding: a text read in the wrong one is full of rare
characters. charset-normalizer decides among the single-byte ones; on short Chinese texts it is often wrong.
"""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from dizuo.core.documents import Note
from dizuo.core.errors import UserError

_SAMPLE = 1 << 16
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_PUNCTUATION = frozenset("　、。，．・：；？！‘’“”（）〔〕［］｛｝〈〉《》「」『』【】—…～·ー％￥０１２３４５６７８９")


@dataclass(frozen=True)
class Decoded:
    text: str
    encoding: str
    lost: tuple[Note, ...] = ()


def decode(data: bytes) -> Decoded:
    """The text of a file. Raises UserError when the bytes are no text at all."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return _replacing(data[len(bom) :], encoding)
    sample = _sample(data)
    if wide := _utf16(sample):
        return _replacing(data, wide)
    if _is_binary(sample):
        raise UserError("The file holds binary data, not text. If it is a document, give it the extension of its kind.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return _not_utf8(data)
    return _without_nuls(Decoded(text, "utf-8"))


def _sample(data: bytes) -> bytes:
    """The beginning, the middle and the end, each at an even offset so that UTF-16 stays in step."""
    if len(data) <= 3 * _SAMPLE:
        return data
    middle = len(data) // 2 & ~1
    return data[:_SAMPLE] + data[middle : middle + _SAMPLE] + data[(len(data) - _SAMPLE) & ~1 :]


def _is_binary(sample: bytes) -> bool:
    """Control characters that no text has, more than one in two hundred."""
    return len(_CONTROL.findall(sample)) * 200 > len(sample)


def _utf16(sample: bytes) -> str | None:
    """UTF-16 without a mark: the byte order in which nearly all characters are everyday ones.

    Real UTF-8 and GB18030 never pass: two of their bytes taken together fall among Hangul, rare Han or no character.
    """
    if len(sample) < 4:
        return None
    even = sample[: len(sample) & ~1][:_SAMPLE]
    # ASCII in UTF-16 is UTF-8 with a null in every pair.
    if even.count(0) * 5 < len(even) and _is_utf8(sample):
        return None
    best: tuple[float, str] = (0.0, "")
    for encoding in ("utf-16-le", "utf-16-be"):
        text = even.decode(encoding, "replace")
        common = sum(c in "\t\n\r" or " " <= c <= "~" or c in _common("gb18030") or c in _common("big5") for c in text)
        best = max(best, (common / len(text), encoding))
    return best[1] if best[0] > 0.85 else None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(data) - 3  # a character cut at the end of the sample
    return True


def _replacing(data: bytes, encoding: str) -> Decoded:
    text = data.decode(encoding, "replace")
    return _without_nuls(Decoded(text, encoding, _undecodable(text.count("\ufffd"), encoding)))


def _undecodable(count: int, encoding: str) -> tuple[Note, ...]:
    if not count:
        return ()
    return (
        Note(
            template="Places that could not be decoded as {encoding} show as \ufffd: {count}.",
            params={"count": count, "encoding": encoding},
        ),
    )


def _without_nuls(decoded: Decoded) -> Decoded:
    if "\x00" not in decoded.text:
        return decoded
    note = Note(template="Null characters were left out: {count}.", params={"count": decoded.text.count("\x00")})
    return Decoded(decoded.text.replace("\x00", ""), decoded.encoding, (*decoded.lost, note))


# --- neither UTF-8 nor UTF-16 -----------------------------------------------------------------------------------


def _not_utf8(data: bytes) -> Decoded:
    """One legacy encoding, UTF-8 with damage, or lines of both: decided line by line."""
    lines = data.split(b"\n")
    is_utf8 = [_line_is_utf8(line) for line in lines]
    strange = [line for line, fine in zip(lines, is_utf8, strict=True) if fine is False]
    legacy = _legacy(b"\n".join(strange))
    if not any(is_utf8):
        if legacy:
            return _replacing(data, legacy)
        return _replacing(data, "utf-8")
    if legacy is None or _is_damaged_utf8(strange):
        return _replacing(data, "utf-8")
    return _mixed(lines, is_utf8, legacy)


def _line_is_utf8(line: bytes) -> bool | None:
    """True for UTF-8 beyond ASCII, False for what is not UTF-8, None for what is ASCII and so says nothing.

    A pair of bytes that happens to be UTF-8 is no proof (the GBK bytes of 联通 are): it takes three in a row.
    """
    if line.isascii():
        return None
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True if any(c >= "\u0800" for c in text) else None


def _is_damaged_utf8(lines: Sequence[bytes]) -> bool:
    """Whether most of what is beyond ASCII in these lines is UTF-8 after all."""
    text = b"\n".join(lines)[:_SAMPLE].decode("utf-8", "replace")
    fine = sum(c > "\x7f" and c != "\ufffd" for c in text)
    return fine > 4 * text.count("\ufffd")


def _mixed(lines: Sequence[bytes], is_utf8: Sequence[bool | None], legacy: str) -> Decoded:
    pieces: list[str] = []
    other: list[int] = []
    for number, (line, fine) in enumerate(zip(lines, is_utf8, strict=True), 1):
        if fine is False:
            other.append(number)
        pieces.append(line.decode(legacy if fine is False else "utf-8", "replace"))
    text = "\n".join(pieces)
    note = Note(
        template="The file mixes encodings. Lines read as {legacy}: {count}, from line {first} on; the others are "
        "UTF-8. Check them.",
        params={"count": len(other), "first": other[0], "legacy": legacy},
    )
    encoding = f"utf-8 + {legacy}"
    return _without_nuls(Decoded(text, encoding, (note, *_undecodable(text.count("\ufffd"), encoding))))


def _legacy(data: bytes) -> str | None:
    """The encoding of bytes that are not UTF-8; None when nothing fits."""
    sample = data[: 3 * _SAMPLE]
    scores = {encoding: _score(sample, encoding) for encoding in _RANGES}
    best = max(scores, key=lambda encoding: scores[encoding])
    if scores[best] > 0.75:
        return "euc_kr" if _is_korean(sample, scores["euc_kr"]) else best
    return _single_byte(sample[:_SAMPLE]) or (best if scores[best] > 0.5 else None)


def _is_korean(sample: bytes, score: float) -> bool:
    """Every Hangul code is a common Chinese one, too; but of Chinese, a third lies elsewhere, and it has no spaces."""
    wide = sum(byte > 0x7F for byte in sample) // 2
    return score > 0.97 and wide > 10 and sample.count(b" ") * 12 > wide


_SINGLE_BYTE = (
    "cp1252", "cp1250", "cp1251", "koi8_r", "cp866", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "iso8859_2",
)  # fmt: skip
_LATIN = ("cp1250", "cp1252", "cp1254", "cp1257", "iso8859_2")
_WESTERN = frozenset("äöüßéèêëàâçîïôûùúñáíóãõåæøœ")
_CENTRAL = frozenset("čřžšěůýáíéúóňťďąęłńśźżćőű")


def _single_byte(sample: bytes) -> str | None:
    """By charset-normalizer. It sees no difference between French and Czech, so that is decided by the letters."""
    import charset_normalizer

    found = charset_normalizer.from_bytes(sample, cp_isolation=list(_SINGLE_BYTE)).best()
    if found is None or found.encoding not in _LATIN:
        return found.encoding if found else None
    western = sum(c in _WESTERN for c in sample.decode("cp1252", "replace").lower())
    central = sum(c in _CENTRAL for c in sample.decode("cp1250", "replace").lower())
    return "cp1252" if western >= central else "cp1250"


# First and last two-byte codes of each encoding's common characters.
_RANGES = {
    "gb18030": ((0xB0A1, 0xD7F9),),  # GB 2312 level 1, by pinyin
    "big5": ((0xA440, 0xC67E),),  # Big5 level 1
    "shift_jis": ((0x889F, 0x9872), (0x829F, 0x82F1), (0x8340, 0x8396)),  # JIS level 1, hiragana, katakana
    "euc_jp": ((0xB0A1, 0xCFD3), (0xA4A1, 0xA4F3), (0xA5A1, 0xA5F6)),
    "euc_kr": ((0xB0A1, 0xC8FE),),  # Hangul of KS X 1001
}


@cache
def _common(encoding: str) -> frozenset[str]:
    """The characters that texts in this encoding are mostly made of."""
    found = set(_PUNCTUATION)
    for first, last in _RANGES[encoding]:
        for code in range(first, last + 1):
            try:
                found.add(code.to_bytes(2, "big").decode(encoding))
            except UnicodeDecodeError:
                continue
    return frozenset(found)


def _score(sample: bytes, encoding: str) -> float:
    """Share of the characters beyond ASCII that are common ones, each undecodable place counting against it twice.

    Japanese is full of kana: the bytes of a Chinese text read as Japanese are nearly all kanji, so kanji alone prove
    nothing.
    """
    beyond = [c for c in sample.decode(encoding, "replace") if c > "\x7f"]
    if not beyond:
        return 0.0
    common = _common(encoding)
    score = (sum(c in common for c in beyond) - 2 * beyond.count("\ufffd")) / len(beyond)
    if encoding in ("shift_jis", "euc_jp"):
        kana = sum("\u3040" <= c <= "\u30ff" for c in beyond)
        return score if kana * 10 > len(beyond) else score / 2
    return score
