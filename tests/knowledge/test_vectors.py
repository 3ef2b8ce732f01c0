"""The vector index follows the database, whatever happens to the rows."""

import numpy as np
import pytest
import sqlalchemy as sa

from dizuo.knowledge.store import Store
from dizuo.knowledge.vectors import VectorIndexes, embed_chunks
from dizuo.platform import schema
from dizuo.platform.database import Database
from tests.knowledge.filling import LetterEmbedder, fill, store_of

EMBEDDER = LetterEmbedder()
TEXTS = ["aaa bbb", "bbb ccc", "ccc ddd", "中文没有向量"]


def search(indexes: VectorIndexes, database: Database, query: str, name: str = "kb", **options):
    """The rows found, nearest first."""
    with database.read() as connection:
        base = Store.id_of(connection, name)
        k = schema.knowledge.c
        stamp = connection.execute(sa.select(k.created_at, k.version).where(k.id == base)).one()
        found, _near = indexes.search(
            connection, base, (stamp[0], stamp[1]), EMBEDDER, EMBEDDER.embed([query])[0], 10, **options
        )
    return [row for row, _score in found]


def test_texts_that_the_embedder_does_not_know_get_no_vector() -> None:
    vectors = embed_chunks(EMBEDDER, TEXTS)
    assert [vector is not None for vector in vectors] == [True, True, True, False]
    np.testing.assert_array_equal(vectors[1], EMBEDDER.embed([TEXTS[1]])[0])
    assert embed_chunks(EMBEDDER, ["中文"]) == [None]
    assert embed_chunks(EMBEDDER, []) == []


def test_the_nearest_are_found_with_their_cosine(database: Database) -> None:
    rows = fill(database, "kb", TEXTS, EMBEDDER)
    indexes = VectorIndexes()
    assert search(indexes, database, "ab") == [rows[0], rows[1], rows[2]]
    with database.read() as connection:
        found, near = indexes.search(
            connection, 1, ("", 0), EMBEDDER, EMBEDDER.embed(["a"])[0], 1, also=[rows[1], rows[0], rows[3], 999]
        )
    assert found == [(rows[0], pytest.approx(2**-0.5, abs=1e-3))]  # half precision
    assert near == {rows[0]: pytest.approx(2**-0.5, abs=1e-3), rows[1]: pytest.approx(0, abs=1e-3)}


def test_added_removed_and_restored_vectors_are_followed(database: Database) -> None:
    rows = fill(database, "kb", TEXTS, EMBEDDER)
    indexes, store = VectorIndexes(), store_of(database)
    assert set(search(indexes, database, "a")) == set(rows[:3])
    rows += fill(database, "kb", {"more": "aaaa"}, EMBEDDER)
    assert search(indexes, database, "a")[0] == rows[4]
    with database.write() as connection:
        store.delete_documents(connection, 1, [store.document_row(connection, "kb", "more").id])
    assert set(search(indexes, database, "a")) == set(rows[:3])
    with database.write() as connection:  # one vector is lost, and another is gone for good, before repair
        connection.execute(schema.vectors.delete().where(schema.vectors.c.row == rows[0]))
        store.touch(connection, 1)
    assert set(search(indexes, database, "a")) == set(rows[1:3])
    assert store.embed_missing(EMBEDDER) == 1
    assert search(indexes, database, "a")[0] == rows[0]


def test_a_new_base_with_the_id_of_a_removed_one_has_an_index_of_its_own(database: Database) -> None:
    fill(database, "kb", TEXTS, EMBEDDER)
    indexes = VectorIndexes()
    search(indexes, database, "a")
    with database.write() as connection:
        store_of(database).delete_documents(connection, 1, list(connection.scalars(sa.select(schema.documents.c.id))))
        connection.execute(schema.knowledge.delete())
    new = fill(database, "kb", {"x": "zzz", "y": "aaa", "z": "aab", "w": "abb"}, EMBEDDER)
    assert set(search(indexes, database, "z")) == set(new)


def test_a_transaction_that_began_earlier_does_not_set_the_index_back(database: Database) -> None:
    rows = fill(database, "kb", TEXTS[:1], EMBEDDER)
    indexes = VectorIndexes()
    query = EMBEDDER.embed(["a"])[0]
    with database.read() as early:
        stamp = early.execute(sa.select(schema.knowledge.c.created_at, schema.knowledge.c.version)).one()
        rows += fill(database, "kb", {"later": "ab"}, EMBEDDER)
        assert set(search(indexes, database, "a")) == set(rows)
        found, _near = indexes.search(early, 1, (stamp[0], stamp[1]), EMBEDDER, query, 10)
    assert {row for row, _score in found} == set(rows)


def test_only_the_named_rows_are_found(database: Database) -> None:
    rows = fill(database, "kb", TEXTS, EMBEDDER)
    assert search(VectorIndexes(), database, "a", only=[rows[1], rows[3]]) == [rows[1]]
    assert search(VectorIndexes(), database, "a", only=[]) == []


def test_indexes_past_the_memory_bound_are_let_go_and_come_back(database: Database) -> None:
    one = fill(database, "one", TEXTS, EMBEDDER)
    two = fill(database, "two", TEXTS, EMBEDDER)
    indexes = VectorIndexes(max_bytes=300)  # four vectors of 26 half-precision numbers
    for _round in range(2):
        assert set(search(indexes, database, "a", name="one")) == set(one[:3])
        assert set(search(indexes, database, "a", name="two")) == set(two[:3])
    assert len(indexes._indexes) == 1
