"""Keyword search: BM25 over the terms that `analyze` makes, on SQLite's FTS5 or PostgreSQL's tsvector.

Both rank by the formula of FTS5, constants and all (Robertson and Zaragoza 2009, "The Probabilistic Relevance
Framework", k1 = 1.2, b = 0.75). How rare a term is, is counted over all knowledge bases together: FTS5 can do no
other, and for a small base it is the better estimate.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from dizuo.knowledge.analyze import query_terms, single_characters, terms
from dizuo.platform import schema
from dizuo.platform.database import Database

_K1, _B = 1.2, 0.75
# A query's characters and terms past these are not looked for; a pasted page must not cost seconds.
_MAX_QUERY = 4_000
_MAX_TERMS = 96
# FTS5 gives a term that more than half of the chunks hold no weight at all. With few chunks that is most terms, so
# up to this many the weight is log(1 + …), which never falls to zero, and is reckoned here.
_FEW = 100

# PostgreSQL has no function for how often a lexeme stands in a tsvector, and unnesting every candidate costs 1 µs a
# lexeme. But ts_rank of one lexeme is, by its definition, the sum of 1/j² up to its count, over π²/6: it tells the
# count, exactly as far as a float4 can (counts above 40 are taken for 40, where BM25 has long levelled off).
_RANK_OF_COUNT = [sum(1 / j**2 for j in range(1, n + 1)) / 1.64493406685 for n in range(1, 41)]
_BETWEEN_COUNTS = [0.0] + [(a + b) / 2 for a, b in pairwise(_RANK_OF_COUNT)]

_entries = sa.table("chunk_terms", sa.column("rowid"), sa.column("row"), sa.column("scope"), sa.column("terms"))

# Made once: SQLAlchemy takes about as long to make a statement as SQLite to run it.
_PAST = sa.select(_entries.c.rowid).limit(1).offset(sa.bindparam("few"))  # a row only where there are more
_rank = sa.literal_column("bm25(chunk_terms, 0.0, 1.0)").label("rank")  # lower is better; the scope weighs nothing
_MATCHING = (
    sa.select(_entries.c.rowid, _rank)
    .where(sa.literal_column("chunk_terms").op("MATCH")(sa.bindparam("match")))
    .order_by(_rank, _entries.c.rowid)
    .limit(sa.bindparam("limit"))
)


class KeywordIndex:
    """The terms of every chunk. What it holds comes and goes with the chunks, in the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._sqlite = database.is_sqlite
        self._key = _entries.c.rowid if self._sqlite else _entries.c.row

    # --- keeping ----------------------------------------------------------------------------------------------

    def add(self, connection: sa.Connection, entries: Sequence[tuple[int, int, str]]) -> None:
        """New chunks, as (row, knowledge id, what `entry_of` makes of the text)."""
        if not entries:
            return
        if self._sqlite:
            insert = "INSERT INTO chunk_terms (rowid, scope, terms) VALUES (:row, :scope, :terms)"
            values = [{"row": row, "scope": _scope(base), "terms": entry} for row, base, entry in entries]
        else:
            insert = (
                "INSERT INTO chunk_terms (row, knowledge_id, terms, length) "
                "VALUES (:row, :base, CAST(:terms AS tsvector), :length)"
            )
            values = [
                {"row": row, "base": base, "terms": _tsvector(entry.split()), "length": len(entry.split())}
                for row, base, entry in entries
            ]
        connection.execute(sa.text(insert), values)

    def remove(self, connection: sa.Connection, rows: Sequence[int]) -> None:
        """Chunks that go."""
        if rows:
            gone = _entries.delete().where(self._key == sa.bindparam("gone"))
            connection.execute(gone, [{"gone": row} for row in rows])

    def check(self, connection: sa.Connection) -> bool:
        """Whether every chunk has its entry, nothing else has one, and the database finds its index whole."""
        if self._sqlite:
            try:
                with connection.begin_nested():
                    connection.exec_driver_sql("INSERT INTO chunk_terms(chunk_terms) VALUES('integrity-check')")
            except DatabaseError:
                return False
        return in_step(connection)

    def rebuild(self, connection: sa.Connection, text_of: Callable[[str, str], str]) -> None:
        """Makes the index again from the chunks; `text_of` joins a heading and a text as they were when added."""
        if self._sqlite:  # a damaged index may not let its rows be deleted one by one
            made_by = connection.scalar(sa.text("SELECT sql FROM sqlite_master WHERE name = 'chunk_terms'"))
            connection.exec_driver_sql("DROP TABLE chunk_terms")
            connection.exec_driver_sql(str(made_by))
        else:
            connection.execute(_entries.delete())
        c = schema.chunks.c
        page = sa.select(c.row, c.knowledge_id, c.heading, c.text).order_by(c.row).limit(500)
        last = 0
        while rows := connection.execute(page.where(c.row > last)).all():
            entries = [(row.row, row.knowledge_id, entry_of(text_of(row.heading, row.text))) for row in rows]
            self.add(connection, entries)
            last = rows[-1].row

    # --- finding ----------------------------------------------------------------------------------------------

    def search(
        self, connection: sa.Connection, knowledge_id: int, query: str, limit: int, only: sa.Select[Any] | None = None
    ) -> list[tuple[int, float]]:
        """(row, BM25 score) of the chunks that hold any term of the query, best first.

        `only` selects the rows that may be found. No query is an error: what is no term is passed over.
        """
        whole, prefixes = query_terms(query[:_MAX_QUERY])
        found = self._search(connection, knowledge_id, whole[:_MAX_TERMS], prefixes[:_MAX_TERMS], limit, only)
        if found:
            return found
        singles = single_characters(query[:_MAX_QUERY])[:_MAX_TERMS]
        return self._search(connection, knowledge_id, [], singles, limit, only)

    def _search(
        self,
        connection: sa.Connection,
        knowledge_id: int,
        whole: Sequence[str],
        prefixes: Sequence[str],
        limit: int,
        only: sa.Select[Any] | None,
    ) -> list[tuple[int, float]]:
        if not whole and not prefixes:
            return []
        if not self._sqlite:
            return _search_postgres(connection, knowledge_id, whole, prefixes, limit, only)
        if connection.scalar(_PAST, {"few": _FEW}) is not None:
            return _search_fts5(connection, knowledge_id, whole, prefixes, limit, only)
        few = connection.execute(sa.select(_entries.c.rowid, _entries.c.scope, _entries.c.terms)).all()
        found = _search_few([(row, scope, held.split()) for row, scope, held in few], whole, prefixes)
        allowed = None if only is None else set(connection.scalars(only))
        mine = [
            (row, score)
            for row, scope, score in found
            if scope == _scope(knowledge_id) and (allowed is None or row in allowed)
        ]
        return sorted(mine, key=lambda hit: (-hit[1], hit[0]))[:limit]


def in_step(connection: sa.Connection) -> bool:
    """Whether every chunk has its entry and nothing else has one. Only looks."""
    chunks = sa.select(schema.chunks.c.row)
    entries = sa.select(_entries.c.rowid if connection.dialect.name == "sqlite" else _entries.c.row)
    differing = sa.union_all(
        sa.select(chunks.except_(entries).subquery()), sa.select(entries.except_(chunks).subquery())
    )
    return connection.execute(differing.limit(1)).first() is None


def entry_of(text: str) -> str:
    """The terms of a text as its entry holds them. It takes most of the time of an entry: make it before you hold
    the database."""
    return " ".join(terms(text))


def _search_fts5(
    connection: sa.Connection,
    knowledge_id: int,
    whole: Sequence[str],
    prefixes: Sequence[str],
    limit: int,
    only: sa.Select[Any] | None,
) -> list[tuple[int, float]]:
    # Terms hold letters and digits only; in quotes none of them can be an operator.
    alternatives = [f'"{term}"' for term in whole] + [f'"{prefix}"*' for prefix in prefixes]
    match = f"scope : {_scope(knowledge_id)} AND terms : ({' OR '.join(alternatives)})"
    query = _MATCHING if only is None else _MATCHING.where(_entries.c.rowid.in_(only))
    return [(row, -score) for row, score in connection.execute(query, {"match": match, "limit": limit})]


def _search_few(
    entries: Sequence[tuple[int, str, Sequence[str]]], whole: Sequence[str], prefixes: Sequence[str]
) -> list[tuple[int, str, float]]:
    """(row, scope, score) of every entry that holds any of the terms."""
    average = sum(len(held) + 1 for _row, _scope, held in entries) / max(len(entries), 1)
    counts: list[Counter[str]] = []
    for _row, _scope, held in entries:
        count = Counter(held)
        for prefix in prefixes:
            count[prefix + "*"] = sum(n for term, n in count.items() if term.startswith(prefix))
        counts.append(count)
    wanted = [*whole, *(prefix + "*" for prefix in prefixes)]
    weights = {}
    for term in wanted:
        n = sum(1 for count in counts if count[term])
        weights[term] = math.log(1 + (len(entries) - n + 0.5) / (n + 0.5))
    found = []
    for (row, scope, held), count in zip(entries, counts, strict=True):
        room = _K1 * (1 - _B + _B * (len(held) + 1) / average)
        score = sum(weights[t] * count[t] * (_K1 + 1) / (count[t] + room) for t in wanted)
        if score > 0:
            found.append((row, scope, score))
    return found


_POSTGRES = """
WITH wanted AS (
    SELECT ord, CAST(lexeme AS tsquery) AS lexeme
    FROM unnest(CAST(:lexemes AS text[])) WITH ORDINALITY AS listed(lexeme, ord)
), everything AS (
    SELECT CAST(count(*) AS float8) AS n, CAST(avg(length + 1) AS float8) AS average FROM chunk_terms
), held AS MATERIALIZED (
    SELECT wanted.ord, entry.row, entry.knowledge_id, entry.length,
        width_bucket(CAST(ts_rank('{1,1,1,1}', entry.terms, wanted.lexeme) AS float8), CAST(:between AS float8[])) AS tf
    FROM wanted JOIN chunk_terms AS entry ON entry.terms @@ wanted.lexeme
), weights AS (
    SELECT counted.ord, CASE WHEN everything.n > :few
        THEN greatest(ln((everything.n - df + 0.5) / (df + 0.5)), 1e-6)
        ELSE ln(1 + (everything.n - df + 0.5) / (df + 0.5)) END AS idf
    FROM (SELECT ord, CAST(count(*) AS float8) AS df FROM held GROUP BY ord) AS counted, everything
)
SELECT held.row, CAST(sum(
    weights.idf * held.tf * (:k1 + 1) / (held.tf + :k1 * (1 - :b + :b * (held.length + 1) / everything.average))
) AS float8) AS score
FROM held JOIN weights USING (ord), everything
WHERE held.knowledge_id = :base AND (CAST(:only AS integer[]) IS NULL OR held.row = ANY(CAST(:only AS integer[])))
GROUP BY held.row ORDER BY score DESC, held.row LIMIT :limit
"""


def _search_postgres(
    connection: sa.Connection,
    knowledge_id: int,
    whole: Sequence[str],
    prefixes: Sequence[str],
    limit: int,
    only: sa.Select[Any] | None,
) -> list[tuple[int, float]]:
    values: Mapping[str, Any] = {
        "lexemes": [_quoted(term) for term in whole] + [_quoted(prefix) + ":*" for prefix in prefixes],
        "between": _BETWEEN_COUNTS,
        "few": _FEW,
        "k1": _K1,
        "b": _B,
        "base": knowledge_id,
        "only": None if only is None else list(connection.scalars(only)),
        "limit": limit,
    }
    return [(row, score) for row, score in connection.execute(sa.text(_POSTGRES), values)]


def _scope(knowledge_id: int) -> str:
    return f"kb{knowledge_id}"


def _quoted(term: str) -> str:
    return "'" + term.replace("\\", "\\\\").replace("'", "''") + "'"


def _tsvector(found: Sequence[str]) -> str:
    """Each term with its places, as PostgreSQL writes it; places past its largest count as the largest."""
    return " ".join(f"{_quoted(term)}:{min(i, 16383)}" for i, term in enumerate(found, start=1))
