"""The one door to every model: a name in, a model out, wrapped in all that holds for every call."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dizuo.core import traces
from dizuo.gateway.ledger import Call, CallKind, Ledger
from dizuo.gateway.metered import MeteredModel

if TYPE_CHECKING:
    from dizuo.core.protocols import ChatModel
    from dizuo.gateway.models import Models


class Gateway:
    """The models of an instance as the faces and apps use them."""

    def __init__(self, models: "Models", ledger: Ledger) -> None:
        self._models = models
        self._ledger = ledger

    def chat(self, name: str) -> "ChatModel":
        """The chat model of that name, wrapped. Raises what `Models.chat` raises."""
        return self.wrapped(self._models.chat(name))

    def wrapped(self, model: "ChatModel") -> "ChatModel":
        """The model with all that holds for every call around it, from the inside out:

        - metered: outside of everything, so that refusals, kept answers and broken streams are in the ledger too
        """
        return MeteredModel(model, self._ledger)

    @contextmanager
    def call(self, kind: CallKind, name: str) -> Iterator[Call]:
        """Around a call of a model that is no chat: held to the limits, traced, and written to the ledger."""
        with traces.span(kind, **{"gen_ai.request.model": name}) as span, self._ledger.recorded(kind, name) as call:
            yield call
            span.attributes["gen_ai.usage.input_tokens"] = call.usage.prompt_tokens

    def close(self) -> None:
        """Writes down what is still to be written."""
        self._ledger.close()
