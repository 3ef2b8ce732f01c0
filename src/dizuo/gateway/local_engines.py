"""The engines that are loaded: made when first used, kept while there is room, let go when others need it.

This module and `local.py` are the bridge from the apps to `inference`; nothing of it is imported before the first use.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dizuo.core import traces
from dizuo.core.errors import DizuoError, Unavailable, UserError
from dizuo.gateway.local_folders import LocalFolder, count

log = logging.getLogger(__name__)

# More than one at a time: an app answers with one, finds with another and reads with a third.
MAX_LOADED = 4
# As long as a reader waits for a model that others keep busy.
WAITS_S = 120.0
_WAITING = 32
# Memory that loading takes, against the size of the files: half precision becomes float32, and weights are laid out
# anew for the processor while the first copy is still there.
_MEMORY_FACTOR = 2.2

State = Literal["idle", "loading", "loaded"]
_MEMINFO = Path("/proc/meminfo")


@dataclass
class _Slot:
    folder: LocalFolder
    stamp: tuple[Any, ...]
    engine: Any = None
    error: DizuoError | None = None
    users: int = 0
    last_used: float = 0.0
    loading: threading.Lock = field(default_factory=threading.Lock)


class Engines:
    """At most `limit` engines. Thread-safe."""

    def __init__(
        self, load: "Callable[[LocalFolder], Any] | None" = None, limit: int = MAX_LOADED, waits_s: float = WAITS_S
    ) -> None:
        self._load = load or load_engine
        self._limit = limit
        self._waits_s = waits_s
        self._slots: dict[str, _Slot] = {}
        self._changed = threading.Condition()
        # Tasks that wait for an engine wait in threads of their own: pages and answers need asyncio's few.
        self._entrance = ThreadPoolExecutor(_WAITING, thread_name_prefix="local-engine")

    def state(self, name: str) -> State:
        with self._changed:
            slot = self._slots.get(name)
        return "idle" if slot is None else "loading" if slot.engine is None else "loaded"

    @contextmanager
    def lease(self, folder: LocalFolder) -> Iterator[Any]:
        """The engine of that folder, loaded if need be, and kept for the time of the `with`. Blocking.

        Raises UserError when the weights cannot be read or do not fit into memory, Unavailable when every place is
        taken by engines at work for too long.
        """
        slot = self._enter(folder)
        try:
            yield slot.engine
        finally:
            self._leave(slot)

    @asynccontextmanager
    async def lease_async(self, folder: LocalFolder) -> AsyncIterator[Any]:
        """The same for a task: loads in a thread."""
        entering = asyncio.get_running_loop().run_in_executor(self._entrance, self._enter, folder)
        try:
            with traces.span("load", **{"dizuo.model": folder.name}):
                slot = await asyncio.shield(entering)
        except asyncio.CancelledError:
            # Nobody waits any longer, but the thread goes on: what it gets must be given back.
            entering.add_done_callback(lambda done: None if done.exception() else self._leave_aside(done.result()))
            raise
        try:
            yield slot.engine
        finally:
            self._leave_aside(slot)

    def close(self) -> None:
        """Lets go of every engine that nobody uses; one at work is closed by whoever leaves it last."""
        with self._changed:
            slots, self._slots = list(self._slots.values()), {}
            idle = [slot for slot in slots if not slot.users]
        _close(idle)

    def forget(self, name: str) -> None:
        """Lets go of one engine: its folder is gone."""
        with self._changed:
            slot = self._slots.pop(name, None)
            self._changed.notify_all()
        if slot is not None and not slot.users:
            _close([slot])

    def _enter(self, folder: LocalFolder) -> _Slot:
        slot = self._place(folder)
        try:
            with slot.loading:
                if slot.error is not None:
                    raise slot.error
                if slot.engine is None:
                    slot.engine = self._loaded(slot)
        except BaseException:
            with self._changed:
                if self._slots.get(folder.name) is slot:  # the next one to ask tries again
                    del self._slots[folder.name]
            self._leave(slot)
            raise
        return slot

    def _loaded(self, slot: _Slot) -> Any:
        folder, begun = slot.folder, time.monotonic()
        log.info("loading %s (%s parameters)", folder.name, count(folder.parameters))
        try:
            self._make_room(folder)
            engine = self._load(folder)
        except DizuoError as error:
            slot.error = error
            raise
        except Exception as error:
            log.exception("%s cannot be loaded", folder.name)
            slot.error = UserError(
                "The model {name} cannot be loaded: {reason}. The server's log has the details.",
                name=folder.name,
                reason=f"{type(error).__name__}: {error}"[:300],
            )
            raise slot.error from error
        log.info("loaded %s in %.1f s", folder.name, time.monotonic() - begun)
        return engine

    def _place(self, folder: LocalFolder) -> _Slot:
        """A place for the engine of a folder, with us among its users."""
        stamp, deadline = folder.stamp(), time.monotonic() + self._waits_s
        gone: list[_Slot] = []
        try:
            with self._changed:
                while True:
                    slot = self._slots.get(folder.name)
                    if slot is not None and slot.stamp != stamp:  # its files have been replaced
                        del self._slots[folder.name]
                        gone += [slot] if not slot.users else []
                        slot = None
                    if slot is None and len(self._slots) >= self._limit:
                        idle = self._least_recent()
                        if idle is None:
                            if not self._changed.wait(deadline - time.monotonic()):
                                raise Unavailable(
                                    "{n} local models are at work, and no more are kept loaded at once: {names}. Ask "
                                    "{name} again later.",
                                    n=self._limit,
                                    names=", ".join(sorted(self._slots)),
                                    name=folder.name,
                                )
                            continue
                        del self._slots[idle.folder.name]
                        gone.append(idle)
                    if slot is None:
                        slot = self._slots[folder.name] = _Slot(folder, stamp)
                    slot.users += 1
                    return slot
        finally:
            _close(gone)

    def _leave(self, slot: _Slot) -> None:
        if self._left(slot):
            _close([slot])

    def _leave_aside(self, slot: _Slot) -> None:
        """The same from an event loop: an engine's end is waited for in a thread."""
        if self._left(slot):
            self._entrance.submit(_close, [slot])

    def _left(self, slot: _Slot) -> bool:
        """Takes one user off; whether the engine is to be closed by whoever left it last."""
        with self._changed:
            slot.users -= 1
            slot.last_used = time.monotonic()
            self._changed.notify_all()
            return not slot.users and self._slots.get(slot.folder.name) is not slot

    def _least_recent(self) -> _Slot | None:
        idle = [slot for slot in self._slots.values() if not slot.users]
        return min(idle, key=lambda slot: slot.last_used, default=None)

    def _make_room(self, folder: LocalFolder) -> None:
        """Lets go of idle engines until the model fits. Raises UserError where it does not fit even so."""
        needed = int(folder.size_bytes * _MEMORY_FACTOR)
        while (free := free_memory_bytes()) is not None and free < needed:
            with self._changed:
                idle = self._least_recent()
                if idle is not None:
                    del self._slots[idle.folder.name]
            if idle is None:
                raise UserError(
                    "The model {name} needs about {needed} GiB of memory to load; {free} GiB are free. Stop other "
                    "programs, or use a smaller model.",
                    name=folder.name,
                    needed=f"{needed / 2**30:.1f}",
                    free=f"{free / 2**30:.1f}",
                )
            _close([idle])


def load_engine(folder: LocalFolder) -> Any:
    """The engine for the folder's kind."""
    match folder.kind:
        case "chat" | "completion":
            from dizuo.inference.engine import TextEngine

            return TextEngine(folder.path)
        case "embedding":
            from dizuo.inference.encoder import TextEncoder

            encoder = TextEncoder(folder.path, max_tokens=folder.context_tokens or 512)
            encoder.encode(["a"])  # it reads its weights now, so that what is wrong with them is said at once
            return encoder
        case "rerank":
            from dizuo.inference.pairs import PairScorer

            return PairScorer(folder.path)
        case "classifier":
            from dizuo.inference.classifier import TextClassifier

            return TextClassifier(folder.path)
        case "reader":
            from dizuo.inference.reader import Reader

            return Reader(folder.path)
        case "translation":
            from dizuo.inference.translate import Translator

            return Translator(folder.path)
        case _:
            raise UserError(
                "The model {name} ({architecture}) is a start for training; it answers nothing by itself.",
                name=folder.name,
                architecture=folder.architecture,
            )


def sampling_options(options: Mapping[str, Any]) -> Any:
    """Options as the text engine takes them. Raises UserError for a value that is out of its range."""
    from dizuo.inference.sampling import SamplingOptions

    return SamplingOptions(**options)


def free_memory_bytes() -> int | None:
    """Memory that a process can still get without swapping; None where the system does not say."""
    try:
        for line in _MEMINFO.read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _close(slots: "list[_Slot]") -> None:
    for slot in slots:
        close = getattr(slot.engine, "close", None)
        if close is not None:
            close()
        if slot.engine is not None:
            log.info("let go of %s", slot.folder.name)
        slot.engine = None
