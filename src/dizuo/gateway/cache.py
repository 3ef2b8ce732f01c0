"""Answers that are kept: found by the same question, the same but for how it is written, or one that asks the same.

The table is the truth. What makes finding quick, the vectors of a scope in one matrix, is made from it and follows what
other processes write. A question is compared with the others of its scope: the same person, model, conversation,
options and state of the knowledge.
"""

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa
from pydantic import TypeAdapter

from dizuo.core.errors import NotFound
from dizuo.core.events import Event, Served
from dizuo.core.messages import Noun
from dizuo.core.once import once
from dizuo.core.protocols import Embedder
from dizuo.gateway.agreement import Lexicon, language_of
from dizuo.gateway.verifier import MOST_CHARACTERS, Verifier, View
from dizuo.gateway.writing import normalised
from dizuo.platform import schema
from dizuo.platform.database import Database

Policy = Literal["off", "exact", "semantic"]
Kind = Literal["exact", "normalised", "semantic"]

_VERSION = 1  # of what a scope is made of: another makes all that is kept unfindable
_CANDIDATES = 8  # nearest questions that the verifier reads
_SCOPES = 256  # whose vectors stay in memory
_MOST_OF_SCOPE = 20_000  # questions of one scope that are compared: the latest
_TOUCH_S = 60  # an entry's use is noted at most this often: a hit should not have to wait for the database's writer
_TRIM_EVERY = 32  # answers kept between two looks at the size limit
_PART = 500  # values in one IN (…)
_SHOWN = 200  # characters of a question in a list
_NEAR = 0.5  # cosine below which nothing is worth reading

# Built once: putting a statement together takes longer than running it.
_OF_SCOPE = schema.cache_entries.c.scope == sa.bindparam("in_scope")
_ALIVE = sa.select(schema.cache_entries).where(_OF_SCOPE, schema.cache_entries.c.expires_at > sa.bindparam("now"))
_EXACT = schema.cache_entries.c.exact == sa.bindparam("as_given")
_SAME = (
    _ALIVE.where(_EXACT | (schema.cache_entries.c.normalised == sa.bindparam("as_written")))
    .order_by(sa.case((_EXACT, 0), else_=1), schema.cache_entries.c.id.desc())
    .limit(1)
)
_ONE = _ALIVE.where(schema.cache_entries.c.id == sa.bindparam("entry"))
_SEEN = sa.select(sa.func.max(schema.cache_entries.c.id), sa.func.count()).where(_OF_SCOPE)

_events: TypeAdapter[list[Event]] = TypeAdapter(list[Event])


@dataclass(frozen=True)
class Question:
    """What is asked of a model. `around`: all that must be the same for an answer to fit, the question apart."""

    model: str
    around: str
    text: str
    wording: bool = True  # whether another wording may be given its answer

    @property
    def knowledge(self) -> str:
        """The knowledge base that answers it, or ""."""
        return self.model.removeprefix("knowledge/") if self.model.startswith("knowledge/") else ""


@dataclass(frozen=True)
class Found:
    """A kept answer that fits."""

    kind: Kind
    score: float  # how sure it is that the question is the same: 1, or the verifier's chance
    age_s: float
    model: str  # that gave the answer
    events: Sequence[Event]


class CacheEntry(Noun):
    """A kept answer as lists show it."""

    id: int
    model: str
    question: str
    language: str
    size_bytes: int
    created_at: datetime
    expires_at: datetime
    hits: int
    documents: int  # that it cites


class CacheUse(Noun):
    """What is kept, and how calls of this instance met it."""

    policy: Policy
    entries: int
    size_bytes: int
    limit_bytes: int
    calls: int  # chats that went well since the ledger began
    hits: dict[str, int]  # by kind


@dataclass
class _Scope:
    """The questions of a scope that can be compared, in memory."""

    seen: tuple[int, int] = (0, 0)  # highest id and number of rows when it was read
    ids: list[int] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    rows: list[np.ndarray] = field(default_factory=list)
    matrix: np.ndarray | None = None  # (N, dimension)


class Cache:
    """The kept answers of an instance. Blocking: call from a thread. Safe to use from several threads and processes."""

    def __init__(
        self,
        database: Database,
        embedder: Callable[[], Embedder | None],
        lexicon: Lexicon,
        *,
        policy: Policy,
        ttl_s: int,
        limit_mb: int,
    ) -> None:
        """`embedder` is given as a function, so that whoever needs none loads none."""
        self.policy: Policy = policy
        self._database = database
        self._embedder = embedder
        self._lexicon = lexicon
        self._ttl_s = ttl_s
        self._limit_bytes = limit_mb << 20
        self._scopes: OrderedDict[str, _Scope] = OrderedDict()
        self._lock = threading.Lock()
        self._kept = 0

    @once
    def _verifier(self) -> Verifier:
        return Verifier(self._lexicon)

    # --- finding ----------------------------------------------------------------------------------------------

    def find(self, question: Question) -> Found | None:
        """The kept answer to this question: the same, the same but for its writing, or one that asks the same."""
        exact, written = _digest(question.text), self._written(question)
        with self._database.read() as connection:
            scope = _scope(question, self._version(connection, question))
            alive = {"in_scope": scope, "now": schema.now()}
            row = connection.execute(_SAME, {**alive, "as_given": exact, "as_written": written}).first()
            kind: Kind = "exact" if row is not None and row.exact == exact else "normalised"
            score = 1.0
            if row is None and self.policy == "semantic" and question.wording:
                known = self._scope_of(connection, scope)
                near = self._nearest(known, question.text)
                if near is not None:
                    kind, score = "semantic", near[1]
                    row = connection.execute(_ONE, {**alive, "entry": near[0]}).first()
        if row is None:
            return None
        self._note_use(row)
        kept = _events.validate_python(row.events)
        served = [event for event in kept if isinstance(event, Served)]
        return Found(
            kind,
            score,
            _seconds_since(row.created_at),
            served[0].model if served else row.model,
            [event for event in kept if not isinstance(event, Served)],
        )

    def _nearest(self, known: _Scope, text: str) -> tuple[int, float] | None:
        """Id and score of the kept question that asks the same."""
        if not known.ids or len(text) > MOST_CHARACTERS:
            return None
        verifier = self._verifier
        asked = verifier.view(text)
        if not asked.comparable:
            return None
        vector = self._vector(text)
        if vector is not None and known.matrix is not None:
            near = known.matrix @ vector
        else:
            near = np.array([verifier.likeness(asked, other) for other in known.views])
        best: tuple[int, float] | None = None
        for position in np.argsort(-near)[:_CANDIDATES]:
            if near[position] < (_NEAR if vector is not None else verifier.LEAST_LIKENESS):
                break
            judged = verifier.judge(asked, known.views[position], float(near[position]) if vector is not None else None)
            if judged.same and (best is None or judged.chance > best[1]):
                best = known.ids[position], judged.chance
        return best

    def _written(self, question: Question) -> str:
        return _digest(normalised(question.text, self._lexicon.fold))

    def _vector(self, text: str) -> np.ndarray | None:
        """The question's vector; None where the embedder does not know its language."""
        embedder = self._embedder()
        if embedder is None or embedder.coverage(text) < 0.5:
            return None
        return embedder.embed([text])[0]

    def _scope_of(self, connection: sa.Connection, scope: str) -> _Scope:
        """The questions of a scope, brought up to date with what this and other processes have written."""
        table = schema.cache_entries.c
        highest, count = connection.execute(_SEEN, {"in_scope": scope}).one()
        seen = (highest or 0, count)
        with self._lock:
            known = self._scopes.get(scope)
            if known is not None and known.seen == seen:
                self._scopes.move_to_end(scope)
                return known
        base = known if known is not None and known.seen[1] + 1 == count and known.seen[0] < seen[0] else _Scope()
        rows = connection.execute(
            sa.select(table.id, table.question, table.embedder, table.vector)
            .where(table.scope == scope, table.id > base.seen[0])
            .order_by(table.id.desc())
            .limit(_MOST_OF_SCOPE)
        ).all()
        read = self._extended(base, list(reversed(rows)), seen)
        with self._lock:
            self._scopes[scope] = read
            self._scopes.move_to_end(scope)
            while len(self._scopes) > _SCOPES:
                self._scopes.popitem(last=False)
        return read

    def _extended(self, base: _Scope, rows: Sequence[Any], seen: tuple[int, int]) -> _Scope:
        verifier, embedder = self._verifier, self._embedder()
        width = embedder.dimension if embedder is not None else 0
        read = _Scope(seen, list(base.ids), list(base.views), list(base.rows))
        for row in rows:
            if len(row.question) > MOST_CHARACTERS:
                continue
            view = verifier.view(row.question)
            if not view.comparable:
                continue
            fits = embedder is not None and row.vector is not None and row.embedder == embedder.name
            read.ids.append(row.id)
            read.views.append(view)
            # Without a vector it is like none; questions of its language are compared by their words.
            read.rows.append(np.frombuffer(row.vector, "<f4") if fits and row.vector else np.zeros(width, np.float32))
        read.matrix = np.stack(read.rows) if read.rows and width else None
        return read

    def _note_use(self, row: Any) -> None:
        table = schema.cache_entries
        if _seconds_since(row.used_at) < _TOUCH_S and row.hits:
            return
        with self._database.write() as connection:
            connection.execute(
                table.update().where(table.c.id == row.id).values(used_at=schema.now(), hits=table.c.hits + 1)
            )

    # --- keeping ----------------------------------------------------------------------------------------------

    def version(self, question: Question) -> str:
        """The state of the knowledge that an answer would stand on. Read before the answer is made, given to `keep`."""
        if not question.knowledge:
            return ""
        with self._database.read() as connection:
            return self._version(connection, question)

    @staticmethod
    def _version(connection: sa.Connection, question: Question) -> str:
        table = schema.knowledge.c
        if not question.knowledge:
            return ""
        row = connection.execute(
            sa.select(table.id, table.version, table.created_at).where(table.name == question.knowledge)
        ).first()
        return f"{row.id} {row.version} {row.created_at}" if row is not None else "gone"

    def keep(self, question: Question, version: str, events: Sequence[Event], documents: Iterable[str]) -> None:
        """Keeps an answer, in place of an earlier one to the same question.

        Not where the knowledge changed while it was made: it may stand on what is there no longer.
        """
        table = schema.cache_entries
        scope = _scope(question, version)
        vector = self._vector(question.text) if self.policy == "semantic" and question.wording else None
        embedder = self._embedder() if vector is not None else None
        now = datetime.now(UTC)
        told = [event.model_dump(mode="json") for event in events]
        size = len(json.dumps(told, ensure_ascii=False).encode()) + len(question.text.encode())
        row = {
            "scope": scope,
            "exact": _digest(question.text),
            "normalised": self._written(question),
            "model": question.model[:128],
            "question": question.text,
            "language": language_of(question.text),
            "embedder": embedder.name if embedder is not None else "",
            "vector": vector.astype("<f4").tobytes() if vector is not None else None,
            "events": told,
            "size_bytes": size + (vector.nbytes if vector is not None else 0),
            "created_at": now.isoformat(timespec="microseconds"),
            "expires_at": (now + timedelta(seconds=self._ttl_s)).isoformat(timespec="microseconds"),
            "used_at": now.isoformat(timespec="microseconds"),
            "hits": 0,
        }
        if row["size_bytes"] > self._limit_bytes:
            return
        with self._database.write() as connection:
            if self._version(connection, question) != version:
                return
            connection.execute(table.delete().where(table.c.scope == scope, table.c.exact == row["exact"]))
            entry = connection.execute(table.insert().values(row)).inserted_primary_key
            assert entry is not None
            if cited := sorted(set(documents)):
                connection.execute(
                    schema.cache_sources.insert(), [{"entry_id": entry[0], "document_id": one} for one in cited]
                )
        self._kept += 1
        if self._kept % _TRIM_EVERY == 1:
            self.trim()

    def trim(self) -> int:
        """Deletes what is past its time, and what was used longest ago until the rest fits; how many."""
        table = schema.cache_entries
        with self._database.write() as connection:
            gone = connection.execute(table.delete().where(table.c.expires_at <= schema.now())).rowcount
            total = connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(table.c.size_bytes), 0))) or 0
            if total <= self._limit_bytes:
                return gone
            victims: list[int] = []
            oldest = sa.select(table.c.id, table.c.size_bytes).order_by(table.c.used_at, table.c.id)
            for row in connection.execute(oldest):
                # A tenth below the limit, so that this is not to be done again at the next answer.
                if total <= self._limit_bytes * 0.9:
                    break
                victims.append(row.id)
                total -= row.size_bytes
            _delete(connection, victims)
        return gone + len(victims)

    # --- looking after it -------------------------------------------------------------------------------------

    def entries(self, limit: int = 50, offset: int = 0) -> Sequence[CacheEntry]:
        """What is kept, the latest first."""
        table, sources = schema.cache_entries.c, schema.cache_sources.c
        cited = sa.select(sa.func.count()).where(sources.entry_id == table.id).scalar_subquery()
        columns = [table[name] for name in CacheEntry.model_fields if name != "documents"]
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(*columns, cited.label("documents"))
                .where(table.expires_at > schema.now())
                .order_by(table.id.desc())
                .limit(limit)
                .offset(offset)
            ).all()
        return [CacheEntry(**{**row._mapping, "question": row.question[:_SHOWN]}) for row in rows]

    def clear(self, model: str = "", entry: int | None = None) -> int:
        """Deletes what is kept: all, of one model, or one entry; how many. Raises NotFound for no such entry."""
        table = schema.cache_entries
        chosen = table.delete()
        if entry is not None:
            chosen = chosen.where(table.c.id == entry)
        if model:
            chosen = chosen.where(table.c.model == model)
        with self._database.write() as connection:
            gone = connection.execute(chosen).rowcount
        if entry is not None and not gone:
            raise NotFound("No kept answer has the id {entry}. List them: dizuo cache list", entry=entry)
        return gone

    def use(self) -> CacheUse:
        """What is kept, and how often it answered."""
        table, calls = schema.cache_entries.c, schema.calls.c
        with self._database.read() as connection:
            entries, size = connection.execute(
                sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(table.size_bytes), 0)).where(
                    table.expires_at > schema.now()
                )
            ).one()
            counted = connection.execute(
                sa.select(calls.cache, sa.func.count())
                .where(calls.kind == "chat", calls.status == "ok")
                .group_by(calls.cache)
            ).all()
        by_kind = {kind: n for kind, n in counted if kind}
        return CacheUse(
            policy=self.policy,
            entries=entries,
            size_bytes=size,
            limit_bytes=self._limit_bytes,
            calls=sum(n for _kind, n in counted),
            hits=by_kind,
        )


def forget_documents(connection: sa.Connection, documents: Sequence[str]) -> None:
    """Deletes every kept answer that cites one of these, inside the transaction that changes or removes them."""
    sources = schema.cache_sources.c
    for start in range(0, len(documents), _PART):
        part = documents[start : start + _PART]
        _delete(connection, connection.scalars(sa.select(sources.entry_id).where(sources.document_id.in_(part))).all())


def _delete(connection: sa.Connection, ids: Sequence[int]) -> None:
    table = schema.cache_entries
    for start in range(0, len(ids), _PART):
        connection.execute(table.delete().where(table.c.id.in_(ids[start : start + _PART])))


def _scope(question: Question, version: str) -> str:
    return _digest(f"{_VERSION}\n{version}\n{question.around}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _seconds_since(moment: str) -> float:
    return max(0.0, time.time() - datetime.fromisoformat(moment).timestamp())
