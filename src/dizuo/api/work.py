"""Work of models that blocks, in threads of its own: a flood of it leaves everyone else's threads free."""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from fastapi import Request

from dizuo.api import streams

_T = TypeVar("_T")
# Encoders of this machine take one batch at a time anyway; those of providers mostly wait.
_THREADS = 16
_limiter: RunVar[CapacityLimiter] = RunVar("dizuo_model_threads")  # one for each event loop


async def in_thread(request: Request, work: Callable[[], _T]) -> _T:
    """What the work gives. When the client disconnects, work that has not begun is not done."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(_THREADS)
        _limiter.set(limiter)
    return await streams.unless_gone(request, to_thread.run_sync(work, limiter=limiter))
