"""The page of prices: what models cost, since when, and who says so."""

import asyncio
from typing import Any

from starlette.requests import Request

from dizuo.core.errors import UserError
from dizuo.gateway.prices import CURRENCIES, Price
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import Confirm
from dizuo.studio.layout import frame
from dizuo.studio.page import FORM_VALUES, Page, table_head
from dizuo.studio.usage import usage_head

_AMOUNTS = (
    ("input", _("Input")),
    ("cached_input", _("Kept input")),
    ("output", _("Output")),
    ("cpu_hour", _("CPU hour")),
)
# What stands for no amount: a kept token without a price of its own costs as much as any other of the prompt.
_NOTHING = {"input": "0", "cached_input": "–", "output": "0", "cpu_hour": "–"}


async def prices_page(request: Request) -> None:
    """/usage/prices"""
    await _Prices(Page(request)).open()


class _Prices:
    def __init__(self, page: Page) -> None:
        self.page = page

    async def open(self) -> None:
        page = self.page
        rate, _space, day = page.house.settings.cny_per_usd.partition(" ")
        page.title(_("Prices"))
        with frame(page, "usage"), page.el("div", "column"):
            usage_head(page, "prices")
            page.text(
                "p",
                "muted",
                _(
                    "Tokens by the million. Shipped prices are those of their day: providers change theirs, so check "
                    "them before you rely on a sum, and set your own. Calls keep the cost that they had when they were "
                    "made. A US dollar counts as {rate} yuan, the rate of {day} (setting {setting})."
                ),
                rate=rate,
                day=day.strip(),
                setting="cny_per_usd",
            )
            if page.visitor.is_owner:
                self._form()
            with page.el("section", "card table-card"):
                self._table = page.el("div", "usage-table", tabindex="0", role="region")
                page.name(self._table, "aria-label", _("Prices"))
        if page.visitor.is_owner:
            self._confirm = Confirm(page, "remove-price", _("Remove this price?"), _("Remove"), self._remove)
        await self._load()

    def _form(self) -> None:
        page = self.page
        with page.el("form", "card stack") as form:
            page.text("h2", "", _("Set a price of your own"))
            with page.el("div", "usage-form"):
                self._field("model", _("Model, or a pattern such as openai/*"), required=True, maxlength="128")
                for name, label in _AMOUNTS:
                    self._field(name, label, type="number", min="0", step="any")
                with page.el("label", ""):
                    page.text("span", "", _("Currency"))
                    with page.el("select", "field", name="currency"):
                        for currency in CURRENCIES:
                            page.el("option", "", currency, value=currency)
                self._field("dated", _("Day of the price"), type="date")
                self._field("source", _("Source"), maxlength="500")
                with page.el("button", "button primary", type="submit"):
                    page.text("span", "", _("Set"))
        page.on(form, "submit", self._set, FORM_VALUES)

    def _field(self, name: str, label: str, **attributes: Any) -> None:
        page = self.page
        with page.el("label", ""):
            page.text("span", "", label)
            page.el("input", "field", name=name, autocomplete="off", **attributes)

    async def _load(self) -> None:
        page = self.page
        prices = await asyncio.to_thread(page.house.prices.list)
        self._table.clear()
        with self._table, page.el("table"):
            amounts = [(label, _kind(name)) for name, label in _AMOUNTS]
            head = table_head(page, (_("Model"), ""), *amounts, (_("Source"), "wide"))
            if page.visitor.is_owner:
                with head, page.el("th", "", scope="col"):
                    page.text("span", "unseen", _("Remove"))
            with page.el("tbody"):
                for price in prices:
                    self._row(price)

    def _row(self, price: Price) -> None:
        page = self.page
        with page.el("tr"):
            page.el("th", "", price.model, scope="row")
            for name, _label in _AMOUNTS:
                amount = getattr(price, name)
                page.el("td", _kind(name), f"{amount:g} {price.currency}" if amount else _NOTHING[name])
            with page.el("td", "wide small"):
                page.el("span", "nowrap", price.dated)
                page.el("span", "muted after", price.source)
            if page.visitor.is_owner:
                with page.el("td", "tools"):
                    if not price.shipped:
                        with page.el("button", "quiet small", type="button") as remove:
                            page.icon("bin")
                        page.name(remove, "aria-label", _("Remove {name}"), name=price.model)
                        question = _("Remove the price of {name}? The shipped one is in force again, if there is one.")
                        page.on(remove, "click", self._confirm.asker(price.model, question, name=price.model))

    async def _set(self, given: dict[str, str]) -> None:
        page = self.page
        numbers = {name: _number(name, given.get(name, "")) for name, _label in _AMOUNTS}
        price = await asyncio.to_thread(
            lambda: page.house.prices.set(
                given.get("model", ""),
                numbers["input"] or 0.0,
                numbers["output"] or 0.0,
                cached_input=numbers["cached_input"],
                cpu_hour=numbers["cpu_hour"] or 0.0,
                currency=given.get("currency", "USD"),
                dated=given.get("dated", ""),
                source=given.get("source", ""),
            )
        )
        page.toast("good", _("The price of {model} is set."), model=price.model)
        await self._load()

    async def _remove(self, model: str) -> None:
        await asyncio.to_thread(self.page.house.prices.remove, model)
        self.page.toast("good", _("Removed the price of {model}."), model=model)
        await self._load()


def _kind(name: str) -> str:
    return "number" if name in ("input", "output") else "number wide"


def _number(name: str, text: str) -> float | None:
    try:
        return float(text) if text.strip() else None
    except ValueError:
        raise UserError("{name} is {value!r}; it must be a number, or none.", name=name, value=text[:40]) from None
