"""Which models a key may ask."""

from fnmatch import fnmatchcase

from dizuo.core import traces
from dizuo.core.errors import NotAllowed


def check_allowed(model: str) -> None:
    """Raises NotAllowed when the request that is under way came with a key that may not ask that model."""
    trace = traces.current.get()
    if trace is None or trace.models is None or any(fnmatchcase(model, pattern) for pattern in trace.models):
        return
    raise NotAllowed(
        "This key may not ask the model {model!r}. It may ask: {models}.",
        model=model[:128],
        models=", ".join(trace.models) or "-",
    )
