"""`dizuo cache`: how far it can be trusted, what is kept, and the end of that."""

from collections.abc import Callable
from pathlib import Path

from dizuo.core.events import Done, TextDelta
from dizuo.gateway.cache import Question
from dizuo.wiring import House
from tests.cli.conftest import Ran


def test_the_report_gives_rates_with_intervals_by_language_and_kind(reader: Callable[..., Ran]) -> None:
    ran = reader("cache", "report")
    assert ran.status == 0
    assert "twins: direction reversed" in ran.out
    assert "[" in ran.out
    assert "English: " in ran.err
    chinese = reader("cache", "report", "--language", "zh")
    assert "英文：" in chinese.err
    report = reader("cache", "report", "--json").json
    assert {one["language"] for one in report["languages"]} == {"en", "zh"}


def test_what_is_kept_is_listed_and_cleared(dizuo: Callable[..., Ran], home: Path) -> None:
    with House.open({"DIZUO_HOME": str(home), "DIZUO_CACHE": "exact"}) as house:
        for text in ("First?", "Second?", "Third?"):
            house.cache.keep(Question("local/a", "", text), "", [TextDelta(text="A."), Done()], ())
    assert "Second?" in dizuo("cache", "list").out
    entries = dizuo("cache", "list", "--limit", "2", "--json").json["entries"]
    assert [one["question"] for one in entries] == ["Third?", "Second?"]
    assert "1" in dizuo("cache", "clear", "--id", str(entries[0]["id"])).out
    assert dizuo("cache", "clear", "--id", "999").status == 1
    assert dizuo("cache", "clear", "--json").json == {"cleared": 2}


def test_a_key_can_be_kept_out(dizuo: Callable[..., Ran]) -> None:
    assert dizuo("key", "create", "--uncached", "--json").json["uncached"] is True
    assert dizuo("key", "create", "--json").json["uncached"] is False
