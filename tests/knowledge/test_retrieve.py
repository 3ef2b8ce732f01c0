"""What a search promises. The embedder is a quick one; `tests/evals/test_retrieval.py` measures the real one."""

import pytest

from dizuo.core.errors import NotFound, UserError
from dizuo.knowledge.retrieve import Retriever
from dizuo.platform.database import Database
from tests.knowledge.filling import LetterEmbedder, fill

EMBEDDER = LetterEmbedder()
TEXTS = {
    "leave.md": "Employees have 25 days of paid leave a year.",
    "files.md": "The largest file that can be added has 100 MiB.",
    "报销.md": "差旅费应在出差结束后三十日内报销，须附发票。",
}


@pytest.fixture
def retriever(database: Database) -> Retriever:
    fill(database, "kb", TEXTS, EMBEDDER)
    return Retriever(database, EMBEDDER)


def test_a_hit_carries_its_place_and_what_each_leg_saw(retriever: Retriever) -> None:
    result = retriever.search("kb", "paid leave")
    hit = result.hits[0]
    assert (hit.document, hit.text, hit.start, hit.end) == ("leave.md", TEXTS["leave.md"], 0, len(TEXTS["leave.md"]))
    assert (hit.legs["keyword"].rank, hit.legs["dense"].rank) == (1, 1)
    assert sum(result.weights.values()) == pytest.approx(1)
    assert result.notes == ()


def test_scores_fall_and_lie_between_zero_and_one(retriever: Retriever) -> None:
    for query in ("paid leave days of employees", "报销", "file", "差旅费 paid leave"):
        scores = [hit.score for hit in retriever.search("kb", query).hits]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        assert scores


@pytest.mark.parametrize("query", ["差旅费什么时候报销", "旅费", "發票", "附", "出差結束"])
def test_chinese_is_found_by_phrase_part_and_traditional_form(retriever: Retriever, query: str) -> None:
    result = retriever.search("kb", query)
    assert [hit.document for hit in result.hits] == ["报销.md"]
    assert set(result.hits[0].legs) == {"keyword"}


def test_a_query_in_a_language_the_embedder_does_not_know_is_left_to_the_keywords(retriever: Retriever) -> None:
    result = retriever.search("kb", "差旅费")
    assert result.weights == {"keyword": 1.0, "dense": 0.0}
    assert "does not know" in str(result.notes[0])


def test_meaning_counts_less_in_a_query_of_two_languages(retriever: Retriever) -> None:
    plain, mixed = retriever.search("kb", "paid leave"), retriever.search("kb", "paid leave 差旅费")
    assert 0 < mixed.weights["dense"] < plain.weights["dense"]
    assert "75 %" in str(mixed.notes[0])


def test_a_passage_without_a_vector_is_not_pushed_down_for_that(database: Database) -> None:
    texts = {"en.md": "The limits of max_file_mb.", "zh.md": "max_file_mb 的上限由管理员设置，默认为一百兆字节。"}
    fill(database, "kb", texts, EMBEDDER)
    query = "max_file_mb 的上限"
    both = Retriever(database, EMBEDDER).search("kb", query)
    alone = Retriever(database, None).search("kb", query)
    assert both.weights["dense"] > 0
    scores = [{hit.document: hit.score for hit in result.hits} for result in (both, alone)]
    assert scores[0]["zh.md"] == pytest.approx(scores[1]["zh.md"])
    assert scores[0]["en.md"] > scores[1]["en.md"]


def test_where_no_passage_has_a_vector_the_keywords_count_whole(database: Database) -> None:
    fill(database, "kb", ["发票 invoice 报销制度的说明与办法"], EMBEDDER)
    result = Retriever(database, EMBEDDER).search("kb", "invoice")
    assert len(result.hits) == 1
    assert result.weights == {"keyword": 1.0, "dense": 0.0}
    assert result.notes


def test_without_an_embedder_there_is_one_leg(database: Database) -> None:
    fill(database, "kb", TEXTS)
    result = Retriever(database, None).search("kb", "paid leave")
    assert (result.weights, result.notes) == ({"keyword": 1.0}, ())
    assert [hit.document for hit in result.hits] == ["leave.md"]


def test_limit_holds_and_may_pass_the_legs_depth(database: Database) -> None:
    fill(database, "kb", [f"same words and {chr(97 + n % 26)} {n}" for n in range(150)], EMBEDDER)
    retriever = Retriever(database, EMBEDDER)
    assert len(retriever.search("kb", "same words", limit=3).hits) == 3
    assert len(retriever.search("kb", "same words", limit=150).hits) == 150


def test_filters_choose_by_document_source_format_heading_page_and_meta(database: Database) -> None:
    fill(
        database,
        "kb",
        {"a.md": "shared text"},
        EMBEDDER,
        meta={"author": "Ann", "year": 2024},
        heading="Guide > Set up",
    )
    fill(database, "kb", {"b.pdf": "shared text"}, EMBEDDER, meta={"author": "李雷"}, page=3)
    retriever = Retriever(database, EMBEDDER)

    def found(**filters: str) -> list[str]:
        return sorted(hit.document for hit in retriever.search("kb", "shared", filters=filters).hits)

    assert found() == ["a.md", "b.pdf"]
    assert found(document="a.md") == ["a.md"]
    assert found(source="/files/b.pdf") == ["b.pdf"]
    assert found(format="text") == ["a.md", "b.pdf"]
    assert found(heading="Guide") == found(heading="Guide > Set up") == ["a.md"]
    assert found(heading="Gui") == []
    assert found(page="3") == ["b.pdf"]
    assert found(author="李雷") == ["b.pdf"]
    assert found(year="2024") == ["a.md"]
    assert found(author="Ann", page="3") == []


def test_a_filter_that_no_document_could_meet_is_named(retriever: Retriever) -> None:
    with pytest.raises(UserError, match=r"documnet.*document"):
        retriever.search("kb", "leave", filters={"documnet": "leave.md"})
    with pytest.raises(UserError, match="page number"):
        retriever.search("kb", "leave", filters={"page": "three"})
    hostile = {"a'b\"]; DROP TABLE chunks": "' OR 1=1 --", "document": "%"}
    with pytest.raises(UserError):
        retriever.search("kb", "leave", filters=hostile)
    assert retriever.search("kb", "leave").hits


@pytest.mark.parametrize("query", ["", " \n\t", "\u3000"])
def test_an_empty_query_is_refused(retriever: Retriever, query: str) -> None:
    with pytest.raises(UserError, match="empty"):
        retriever.search("kb", query)


def test_an_unknown_base_is_refused_and_an_empty_one_finds_nothing(database: Database) -> None:
    with pytest.raises(NotFound):
        Retriever(database, EMBEDDER).search("kb", "x")
    fill(database, "kb", {})
    assert Retriever(database, EMBEDDER).search("kb", "x").hits == ()
