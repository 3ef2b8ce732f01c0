"""The ledger: what each call of a model took, kept in the database and written a batch at a time."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from dizuo.core import traces
from dizuo.core.errors import DizuoError
from dizuo.core.messages import Usage
from dizuo.platform import schema
from dizuo.platform.batched import Batched
from dizuo.platform.database import Database

CallKind = Literal[
    "chat", "completion", "embedding", "rerank", "moderation", "image", "classification", "reading", "translation",
    "indexing",  # vectors that nobody asked for by name: of documents that come in, of questions that are looked up
]  # fmt: skip


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
    estimated: bool = False  # the tokens, since nobody reported them
    whole: bool = False  # its end was said: whoever leaves then has missed nothing
    unpriced: bool = False  # it cost more than its tokens tell, such as a picture
    first_s: float | None = None


Row = Mapping[str, Any]
"""A call as the table keeps it."""


class Ledger:
    """Calls on their way into the table `calls`. Thread-safe; recording never waits for the database."""

    def __init__(
        self,
        database: Database,
        price: Callable[[str, Usage], tuple[float | None, str]] = lambda _model, _usage: (None, "USD"),
        heard: Callable[[Row], None] = lambda _row: None,
    ) -> None:
        """`price` says what a call of a model costs and in which currency; `heard` gets each row as it is made."""
        self._database = database
        self._price = price
        self._heard = heard
        self._rows = Batched("ledger", self._write)

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
            if call.status == "ok" and not call.whole:
                call.status = "cancelled"
            raise
        finally:
            self._add(call, time.perf_counter() - began)

    def flush(self) -> None:
        """Writes what is waiting. What reads the table calls it first."""
        self._rows.flush()

    def close(self) -> None:
        """Writes what is waiting and ends the writer."""
        self._rows.close()

    def _add(self, call: Call, total_s: float) -> None:
        trace, usage = traces.current.get(), call.usage
        cost, currency = self._price(call.model, usage)
        if call.unpriced:
            cost = None
        elif call.cache or not call.attempts or not (usage.total_tokens or usage.cpu_s):
            cost = 0.0  # nobody was asked, or nothing was done
        row: dict[str, Any] = {
            "trace_id": trace.id if trace else "",
            "at": schema.now(),
            "user_id": trace.user_id if trace else None,
            "key_id": trace.key_id if trace else None,
            # One row that cannot be written would keep all others waiting.
            "app": schema.storable(trace.app if trace else "")[:128],
            "kind": call.kind,
            "asked": schema.storable(call.asked)[:128],
            "model": schema.storable(call.model)[:128],
            "status": call.status,
            "error": schema.storable(call.error)[:32],
            "cache": call.cache,
            "attempts": call.attempts,
            "prompt_tokens": min(usage.prompt_tokens, schema.LARGEST),
            "completion_tokens": min(usage.completion_tokens, schema.LARGEST),
            "cached_tokens": min(usage.cached_tokens, schema.LARGEST),
            "estimated": call.estimated,
            "cost": cost,
            "currency": currency,
            "cpu_s": usage.cpu_s,
            "first_s": call.first_s,
            "total_s": total_s,
        }
        self._rows.add(row)
        self._heard(row)

    def _write(self, rows: list[dict[str, Any]]) -> None:
        with self._database.write() as connection:
            connection.execute(schema.calls.insert(), rows)
