"""The ledger: what each call of a model took, kept in the database and written a batch at a time."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from dizuo.core import traces
from dizuo.core.errors import DizuoError
from dizuo.core.messages import Usage
from dizuo.platform import schema
from dizuo.platform.database import Database

log = logging.getLogger(__name__)

CallKind = Literal["chat", "completion", "embedding", "rerank", "moderation", "image"]

_FLUSH_S = 0.1  # what a killed process loses of the ledger
_MOST_WAITING = 50_000  # rows in memory while the database cannot be written


@dataclass(slots=True)
class Call:
    """One call of a model while it goes on; whoever answers it fills in what it took."""

    kind: CallKind
    asked: str
    model: str = ""
    status: Literal["ok", "failed", "refused", "cancelled"] = "ok"
    error: str = ""
    cache: str = ""
    attempts: int = 1
    usage: Usage = field(default_factory=Usage)
    first_s: float | None = None


class Ledger:
    """Calls on their way into the table `calls`. Thread-safe; recording never waits for the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._wanted = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    @contextmanager
    def recorded(self, kind: CallKind, asked: str) -> Iterator[Call]:
        """Around a call of a model; an exception that leaves it is the call's end too."""
        call = Call(kind, asked, model=asked)
        began = time.perf_counter()
        try:
            yield call
        except DizuoError as error:
            call.status, call.error = ("failed" if error.status >= 500 else "refused"), error.code
            raise
        except Exception as error:
            call.status, call.error = "failed", type(error).__name__[:32]
            raise
        except BaseException:  # the caller has gone: a task that is cancelled, a stream that is closed
            call.status = "cancelled"
            raise
        finally:
            self._add(call, time.perf_counter() - began)

    def flush(self) -> None:
        """Writes what is waiting. What reads the table calls it first."""
        with self._writing:
            with self._lock:
                rows, self._waiting = self._waiting, []
            if not rows:
                return
            try:
                with self._database.write() as connection:
                    connection.execute(schema.calls.insert(), rows)
            except BaseException:
                with self._lock:
                    self._waiting = [*rows, *self._waiting][-_MOST_WAITING:]
                raise

    def close(self) -> None:
        """Writes what is waiting and ends the writer."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._wanted.set()
        if thread is not None:
            thread.join()
        self.flush()

    def _add(self, call: Call, total_s: float) -> None:
        trace = traces.current.get()
        row = {
            "trace_id": trace.id if trace else "",
            "at": schema.now(),
            "user_id": trace.user_id if trace else None,
            "key_id": trace.key_id if trace else None,
            "app": (trace.app if trace else "")[:128],
            "kind": call.kind,
            "asked": call.asked[:128],
            "model": call.model[:128],
            "status": call.status,
            "error": call.error,
            "cache": call.cache,
            "attempts": call.attempts,
            "prompt_tokens": call.usage.prompt_tokens,
            "completion_tokens": call.usage.completion_tokens,
            "cached_tokens": call.usage.cached_tokens,
            "cost": None,
            "currency": "USD",
            "cpu_s": call.usage.cpu_s,
            "first_s": call.first_s,
            "total_s": total_s,
        }
        with self._lock:
            self._waiting.append(row)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._write, name="dizuo-ledger", daemon=True)
                self._thread.start()
        self._wanted.set()

    def _write(self) -> None:
        while not self._closed:
            self._wanted.wait()
            time.sleep(_FLUSH_S)  # more will have come by then
            self._wanted.clear()
            try:
                self.flush()
            except Exception:
                log.exception("the ledger cannot be written; its rows wait")
                self._wanted.set()
                time.sleep(1)
