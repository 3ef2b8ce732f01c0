"""What a model looks like to whoever uses one."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dizuo.core.events import Event
from dizuo.core.messages import Message


class ChatModel(Protocol):
    """Completes a conversation."""

    @property
    def name(self) -> str:
        """`provider/name`."""
        ...

    def stream(self, messages: Sequence[Message], **options: Any) -> AsyncIterator[Event]:
        """The answer as events: TextDelta…, UsageReported?, then Done or Failed.

        Options are the sampling parameters of the OpenAI protocol (temperature, max_tokens, stop, …).
        Raises ModelError when nothing was streamed yet; after that the stream ends with Failed.
        """
        ...


def context_tokens(model: ChatModel) -> int:
    """How many tokens a chat model reads and writes at most, as its property of that name says; 0: it is not said."""
    return getattr(model, "context_tokens", 0)


class CompletionModel(Protocol):
    """Continues a text."""

    @property
    def name(self) -> str:
        """`provider/name`."""
        ...

    def complete(self, prompt: str | Sequence[int], **options: Any) -> AsyncIterator[Event]:
        """The continuation as events: TextDelta…, UsageReported, then Done or Failed. A prompt may be token ids.

        Options are the sampling parameters of the OpenAI protocol's older completions. With `echo` the first TextDelta
        is the prompt; with `logprobs` each TextDelta carries its tokens, the prompt's too.
        Raises UserError for a wrong option or a prompt that is too long, ModelError when nothing was streamed yet;
        after that the stream ends with Failed.
        """
        ...


class Embedder(Protocol):
    """Turns texts into unit vectors. Vectors are float32 NumPy arrays, kept out of the signature because
    core knows no NumPy."""

    @property
    def name(self) -> str:
        """`provider/name`; vectors of different names never meet in one index."""
        ...

    @property
    def dimension(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Any:
        """(N, dimension) float32, rows of length 1. Blocking: call from a thread. Thread-safe."""
        ...

    def coverage(self, text: str) -> float:
        """Share of the text's letters (0 to 1) in scripts the model was trained on.

        A text below about one half is noise to the model: it is neither embedded nor searched for by vector.
        """
        ...

    def count_tokens(self, text: str) -> int: ...


class Reranker(Protocol):
    """Says how well documents fit a query, reading both together."""

    @property
    def name(self) -> str: ...

    def score(self, query: str, documents: Sequence[str]) -> list[float]:
        """One number for each document, in their order; larger fits better, 0 to 1. Blocking; thread-safe."""
        ...

    def count_tokens(self, text: str) -> int: ...


@dataclass(frozen=True)
class Label:
    """What a classifier says of a text, and how sure it is (0 to 1)."""

    name: str
    probability: float


class Classifier(Protocol):
    """Puts texts under labels."""

    @property
    def name(self) -> str: ...

    def classify(self, texts: Sequence[str]) -> list[list[Label]]:
        """Every label for each text, the likeliest first. Blocking; thread-safe."""
        ...


@dataclass(frozen=True)
class SpanAnswer:
    """The answer that a reader sees in a passage: the characters start to end of it.

    `score` is the span's logit, `null_score` that of "the passage does not answer". The larger the difference, the
    surer; where a line between the two is drawn is for whoever measured it.
    """

    start: int
    end: int
    text: str
    score: float
    null_score: float

    @property
    def margin(self) -> float:
        """How much the answer outweighs that there is none."""
        return self.score - self.null_score


class Reader(Protocol):
    """Names the exact answer to a question inside a passage."""

    @property
    def name(self) -> str: ...

    def read(
        self, question: str, passages: Sequence[str], *, within: Sequence[tuple[int, int]] | None = None
    ) -> list[SpanAnswer]:
        """The best span of each passage, in their order; `within`, from and to which of its characters it may stand.
        Blocking; thread-safe. Raises UserError for a question that leaves no room for a passage."""
        ...


class Translator(Protocol):
    """Turns texts of one language into another, both fixed by the model."""

    @property
    def name(self) -> str: ...

    def translate(self, texts: Sequence[str], beams: int = 1) -> list[str]:
        """The translations in the order of the texts; `beams` 1 is greedy. Blocking; thread-safe."""
        ...
