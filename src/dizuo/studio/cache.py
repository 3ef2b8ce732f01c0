"""The page of the cache: how often it hits and how often it errs, as measured, and how it does here."""

import asyncio

from nicegui.element import Element
from starlette.requests import Request

from dizuo.gateway.cache import CacheUse
from dizuo.gateway.cache_report import KINDS, LANGUAGES, CacheReport, Measured, Rate, report, verdict
from dizuo.platform.catalogue import _
from dizuo.studio.layout import frame
from dizuo.studio.page import Page, table_head
from dizuo.studio.usage import usage_head

_POLICIES = {
    "off": _("Off: no answer is kept."),
    "exact": _("On for the same words."),
    "semantic": _("On for the same question, also in other words."),
}


async def cache_page(request: Request) -> None:
    """/usage/cache"""
    page = Page(request)
    page.title(_("Cache"))
    found = await asyncio.to_thread(report, page.house.cache)
    with frame(page, "usage"), page.el("div", "column"):
        usage_head(page, "cache")
        page.text("p", "", _POLICIES[found.here.policy])
        with page.el("div", "stack") as here:
            _here(page, found.here, here)
        page.text("h2", "", _("How often it hits, and how often it errs"))
        page.text(
            "p",
            "muted small",
            _(
                "Measured on questions that nothing was fitted on, with 95 % intervals. "
                "Fitted to at most {budget} wrong."
            ),
            budget=f"{found.budget:.0%}",
        )
        with page.el("div"):
            for one in found.languages:
                name, bound = page.t(LANGUAGES[one.language]), f"{one.false_hit_bound:.1%}"
                page.text("p", "", verdict(one), language=name, bound=bound)
        _table(page, found)


def _here(page: Page, use: CacheUse, around: Element) -> None:
    with page.el("dl", "card usage-totals"):
        for label, value in (
            (_("Kept answers"), page.number(use.entries)),
            (_("Room taken"), f"{page.size(use.size_bytes)} / {page.size(use.limit_bytes)}"),
            (_("Calls"), page.number(use.calls)),
            (_("Hits"), page.number(sum(use.hits.values()))),
        ):
            with page.el("div"):
                page.text("dt", "muted small", label)
                page.el("dd", "", value)
    if page.visitor.is_owner and use.entries:

        async def clear() -> None:
            gone = await asyncio.to_thread(page.house.cache.clear)
            left = await asyncio.to_thread(page.house.cache.use)
            around.clear()
            with around:
                _here(page, left, around)
            page.toast("good", _("{n} kept answers were deleted."), n=gone)

        with page.el("div", "row"):
            page.on(page.button("quiet", _("Delete what is kept"), icon="bin"), "click", clear)


def _table(page: Page, found: CacheReport) -> None:
    with page.el("div", "card table-card"), page.el("table"):
        table_head(
            page,
            (_("Language"), ""),
            (_("Kind"), ""),
            (_("Looked up"), "number"),
            (_("Hits"), "number"),
            (_("Wrong"), "number"),
            (_("Hit rate"), "number"),
            (_("False-hit rate"), "number"),
        )
        with page.el("tbody"):
            for one in found.measured:
                _row(page, one)


def _row(page: Page, one: Measured) -> None:
    with page.el("tr"):
        page.text("td", "", LANGUAGES[one.language])
        page.text("th", "name", KINDS[one.kind]).props["scope"] = "row"
        for number in (one.asked, one.hits, one.wrong):
            page.el("td", "number", page.number(number))
        page.el("td", "number", _rate(one.hit_rate))
        page.el("td", "number", _rate(one.false_hit_rate))


def _rate(share: Rate | None) -> str:
    return "–" if share is None else "{:.1%} ({:.1%}–{:.1%})".format(*share)
