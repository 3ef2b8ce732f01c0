"""Search by meaning: faiss indexes in the process, derived from the vectors in the database."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from dizuo.core.protocols import Embedder
from dizuo.platform import schema

if TYPE_CHECKING:
    import numpy as np

KNOWN = 0.5  # share of a text's letters below which the embedder sees noise
_PAGE = 4096  # vectors read from the database at once


def embed_chunks(embedder: Embedder, texts: Sequence[str]) -> list[Any]:
    """A vector for each text, None where the embedder does not know what it is written in.

    A vector of noise would be near to some question or other and push out what answers it.
    """
    known = [i for i, text in enumerate(texts) if embedder.coverage(text) >= KNOWN]
    vectors: list[Any] = [None] * len(texts)
    if known:
        for i, vector in zip(known, embedder.embed([texts[i] for i in known]), strict=True):
            vectors[i] = vector
    return vectors


Stamp = tuple[str, int]
"""When a knowledge base was made and its version: two bases may have had the same id, one after the other."""


class VectorIndex:
    """The vectors of one knowledge base by one model. Hold `lock` while you use it."""

    def __init__(self, dimension: int) -> None:
        import faiss
        import numpy as np

        faiss.omp_set_num_threads(1)  # its threads wait by spinning, as PyTorch's do: see inference/encoder.py
        # Half precision: half the memory, and scores that differ in the fourth digit.
        kind = faiss.ScalarQuantizer.QT_fp16
        self._index = faiss.IndexScalarQuantizer(dimension, kind, faiss.METRIC_INNER_PRODUCT)
        self._rows = np.empty(0, dtype=np.int64)  # the chunk's row of each vector, in the index's order
        self._stamp: Stamp = ("", -1)  # of the knowledge base, when this index last agreed with it
        self.lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        return len(self._rows) * (self._index.code_size + 8)

    def catch_up(self, connection: sa.Connection, knowledge_id: int, model: str, stamp: Stamp) -> None:
        """Takes in what was added and lets go of what was removed since the last call.

        Rows are never numbered twice, so new ones are those past the last known; count and sum tell whether that
        was all. Where it was not (something was removed, or `repair` filled a gap) the row numbers are compared.
        """
        if stamp[0] == self._stamp[0] and stamp[1] <= self._stamp[1]:
            return  # in step, or ahead of a transaction that began before another thread's
        import faiss
        import numpy as np

        v = schema.vectors.c
        mine = (v.knowledge_id == knowledge_id) & (v.model == model)
        self._read(connection, mine, after=int(self._rows.max(initial=-1)))
        count, total = connection.execute(sa.select(sa.func.count(), sa.func.sum(v.row)).where(mine)).one()
        if (count, int(total or 0)) != (len(self._rows), int(self._rows.sum())):
            there = np.fromiter(connection.scalars(sa.select(v.row).where(mine)), dtype=np.int64)
            gone = np.flatnonzero(~np.isin(self._rows, there))
            if len(gone):
                self._index.remove_ids(faiss.IDSelectorBatch(gone))
                self._rows = np.delete(self._rows, gone)
            missing = np.setdiff1d(there, self._rows)
            for start in range(0, len(missing), 500):
                part = [int(row) for row in missing[start : start + 500]]
                self._read(connection, mine & v.row.in_(part), after=-1)
        self._stamp = stamp

    def _read(self, connection: sa.Connection, mine: Any, after: int) -> None:
        import numpy as np

        v = schema.vectors.c
        while True:
            wanted = sa.select(v.row, v.vector).where(mine, v.row > after).order_by(v.row).limit(_PAGE)
            page = connection.execute(wanted).all()
            if not page:
                return
            block = np.frombuffer(b"".join(row.vector for row in page), dtype="<f4")
            self._index.add(block.reshape(len(page), self._index.d))
            self._rows = np.append(self._rows, np.array([row.row for row in page], dtype=np.int64))
            after = page[-1].row

    def search(self, query: "np.ndarray", limit: int, only: Sequence[int] | None) -> list[tuple[int, float]]:
        """(row, cosine) of the nearest vectors, nearest first; `only` names the rows that may be found."""
        import faiss
        import numpy as np

        parameters = None
        if only is not None:
            positions = np.flatnonzero(np.isin(self._rows, np.fromiter(only, dtype=np.int64)))
            selector = faiss.IDSelectorBatch(positions)
            parameters = faiss.SearchParameters(sel=selector)  # pyright: ignore[reportCallIssue]
        scores, places = self._index.search(query[None, :], limit, params=parameters)
        found = places[0] >= 0
        return list(zip(self._rows[places[0][found]].tolist(), scores[0][found].tolist(), strict=True))

    def scores(self, query: "np.ndarray", rows: Sequence[int]) -> dict[int, float]:
        """The cosine of each of these rows that has a vector."""
        import numpy as np

        places = np.flatnonzero(np.isin(self._rows, np.fromiter(rows, dtype=np.int64)))
        if not len(places):
            return {}
        near = self._index.reconstruct_batch(places) @ query
        return dict(zip(self._rows[places].tolist(), near.tolist(), strict=True))


class VectorIndexes:
    """The indexes that were searched last, as many as fit into the memory bound, and one at least. Thread-safe."""

    def __init__(self, max_bytes: int = 1 << 30) -> None:
        """At 384 half-precision numbers a vector, a gibibyte holds 1.4 million of them."""
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._indexes: OrderedDict[tuple[int, str], VectorIndex] = OrderedDict()

    def search(
        self,
        connection: sa.Connection,
        knowledge_id: int,
        stamp: Stamp,
        embedder: Embedder,
        query: "np.ndarray",
        limit: int,
        only: Sequence[int] | None = None,
        also: Sequence[int] = (),
    ) -> tuple[list[tuple[int, float]], dict[int, float]]:
        """The nearest chunks as (row, cosine), nearest first, and the cosine of each row in `also` that has a vector.

        `stamp` is the knowledge base's own, as `connection` sees it.
        """
        key = (knowledge_id, embedder.name)
        with self._lock:
            index = self._indexes.setdefault(key, VectorIndex(embedder.dimension))
            self._indexes.move_to_end(key)
        with index.lock:
            index.catch_up(connection, knowledge_id, embedder.name, stamp)
            found = index.search(query, limit, only), index.scores(query, also)
        with self._lock:
            while len(self._indexes) > 1 and sum(i.size_bytes for i in self._indexes.values()) > self._max_bytes:
                self._indexes.popitem(last=False)
        return found
