"""Prices: which row holds for a model, what a call costs, what cannot be a price."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from dizuo.core.errors import NotFound, UserError
from dizuo.core.messages import Usage
from dizuo.gateway.prices import Prices, convert, parse_rate, shipped
from dizuo.platform.database import Database
from tests.conftest import migrated


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Database]:
    """A SQLite database: nothing here differs on the other."""
    opened = migrated(f"sqlite:///{tmp_path / 'dizuo.db'}", tmp_path)
    yield opened
    opened.close()


def test_a_price_by_the_whole_name_goes_before_patterns_and_the_longest_pattern_before_others(kept: Database) -> None:
    prices = Prices(kept)
    for model, amount in (("acme/*", 1), ("acme/big-*", 2), ("acme/big-one", 3), ("*/big-one-and-a-half*", 4)):
        prices.set(model, amount, 0)
    found = {model: prices.of(model) for model in ("acme/small", "acme/big-two", "acme/big-one", "other/x")}
    assert [price and price.input for price in found.values()] == [1, 2, 3, None]


def test_a_row_of_ones_own_hides_the_shipped_one_until_it_is_removed(kept: Database) -> None:
    prices, model = Prices(kept), shipped()[0].model
    prices.set(model, 99, 99, source="our contract")
    assert prices.of(model).source == "our contract"  # type: ignore[union-attr]
    assert [price.input for price in prices.list() if price.model == model] == [99]
    prices.remove(model)
    assert prices.of(model) == shipped()[0]
    with pytest.raises(NotFound, match="No price of your own"):
        prices.remove(model)


def test_kept_tokens_and_processor_time_have_prices_of_their_own(kept: Database) -> None:
    prices = Prices(kept)
    prices.set("a/b", 2, 10, cached_input=0.5, cpu_hour=3.6, currency="cny")
    usage = Usage(prompt_tokens=1_000_000, cached_tokens=400_000, completion_tokens=100_000, cpu_s=100)
    assert prices.cost("a/b", usage) == (pytest.approx(0.6 * 2 + 0.4 * 0.5 + 1.0 + 0.1), "CNY")
    assert prices.cost("nobody/knows", usage) == (None, "USD")


def test_what_another_process_sets_holds_after_a_refresh(kept: Database) -> None:
    here, there = Prices(kept), Prices(kept)
    assert here.of("a/b") is None
    there.set("a/*", 1, 1)
    here.refresh()
    assert here.of("a/b") is not None


def test_every_shipped_price_names_its_day_and_its_page() -> None:
    models = [price.model for price in shipped()]
    assert len(models) == len(set(models)) > 20
    for price in shipped():
        assert date.fromisoformat(price.dated) <= date.today()
        assert price.source.startswith("https://")
        assert price.output >= price.input >= (price.cached_input or 0) or price.output == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": ""},
        {"model": "a[b]"},
        {"input": -1},
        {"output": float("nan")},
        {"currency": "EUR"},
        {"dated": "today"},
    ],
)
def test_what_cannot_be_a_price_is_refused(kept: Database, wrong: dict) -> None:
    with pytest.raises(UserError):
        Prices(kept).set(**{"model": "a/b", "input": 1, "output": 1, **wrong})


def test_the_rate_of_the_setting_comes_with_its_day() -> None:
    assert convert(10, "USD", "CNY", parse_rate("7.1 2025-09-30")) == pytest.approx(71)
    for wrong in ("", "7.1", "seven 2025-09-30", "0 2025-09-30", "7.1 someday"):
        with pytest.raises(UserError, match="cny_per_usd"):
            parse_rate(wrong)
