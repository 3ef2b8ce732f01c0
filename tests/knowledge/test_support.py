"""Whether a passage bears out a claim."""

from pathlib import Path

import pytest

from dizuo.evals.sets import cmrc, squad
from dizuo.evals.supporting import Report, measure
from dizuo.knowledge.support import check
from tests.conftest import data_file

LEAVE = "Full-time staff get 30 days of leave a year. Part-time staff get ten days. Anna Smith keeps the list."
SICK = "年假为十天。病假需要医生证明。张伟负责审批。"


@pytest.mark.parametrize(
    ("claim", "passage"),
    [
        ("Full-time staff get 30 days of leave each year [1].", LEAVE),
        ("Part-time staff get 10 days.", LEAVE),
        ("**Anna Smith** keeps the list of staff leave", LEAVE),
        ("年假是十天[1]。", SICK),
        ("申请病假需要医生证明", SICK),
    ],
)
def test_a_claim_in_the_passages_words_is_supported(claim: str, passage: str) -> None:
    assert check(claim, passage).supported


@pytest.mark.parametrize(
    ("claim", "passage"),
    [
        ("Full-time staff get 40 days of leave a year.", LEAVE),
        ("Full-time staff do not get 30 days of leave a year.", LEAVE),
        ("Peter Brown keeps the list of leave.", LEAVE),
        ("The canteen serves lunch from noon.", LEAVE),
        ("病假不需要医生证明。", SICK),
        ("年假为20天。", SICK),
        ("出差补贴每天一百元。", SICK),
        ("Annual leave is ten days.", SICK),
        ("", LEAVE),
        ("Anything", ""),
    ],
)
def test_a_claim_that_says_something_else_is_not_supported(claim: str, passage: str) -> None:
    assert not check(claim, passage).supported


def test_the_stretch_that_comes_nearest_is_named() -> None:
    found = check("Part-time staff get ten days.", LEAVE)
    assert LEAVE[found.start : found.end] == "Part-time staff get ten days."


def test_the_heading_counts_as_part_of_the_passage() -> None:
    text = "`backup FILE` writes everything into one file."
    assert check("Dizuo backup writes everything into one file.", text, "Dizuo > Backup").supported
    assert not check("Oracle backup writes everything into one file.", text, "Dizuo > Backup").supported


@pytest.mark.data
@pytest.mark.parametrize(("name", "least"), [("squad_v2_en", 0.78), ("cmrc2018_zh", 0.88)])
def test_true_claims_pass_and_false_ones_are_marked(name: str, least: float) -> None:
    folder: Path = data_file(name, "dev.jsonl.gz").parents[1]
    found: dict[str, Report] = {
        report.kind: report for report in measure((squad if name == "squad_v2_en" else cmrc)(folder), every=8)
    }
    share = {kind: report.supported / report.n for kind, report in found.items()}
    assert share["borne out"] >= least
    assert share["another passage"] <= 0.02
    assert share["number changed"] <= 0.15
    assert share["denied"] <= 0.15
    assert share["another answer"] <= 0.2
