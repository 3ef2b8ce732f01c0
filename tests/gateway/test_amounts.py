"""Numbers, units and dates by what they say, however they are written."""

import pytest

from dizuo.gateway.amounts import dates_in, numbers_in, units_in


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1,000 euros", {"1000"}),
        ("one thousand two hundred", {"1200"}),
        ("2.5k", {"2500"}),
        ("version 3.10.2", {"3.10.2"}),
        ("the third of 7", {"#3", "7"}),
        ("the 3rd", {"#3"}),
        ("half a dozen", {"half", "12"}),
        ("one of them", set()),
        ("三千五百元", {"3500"}),
        ("一亿两千万", {"120000000"}),
        ("3.5万", {"35000"}),
        ("二〇二四年", {"2024"}),
        ("第三章", {"#3"}),
        ("一般一起星期三", set()),
    ],
)
def test_numbers_are_told_by_their_value(text: str, numbers: set[str]) -> None:
    assert numbers_in(text) == numbers


@pytest.mark.parametrize(
    ("one", "other", "units"),
    [
        ("5 kilometres", "5公里", {"km"}),
        ("20 °C", "20摄氏度", {"celsius"}),
        ("$10", "10美元", {"dollar"}),
        ("in two weeks", "两个星期", {"week"}),
        ("12 percent", "百分之12", {"percent"}),
    ],
)
def test_a_unit_is_one_in_both_languages(one: str, other: str, units: set[str]) -> None:
    assert units_in(one) == units_in(other) == units


def test_words_that_hold_a_unit_are_none() -> None:
    assert not units_in("今天天气怎么样")
    assert not units_in("毛巾和米饭")


@pytest.mark.parametrize(
    ("one", "other", "dates"),
    [
        ("on Monday", "星期一", {"weekday 1"}),
        ("in March", "三月", {"month 3"}),
        ("tomorrow morning", "明天早上", {"tomorrow", "morning"}),
        ("next week", "下周", {"next week"}),
    ],
)
def test_a_date_is_one_in_both_languages(one: str, other: str, dates: set[str]) -> None:
    assert dates_in(one) == dates_in(other) == dates


def test_may_and_march_are_months_only_where_they_are() -> None:
    assert not dates_in("may I march there?")
    assert dates_in("in May") == {"month 5"}
