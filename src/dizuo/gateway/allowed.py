"""Which models a key may ask."""

from fnmatch import fnmatchcase

from dizuo.core import traces
from dizuo.core.errors import NotAllowed


def may_ask(model: str) -> bool:
    """Whether the key of the request that is under way may ask that model, route or knowledge base, by its name.

    What stands behind a route or a knowledge base is the owner's choice: the key needs no permission for it.
    """
    trace = traces.current.get()
    return trace is None or trace.models is None or any(fnmatchcase(model, pattern) for pattern in trace.models)


def check_allowed(model: str) -> None:
    """Raises NotAllowed where `may_ask` says no."""
    if may_ask(model):
        return
    trace = traces.current.get()
    raise NotAllowed(
        "This key may not ask the model {model!r}. It may ask: {models}.",
        model=model[:128],
        models=", ".join(trace.models or () if trace else ()) or "-",
    )
