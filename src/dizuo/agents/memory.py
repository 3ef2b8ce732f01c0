"""What agents remember of a user: facts about the person and the work, and how earlier runs went.

Found by relevance, recency and importance together (Park et al. 2023, "Generative Agents", section 4.1,
https://arxiv.org/abs/2304.03442). A fact is about something, and a new one about the same takes its place, so that
contradictions do not pile up. All of a memory is one row: what is deleted is gone, its vector with it.
"""

import math
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa

from dizuo.core.errors import NotFound, UserError
from dizuo.core.messages import Noun
from dizuo.core.protocols import Embedder
from dizuo.platform import schema
from dizuo.platform.database import Database

MemoryKind = Literal["fact", "episode"]

MOST_CHARACTERS = 2000
MOST_MEMORIES = 5000  # of a user; beyond it the least used and oldest go
HALF_LIFE_DAYS = 30.0  # after which a memory that was not used counts half as recent
_RELEVANCE, _RECENCY, _IMPORTANCE = 1.0, 0.3, 0.3  # relevance leads: an important memory of another matter is no use
LEAST_RELEVANCE = 0.25
_memories = schema.memories


class Memory(Noun):
    """One thing remembered. `about` is what a fact is about; `source` the run that it comes from, or "" for a person;
    `confidence` and `importance` from 0 to 1."""

    id: int
    kind: MemoryKind
    about: str
    text: str
    source: str
    confidence: float
    importance: float
    created_at: datetime
    used_at: datetime
    score: float = 0.0  # of a memory that was looked for


class Memories:
    """The memories of every user. Another user's are not found. Blocking; safe between processes."""

    def __init__(
        self, database: Database, embedder: Callable[[], Embedder | None], terms: Callable[[str], Sequence[str]]
    ) -> None:
        """`terms` splits a text into what it can be found by, in both languages; without an embedder that is all."""
        self._database = database
        self._embedder = embedder
        self._terms = terms

    def remember(
        self,
        user_id: int,
        text: str,
        *,
        about: str = "",
        kind: MemoryKind = "fact",
        source: str = "",
        confidence: float = 1.0,
        importance: float = 0.5,
    ) -> Memory:
        """Keeps a text; a fact takes the place of the one about the same. Raises UserError for one that says nothing
        or too much, and for a fact that says not what it is about.
        """
        text, about = text.strip(), _key(about)
        if not text:
            raise UserError("There is nothing to remember.", param="text")
        if len(text) > MOST_CHARACTERS or len(about) > 100:
            raise UserError("A memory has at most {limit} characters.", limit=MOST_CHARACTERS, param="text")
        if kind == "fact" and not about:
            raise UserError("Say what the fact is about, in a few words.", param="about")
        at = schema.now()
        values = {
            "kind": kind,
            "about": about,
            "text": schema.storable(text),
            "source": source,
            "confidence": min(1.0, max(0.0, confidence)),
            "importance": min(1.0, max(0.0, importance)),
            "created_at": at,
            "used_at": at,
            **self._vector(labelled(about, text)),
        }
        with self._database.write() as connection:
            same = (_memories.c.user_id == user_id) & (_memories.c.kind == "fact") & (_memories.c.about == about)
            if kind == "fact":
                connection.execute(_memories.delete().where(same))
            made = connection.execute(_memories.insert().values(user_id=user_id, **values).returning(_memories.c.id))
            memory_id = made.scalar_one()
            self._forget_the_least(connection, user_id)
        return self.get(user_id, memory_id)

    def recall(self, user_id: int, query: str, limit: int = 5) -> Sequence[Memory]:
        """What is remembered of a matter, the best first; it counts as used. Nothing where nothing fits."""
        embedder = self._embedder()
        wanted = set(self._terms(query))
        asked = embedder.embed([query])[0] if embedder is not None and _reads(embedder, query) else None
        with self._database.read() as connection:
            rows = connection.execute(_memories.select().where(_memories.c.user_id == user_id)).all()
        now = datetime.now(UTC)
        found = []
        for row in rows:
            relevance = self._relevance(row, wanted, asked, embedder)
            if relevance < LEAST_RELEVANCE:
                continue
            days = (now - datetime.fromisoformat(row.used_at)).total_seconds() / 86400
            recency = math.exp(-math.log(2) * days / HALF_LIFE_DAYS)
            score = _RELEVANCE * relevance + _RECENCY * recency + _IMPORTANCE * row.importance * row.confidence
            found.append(_memory(row, score))
        best = sorted(found, key=lambda one: (-one.score, one.id))[:limit]
        if best:
            with self._database.write() as connection:
                used = _memories.update().where(_memories.c.id.in_([one.id for one in best]))
                connection.execute(used.values(used_at=schema.now()))
        return best

    def list(self, user_id: int, limit: int = 1000) -> Sequence[Memory]:
        """All of a user, the latest first."""
        rows = _memories.select().where(_memories.c.user_id == user_id)
        with self._database.read() as connection:
            latest = connection.execute(
                rows.order_by(_memories.c.created_at.desc(), _memories.c.id.desc()).limit(limit)
            )
            return [_memory(row) for row in latest]

    def get(self, user_id: int, memory_id: int) -> Memory:
        """One memory. Raises NotFound."""
        return _memory(self._row(user_id, memory_id))

    def edit(self, user_id: int, memory_id: int, text: str) -> Memory:
        """Says it otherwise; a person's word is certain. Raises NotFound, and what `remember` raises."""
        row = self._row(user_id, memory_id)
        text = text.strip()
        if not text or len(text) > MOST_CHARACTERS:
            raise UserError("A memory has 1 to {limit} characters.", limit=MOST_CHARACTERS, param="text")
        values = {
            "text": schema.storable(text),
            "confidence": 1.0,
            "source": "",
            **self._vector(labelled(row.about, text)),
        }
        with self._database.write() as connection:
            connection.execute(_memories.update().where(_memories.c.id == memory_id).values(values))
        return self.get(user_id, memory_id)

    def forget(self, user_id: int, memory_id: int) -> None:
        """Deletes one, and all that was made of it. Raises NotFound."""
        self._row(user_id, memory_id)
        with self._database.write() as connection:
            connection.execute(_memories.delete().where(_memories.c.id == memory_id))

    def forget_all(self, user_id: int) -> int:
        """Deletes everything that is remembered of a user; how many."""
        with self._database.write() as connection:
            return connection.execute(_memories.delete().where(_memories.c.user_id == user_id)).rowcount

    # ----------------------------------------------------------------------------------------------------------

    def _row(self, user_id: int, memory_id: int) -> Any:
        mine = (_memories.c.id == memory_id) & (_memories.c.user_id == user_id)
        with self._database.read() as connection:
            row = connection.execute(_memories.select().where(mine)).first()
        if row is None:
            raise NotFound("There is no memory {id}. To see those there are: dizuo memory list", id=memory_id)
        return row

    def _vector(self, text: str) -> dict[str, Any]:
        embedder = self._embedder()
        if embedder is None or not _reads(embedder, text):
            return {"embedder": "", "vector": None}
        vector = np.asarray(embedder.embed([text])[0], dtype=np.float32)
        return {"embedder": embedder.name, "vector": vector.tobytes()}

    def _relevance(self, row: Any, wanted: set[str], asked: Any, embedder: Embedder | None) -> float:
        """0 to 1: the better of the words that both have, and the cosine of their vectors."""
        words = set(self._terms(f"{row.about} {row.text}"))
        shared = len(wanted & words) / math.sqrt(len(wanted) * len(words)) if wanted and words else 0.0
        if embedder is None or asked is None or row.vector is None or row.embedder != embedder.name:
            return shared
        return max(shared, float(np.frombuffer(row.vector, dtype=np.float32) @ asked))

    @staticmethod
    def _forget_the_least(connection: sa.Connection, user_id: int) -> None:
        mine = _memories.c.user_id == user_id
        over = (connection.scalar(sa.select(sa.func.count()).where(mine)) or 0) - MOST_MEMORIES
        if over > 0:
            least = sa.select(_memories.c.id).where(mine).order_by(_memories.c.used_at, _memories.c.id).limit(over)
            connection.execute(_memories.delete().where(_memories.c.id.in_(least)))


def _reads(embedder: Embedder, text: str) -> bool:
    return embedder.coverage(text) >= 0.5  # below it a text is noise to the model (core.protocols.Embedder)


def labelled(about: str, text: str) -> str:
    """A memory as one text: what it is about, if it is said, and what it says."""
    return f"{about}: {text}" if about else text


def _key(about: str) -> str:
    """What a fact is about, however it is written: case, widths and spaces do not make another matter of it."""
    return " ".join(unicodedata.normalize("NFKC", about).casefold().split())


def _memory(row: Any, score: float = 0.0) -> Memory:
    found = {name: getattr(row, name) for name in Memory.model_fields if name != "score"}
    return Memory(**found, score=score)
