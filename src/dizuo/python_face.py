"""The Python face: `dizuo.Knowledge` and `dizuo.ask`, the same calls that the pages and commands make.

Everything blocks, and works where an event loop is running already (a notebook). The instance is the one that the
settings name (DIZUO_HOME), opened with the first call and closed when the process ends; `home` picks another.
"""

import atexit
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from dizuo.core.documents import Answer, Document, SearchResult
from dizuo.core.errors import UserError
from dizuo.core.jobs import Job
from dizuo.knowledge.outcome import AddOutcome, outcome
from dizuo.platform import settings as settings_table
from dizuo.wiring import House

T = TypeVar("T")

_PAGE = 500


class _Houses:
    """The instances that this process has opened: one a home."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._working = threading.Lock()
        self._open: dict[Path, tuple[int, settings_table.Settings, House]] = {}

    def get(self, home: str | Path | None) -> House:
        """The opened instance of that home. Opens it anew after a fork, and when a setting has changed."""
        wanted = settings_table.load(os.environ, {"home": home}).values
        with self._lock:
            pid, settings, house = self._open.get(wanted.home, (0, None, None))
            if house is not None and pid == os.getpid():
                if settings == wanted:
                    return house
                house.close()
            house = House.open(home=wanted.home)
            self._open[wanted.home] = (os.getpid(), wanted, house)
            return house

    @contextmanager
    def at_work(self, house: House) -> Iterator[None]:
        """Within it, jobs of that house can be done here: a process is the worker of one home at a time."""
        with self._working:
            with self._lock:
                others = [home for home, (_pid, _settings, other) in self._open.items() if other is not house]
                for home in others:
                    self._close(home)
            yield

    def close(self) -> None:
        with self._lock:
            for home in list(self._open):
                self._close(home)

    def _close(self, home: Path) -> None:
        pid, _settings, house = self._open.pop(home)
        if pid == os.getpid():  # what a fork brought along is its parent's to close
            house.close()


_houses = _Houses()
atexit.register(_houses.close)


class Knowledge:
    """A knowledge base by name. It is made with the first documents that are added.

    >>> handbook = Knowledge("handbook")
    >>> handbook.add("docs/").added
    12
    """

    def __init__(self, name: str, *, home: str | Path | None = None) -> None:
        self.name = name
        self._home = home

    def __repr__(self) -> str:
        return f"Knowledge({self.name!r})"

    def add(self, *paths: str | Path) -> AddOutcome:
        """Adds files, folders and archives, waits until they are in, and returns what came of each.

        Raises NotFound for a path that does not exist, and UserError when nothing could be added. Interrupted
        (Ctrl-C), the job is cancelled; what is in stays in.
        """
        if not paths:
            raise UserError("Say what to add: Knowledge({name!r}).add('docs/')", name=self.name)
        house = self._house()
        return _finish(house, house.library.add(self.name, paths))

    def sync(self, folder: str | Path) -> AddOutcome:
        """Makes the knowledge base mirror a folder: new, changed and deleted files. Waits and raises as `add` does."""
        house = self._house()
        return _finish(house, house.library.sync(self.name, folder))

    def search(self, query: str, limit: int = 10, **filters: str) -> SearchResult:
        """Chunks that match, best first; `hits[0].legs` says why. `document="a.pdf"` and other filters narrow it.

        Raises NotFound when there is no such knowledge base.
        """
        house = self._house()
        app, user_id = f"knowledge/{self.name}", house.identity.owner().id
        with house.traces.traced("Knowledge.search", "python", app=app, user_id=user_id):
            return house.library.search(self.name, query, limit=limit, filters=filters or None)

    def documents(self) -> Sequence[Document]:
        """Every document, by name, with its parse report. Raises NotFound when there is no such knowledge base."""
        library = self._house().library
        found: list[Document] = []
        while page := library.documents(self.name, limit=_PAGE, offset=len(found)):
            found += page
        return found

    def remove(self, document: str | None = None) -> None:
        """Removes one document, by name or id, or the whole knowledge base, with every trace. Raises NotFound."""
        self._house().library.remove(self.name, document)

    def _house(self) -> House:
        return _houses.get(self._home)


def ask(question: str, *, knowledge: str | Knowledge, home: str | Path | None = None) -> Answer:
    """The answer that the documents give, with citations. `found` is False when they do not hold one.

    Raises NotFound when there is no such knowledge base, and ModelError when a configured model fails.
    """
    if isinstance(knowledge, Knowledge):
        house, name = _houses.get(home or knowledge._home), knowledge.name
    else:
        house, name = _houses.get(home), knowledge

    def answer() -> Answer:
        with house.traces.traced("dizuo.ask", "python", app=f"knowledge/{name}", user_id=house.identity.owner().id):
            return house.answerer.ask_blocking(name, question)

    return _aside(answer)


def _finish(house: House, job: Job) -> AddOutcome:
    with _houses.at_work(house):
        _aside(lambda: list(house.jobs.watch(job.id)), on_interrupt=lambda: house.jobs.cancel(job.id))
    result = outcome(house.jobs, job.id)
    result.raise_if_nothing_came_of_it()
    return result


def _aside(work: Callable[[], T], on_interrupt: Callable[[], object] | None = None) -> T:
    """The result of work, done in a thread of its own: what runs or forbids an event loop works in a notebook too.

    Ctrl-C comes to the calling thread; `on_interrupt` then asks the work to end, which is waited for.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="dizuo-face") as pool:
        future = pool.submit(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            if on_interrupt is not None:
                on_interrupt()
            raise
