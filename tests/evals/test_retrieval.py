"""The floors of finding, on real questions, through the real chunker, embedder, index and fusion."""

from pathlib import Path

import pytest

from dizuo.evals.retrieval import Question, Report, Scenario, ask, cmrc, measure, squad
from dizuo.gateway.local import LocalEmbedder
from tests.conftest import data_file

EVERY = 8  # of the questions one in so many is asked here; the command without --every asks all


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Report]:
    data_file("cmrc2018_zh", "dev.jsonl.gz")
    folder = data_file("squad_v2_en", "dev.jsonl.gz").parents[1]
    sets = [Scenario(s.name, s.passages, s.questions[::EVERY]) for s in (squad(folder), cmrc(folder))]
    home: Path = tmp_path_factory.mktemp("retrieval")
    return {(report.scenario, report.leg): report for report in measure(sets, LocalEmbedder(), home)}


@pytest.mark.data
@pytest.mark.slow
class TestFloors:
    @pytest.mark.parametrize(("scenario", "floor"), [("en", 0.96), ("zh", 0.98)])
    def test_recall_at_5_is_above_its_floor(self, reports, scenario: str, floor: float) -> None:
        assert reports[scenario, "fused"].recall[5].value >= floor

    @pytest.mark.parametrize("scenario", ["en", "zh", "en in mixed", "zh in mixed"])
    def test_the_fusion_is_never_below_the_better_leg(self, reports, scenario: str) -> None:
        legs = [reports[scenario, leg].recall[5].value for leg in ("keyword", "dense")]
        assert reports[scenario, "fused"].recall[5].value >= max(legs)

    @pytest.mark.parametrize("scenario", ["en", "zh"])
    def test_a_mixed_collection_costs_at_most_a_point(self, reports, scenario: str) -> None:
        alone, mixed = reports[scenario, "fused"], reports[f"{scenario} in mixed", "fused"]
        assert mixed.recall[5].value >= alone.recall[5].value - 0.01


def test_without_an_embedder_the_keywords_are_measured_alone(tmp_path: Path) -> None:
    passages = {"a": "Apples are red.", "b": "梨是黄色的。"}
    asked = [Question("red apples", "a"), Question("梨的颜色", "b"), Question("plums", "a")]
    keyword, dense, fused = measure([Scenario("tiny", passages, asked)], None, tmp_path)
    assert keyword.recall[1].value == fused.recall[1].value == pytest.approx(2 / 3)
    assert dense.recall[10].value == 0
    assert fused.recall[5].low < 2 / 3 < fused.recall[5].high
    assert fused.mrr == pytest.approx(2 / 3)


def test_a_rank_is_that_of_the_first_chunk_of_the_right_passage() -> None:
    from dizuo.core.documents import Hit, Leg, SearchResult

    def hit(document: str, rank: int) -> Hit:
        return Hit(
            document=document, document_id=document, chunk=f"{document}{rank}", text="", score=0, heading="", page=None,
            start=0, end=0, legs={"keyword": Leg(rank=rank, score=1)},
        )  # fmt: skip

    result = SearchResult(hits=(hit("x", 2), hit("a", 9), hit("a", 1)))
    keyword, _dense, fused = ask(lambda _query: result, "s", [Question("?", "a")])
    assert (keyword.mrr, fused.mrr) == (1, 0.5)
