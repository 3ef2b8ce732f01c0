"""Token ids to text as they come: no broken character is ever shown, and no stop string nor a part of one."""

import codecs
import json
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from dizuo.core.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class TokenBytes:
    """The bytes that each token stands for."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        """Raises UserError when the tokenizer turns tokens into text in a way that is not known here."""
        described: dict[str, Any] = json.loads(tokenizer.to_str())
        kinds = set(_decoder_kinds(described.get("decoder")))
        added = {one["id"]: one for one in described.get("added_tokens", [])}
        if "ByteLevel" in kinds:
            plain = _from_byte_level
        elif kinds & {"ByteFallback", "Metaspace"}:
            plain = _from_sentencepiece
        elif not kinds:
            plain = str.encode
        else:
            raise UserError(
                "The tokenizer turns tokens into text by {kinds}; generation reads ByteLevel, ByteFallback and "
                "Metaspace.",
                kinds=", ".join(sorted(kinds)),
            )
        self._bytes: dict[int, bytes] = {
            i: added[i]["content"].encode() if i in added else plain(token)
            for token, i in tokenizer.get_vocab(with_added_tokens=True).items()
        }
        self._special = frozenset(i for i, one in added.items() if one["special"])

    def __getitem__(self, token: int) -> bytes:
        """The token's bytes, a special token's written-out name too; empty for ids that the tokenizer does not have."""
        return self._bytes.get(token, b"")

    def shown(self, token: int) -> bytes:
        """What the token adds to a text: nothing, if it is a special one."""
        return b"" if token in self._special else self[token]


class TextStream:
    """The text of one continuation. `push` its tokens one by one, then `finish`."""

    def __init__(self, table: TokenBytes, stop: Sequence[str] = ()) -> None:
        self._table = table
        self._stop = tuple(stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""  # decoded, but may be the beginning of a stop string
        self._emitted = 0  # characters given out
        self._decoded = 0  # characters decoded
        self._starts: list[int] = []  # where each token that was not released yet begins
        self.stopped = False

    def push(self, token: int) -> tuple[str, int]:
        """(text that is certain now, how many more tokens it completes). After a stop string `stopped` is true."""
        self._starts.append(self._decoded)
        new = self._decoder.decode(self._table.shown(token))
        self._decoded += len(new)
        self._held += new
        if not self._stop:
            return self._give(len(self._held), flush=not self._decoder.getstate()[0])
        found = [at for one in self._stop if (at := self._held.find(one)) >= 0]
        if found:
            self.stopped = True
            text, released = self._give(min(found))
            self._starts.clear()
            return text, released
        keep = max(_overlap(self._held, one) for one in self._stop)
        return self._give(len(self._held) - keep, flush=not keep and not self._decoder.getstate()[0])

    def finish(self) -> tuple[str, int]:
        """What was held back, when the tokens end; bytes that make no character become U+FFFD."""
        self._held += self._decoder.decode(b"", final=True)
        return self._give(len(self._held), flush=True)

    def _give(self, count: int, flush: bool = False) -> tuple[str, int]:
        text, self._held = self._held[:count], self._held[count:]
        self._emitted += len(text)
        released = len(self._starts) if flush else sum(start < self._emitted for start in self._starts)
        del self._starts[:released]
        return text, released


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of the text that a stop string begins with."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


def _decoder_kinds(decoder: dict[str, Any] | None) -> list[str]:
    if decoder is None:
        return []
    if decoder["type"] == "Sequence":
        return [kind for one in decoder["decoders"] for kind in _decoder_kinds(one)]
    return [decoder["type"]]


@cache
def _byte_of() -> dict[str, int]:
    """The printable character that stands for each byte in a byte-level vocabulary (Radford et al. 2019, GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


def _from_byte_level(token: str) -> bytes:
    table = _byte_of()
    return bytes(table[c] for c in token) if all(c in table for c in token) else token.encode()


def _from_sentencepiece(token: str) -> bytes:
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    return token.replace("▁", " ").encode()
