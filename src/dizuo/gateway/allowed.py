"""Which models a key may ask."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from dizuo.core import traces
from dizuo.core.errors import NotAllowed


def may_ask(model: str) -> bool:
    """Whether the key of the request that is under way may ask that model, route or knowledge base, by its name.

    What stands behind a route or a knowledge base is the owner's choice: the key needs no permission for it.
    """
    allowed = _allowed()
    return allowed is None or any(fnmatchcase(model, pattern) for pattern in allowed)


def check_allowed(model: str) -> None:
    """Raises NotAllowed where `may_ask` says no."""
    if not may_ask(model):
        raise NotAllowed(
            "This key may not ask the model {model!r}. It may ask: {models}.",
            model=model[:128],
            models=", ".join(_allowed() or ()) or "-",
        )


def _allowed() -> Sequence[str] | None:
    """The patterns that the key's models are held to; None: it may ask all."""
    trace = traces.current.get()
    return None if trace is None else trace.models
