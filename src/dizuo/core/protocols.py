"""What a model looks like to whoever uses one."""

from collections.abc import AsyncIterator, Sequence
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
