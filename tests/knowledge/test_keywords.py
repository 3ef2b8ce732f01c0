"""The keyword index: the same promises on SQLite and PostgreSQL."""

import math

import pytest
import sqlalchemy as sa

from dizuo.knowledge import keywords
from dizuo.knowledge.keywords import KeywordIndex
from dizuo.knowledge.store import Store, embedded_text
from dizuo.platform import schema
from dizuo.platform.database import Database
from tests.knowledge.filling import fill, store_of

TEXTS = [
    "Employees have 25 days of paid leave a year.",
    "差旅费应在出差结束后三十日内报销。",
    "The setting max_file_mb limits a file; the limit of a file is 100 MiB.",
    "A file may be of any format.",
    "報銷單須由主管簽字。",
]


def search(database: Database, query: str, name: str = "kb", limit: int = 10, only: "sa.Select | None" = None):
    with database.read() as connection:
        return KeywordIndex(database).search(connection, Store.id_of(connection, name), query, limit, only)


def rows(database: Database, query: str, **options) -> list[int]:
    return [row for row, _score in search(database, query, **options)]


def test_terms_are_found_and_the_best_comes_first(database: Database) -> None:
    ids = fill(database, "kb", TEXTS)
    assert rows(database, "paid leave") == [ids[0]]
    assert rows(database, "what limits a file?") == [ids[2], ids[3]]
    assert rows(database, "报销") == [ids[4], ids[1]]  # the shorter text first, traditional or not
    assert rows(database, "签") == [ids[4]]
    assert rows(database, "结") == [ids[1]]
    assert rows(database, "unknown") == []


def test_where_no_pair_of_characters_is_found_single_ones_are(database: Database) -> None:
    ids = fill(database, "kb", ["梨是黄色的。", "苹果红了。"])
    assert rows(database, "梨的颜色") == [ids[0]]
    assert rows(database, "的是什么") == []


def test_scores_fall_and_limit_holds(database: Database) -> None:
    fill(database, "kb", [f"common word and number {n}" for n in range(30)])
    found = search(database, "common number 7", limit=5)
    assert len(found) == 5
    assert [score for _row, score in found] == sorted((score for _row, score in found), reverse=True)
    assert all(score > 0 for _row, score in found)


def test_one_knowledge_base_does_not_see_another_s_chunks(database: Database) -> None:
    one = fill(database, "one", ["apples and pears"])
    fill(database, "two", ["apples and plums"])
    assert rows(database, "apples", name="one") == one


def test_only_the_selected_rows_are_found(database: Database) -> None:
    ids = fill(database, "kb", TEXTS)
    only = sa.select(schema.chunks.c.row).where(schema.chunks.c.row.in_(ids[3:]))
    assert rows(database, "file", only=only) == [ids[3]]


def test_removed_chunks_are_not_found(database: Database) -> None:
    ids = fill(database, "kb", TEXTS)
    with database.write() as connection:
        KeywordIndex(database).remove(connection, [ids[0]])
    assert rows(database, "paid leave") == []


HOSTILE = [
    '"', "' OR 1=1 --", "scope:kb1", "a AND NOT b", "NEAR(a b)", "*", "^a", "{terms} : x", "'); DROP TABLE chunks;--",
    "a:*", "x & !y | (z)", "\\", "\x00", "\ud800", "🙂", "%_%", "-" * 5000, "a " * 100_000, "中" * 100_000,
    " ".join(f"w{n}" for n in range(5000)), " ".join(chr(0x4E00 + 7 * n) for n in range(1000)), "ˑ", "'a' <-> 'b'",
    "ǅ İ ß ﬃ",
]  # fmt: skip


def test_no_query_is_an_error(database: Database) -> None:
    fill(database, "kb", TEXTS)
    for query in HOSTILE:
        assert isinstance(search(database, query), list), query
    assert len(search(database, "file")) == 2  # and nothing was harmed


def test_no_text_is_an_error(database: Database) -> None:
    texts = ["'quoted' \\ back", "\x00nul", "🙂", "x" * 10_000, "a:1 b:2A", "word " * 20_000]
    if not database.is_sqlite:
        texts[1] = "nul"  # PostgreSQL's text holds none; the parser takes them out
    ids = fill(database, "kb", texts)
    assert rows(database, "quoted back") == [ids[0]]
    assert rows(database, "word") == [ids[5]]


def test_check_tells_whether_every_chunk_has_its_entry(database: Database) -> None:
    fill(database, "kb", TEXTS)
    index = KeywordIndex(database)
    with database.write() as connection:
        assert index.check(connection)
        connection.execute(
            sa.text("DELETE FROM chunk_terms WHERE " + ("rowid" if database.is_sqlite else "row") + " = 1")
        )
        assert not index.check(connection)
        index.rebuild(connection, embedded_text)
        assert index.check(connection)


def test_rebuilding_finds_what_was_found_before(database: Database) -> None:
    fill(database, "kb", TEXTS, heading="Rules > Files")
    before = search(database, "rules of max file")
    assert store_of(database).rebuild_keywords()
    assert search(database, "rules of max file") == before


def test_a_damaged_sqlite_index_is_seen_and_built_again(database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("PostgreSQL keeps the index in an ordinary table")
    ids = fill(database, "kb", TEXTS)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE chunk_terms_data SET block = x'00' WHERE id > 10")
    assert not store_of(database).rebuild_keywords()
    assert rows(database, "paid leave") == [ids[0]]


@pytest.mark.parametrize("few", [0, 100])
def test_both_databases_give_the_scores_of_the_formula(
    database: Database, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small collections are reckoned otherwise; both ways must give what is written in the book, on both databases.
    monkeypatch.setattr(keywords, "_FEW", few)
    texts = [f"alpha {'beta ' * (n % 4)}{'gamma ' * (n % 7 == 0)}{'delta ' * n}" for n in range(1, 25)]
    ids = fill(database, "kb", texts)
    lengths = [len(text.split()) + 1 for text in texts]
    average, total = sum(lengths) / len(lengths), len(texts)

    def formula(text: str, length: int) -> float:
        score = 0.0
        for term in ("beta", "gamma"):
            count = text.split().count(term)
            df = sum(term in other.split() for other in texts)
            plain = math.log((total - df + 0.5) / (df + 0.5))
            weight = math.log(1 + (total - df + 0.5) / (df + 0.5)) if few else max(plain, 1e-6)
            score += weight * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / average))
        return score

    expected = {row: formula(text, length) for row, text, length in zip(ids, texts, lengths, strict=True)}
    found = dict(search(database, "beta gamma", limit=50))
    assert found == pytest.approx({row: score for row, score in expected.items() if score}, rel=1e-4)
