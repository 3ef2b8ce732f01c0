"""What models cost: a dated table that comes with Dizuo, and above it the rows of one's own.

A price is looked for by the model's whole name first, then by the longest pattern that fits it; one's own row goes
before a shipped one of the same length. A call's cost is reckoned when it ends, and stays what it was then.
"""

import json
import threading
from collections.abc import Sequence
from datetime import date
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from dizuo.core.errors import NotFound, UserError
from dizuo.core.messages import Noun, Usage
from dizuo.platform import schema
from dizuo.platform.database import Database

Currency = Literal["USD", "CNY"]
CURRENCIES: tuple[Currency, ...] = get_args(Currency)

_SHIPPED = Path(__file__).parent / "prices.json"


class Price(Noun):
    """What a model takes. Tokens by the million; `cached_input` None: as `input`."""

    model: str  # a name, or a pattern with *
    currency: Currency
    input: float
    cached_input: float | None = None
    output: float
    cpu_hour: float = 0.0  # an hour of this machine's processor time, where the model runs here
    dated: str  # the day on which this was the price
    source: str  # the page it was read from, or who says so
    shipped: bool = False

    def cost(self, usage: Usage) -> float:
        """What a call with that usage costs, in the row's currency."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        kept = self.input if self.cached_input is None else self.cached_input
        tokens = (usage.prompt_tokens - cached) * self.input + cached * kept + usage.completion_tokens * self.output
        return tokens / 1e6 + usage.cpu_s * self.cpu_hour / 3600


class Prices:
    """The table of prices. Looking one up never waits for the database; `refresh` brings what others have set."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._own: tuple[Price, ...] = ()
        self._found: dict[str, Price | None] = {}

    def of(self, model: str) -> Price | None:
        """The price of a model, by what was known at the last refresh."""
        found = self._found
        try:
            return found[model]
        except KeyError:
            price = _best(model, self._own) or _best(model, shipped())
        if len(found) > 10_000:  # names are a caller's to choose
            found.clear()
        found[model] = price
        return price

    def cost(self, model: str, usage: Usage) -> tuple[float | None, Currency]:
        """What a call took; None where no price is known."""
        price = self.of(model)
        return (None, "USD") if price is None else (price.cost(usage), price.currency)

    def refresh(self) -> None:
        """Reads the rows of one's own."""
        with self._lock:
            with self._database.read() as connection:
                rows = connection.execute(schema.prices.select().order_by(schema.prices.c.model)).mappings().all()
            own = tuple(Price(**{name: value for name, value in row.items() if name != "id"}) for row in rows)
            if own != self._own:
                self._own, self._found = own, {}

    def list(self) -> Sequence[Price]:
        """Every price in force, one's own first."""
        self.refresh()
        own = {price.model for price in self._own}
        return [*self._own, *(price for price in shipped() if price.model not in own)]

    def set(
        self,
        model: str,
        input: float,
        output: float,
        *,
        currency: str = "USD",
        cached_input: float | None = None,
        cpu_hour: float = 0.0,
        dated: str = "",
        source: str = "",
    ) -> Price:
        """A row of one's own, in place of the one with that name. Without a day it is today's.

        Raises UserError for what cannot be a price.
        """
        price = Price(
            model=_checked_model(model),
            currency=checked_currency(currency),
            input=_checked_amount("input", input),
            cached_input=None if cached_input is None else _checked_amount("cached_input", cached_input),
            output=_checked_amount("output", output),
            cpu_hour=_checked_amount("cpu_hour", cpu_hour),
            dated=_checked_day(dated),
            source=" ".join(source.split())[:500],
        )
        prices = schema.prices
        with self._database.write() as connection:
            connection.execute(prices.delete().where(prices.c.model == price.model))
            connection.execute(prices.insert().values(price.model_dump(exclude={"shipped"})))
        self.refresh()
        return price

    def remove(self, model: str) -> Price:
        """Removes a row of one's own; a shipped one of that name is in force again. Raises NotFound."""
        self.refresh()
        price = next((price for price in self._own if price.model == model), None)
        if price is None:
            names = ", ".join(one.model for one in self._own[:20]) or "-"
            raise NotFound("No price of your own is set for {model!r}. There are: {names}.", model=model, names=names)
        with self._database.write() as connection:
            connection.execute(schema.prices.delete().where(schema.prices.c.model == model))
        self.refresh()
        return price


@cache
def shipped() -> tuple[Price, ...]:
    """The table that comes with Dizuo."""
    rows = json.loads(_SHIPPED.read_text("utf-8"))
    return tuple(Price(**row, model=model, shipped=True) for row in rows for model in row.pop("models"))


def _best(model: str, prices: Sequence[Price]) -> Price | None:
    exact = next((price for price in prices if price.model == model), None)
    if exact is not None:
        return exact
    fitting = [price for price in prices if "*" in price.model and fnmatchcase(model, price.model)]
    return max(fitting, key=lambda price: len(price.model), default=None)


def _checked_model(model: str) -> str:
    model = model.strip()
    if not 1 <= len(model) <= 128 or not model.isprintable() or "[" in model or "?" in model:
        raise UserError(
            "{model!r} is neither a model's name nor a pattern such as openai/* (1 to 128 characters).",
            model=model[:140],
        )
    return model


def checked_currency(currency: str) -> Currency:
    """The currency as the tables write it. Raises UserError."""
    given = currency.strip().upper()
    for known in CURRENCIES:
        if given == known:
            return known
    raise UserError("{currency!r} is not a currency of prices; there are {known}.", currency=currency[:20],
                    known=", ".join(CURRENCIES))  # fmt: skip


def _checked_amount(name: str, amount: float) -> float:
    if not 0 <= amount <= 1e9:  # NaN is neither
        raise UserError("{name} is {amount!r}; a price is a number from 0 to 1,000,000,000.", name=name, amount=amount)
    return float(amount)


def _checked_day(day: str) -> str:
    try:
        return (date.fromisoformat(day.strip()) if day.strip() else date.today()).isoformat()
    except ValueError:
        raise UserError("{day!r} is not a day; write it as 2026-11-24.", day=day[:40]) from None


def convert(amount: float, currency: str, into: str, cny_per_usd: float) -> float:
    """An amount of one currency in another."""
    if currency == into:
        return amount
    return amount * cny_per_usd if into == "CNY" else amount / cny_per_usd


def parse_rate(text: str) -> float:
    """Yuan for a dollar out of a setting such as "7.1 2025-09-30". Raises UserError."""
    rate, _space, day = text.strip().partition(" ")
    try:
        value = float(rate)
        if not 0.01 <= value <= 10_000:
            raise ValueError
        date.fromisoformat(day.strip())
    except ValueError:
        raise UserError(
            "Setting cny_per_usd is {value!r}; it is a rate and its day, such as 7.1 2025-09-30.", value=text[:40]
        ) from None
    return value
