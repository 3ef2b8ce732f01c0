"""The webhook on the page of settings: its address, its secret once, how telling it goes."""

import asyncio
from collections.abc import Callable, Sequence

from dizuo.agents.webhook import Delivery, WebhookInfo
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import Confirm
from dizuo.studio.page import Page, badge, value_of

_SHOWN = 5
_STATUS = {
    "waiting": ("clock", "warn", _("to be sent")),
    "sent": ("check", "good", _("sent")),
    "failed": ("alert", "bad", _("given up")),
    "dropped": ("close", "", _("needed no more")),
}


class WebhookCard:
    """A form and what there is below it. `show_secret` is called with a secret, a title and a sentence."""

    def __init__(self, page: Page, show_secret: Callable[[str, str, str], None]) -> None:
        self._page = page
        self._show_secret = show_secret
        with page.el("form", "row") as form:
            field = page.el("input", "field grow", id="webhook-url", type="url", maxlength="2000", required=True)
            field.props.update({"autocomplete": "off", "placeholder": "https://example.com/hook"})
            page.name(field, "aria-label", _("Address of the webhook"))
            with page.el("button", "button primary", type="submit"):
                page.text("span", "", _("Set"))
        page.on(form, "submit", self._set, value_of("webhook-url"))
        self._there = page.el("div", "stack")
        self._ask_remove = Confirm(
            page, "remove-webhook", _("Remove the webhook with its secret?"), _("Remove"), self._remove
        )

    async def load(self) -> None:
        """Shows the address that is set, and the last messages to it."""
        hook = self._page.house.webhook
        info, sent = await asyncio.to_thread(lambda: (hook.get(), hook.deliveries(limit=_SHOWN)))
        self._there.clear()
        with self._there:
            self._show(info, sent)

    def _show(self, info: WebhookInfo | None, sent: Sequence[Delivery]) -> None:
        page = self._page
        if info is None:
            page.text("p", "muted small", _("None is set."))
        else:
            with page.el("div", "row line"):
                with page.el("div", "grow"):
                    page.el("p", "strong value", info.url)
                    said = _("to be sent: {waiting}, given up: {failed}")
                    page.text("p", "muted small", said, waiting=info.waiting, failed=info.failed)
                page.button("button small", _("Send a test"), self._test)
                remove = page.button("button small danger", _("Remove"))
                page.name(remove, "aria-label", _("Remove the webhook"))
                page.on(remove, "click", self._ask_remove.asker(True, _("Remove the webhook with its secret?")))
            if info.problem is not None:
                with page.el("p", "notice bad"):
                    page.icon("alert")
                    page.text("span", "", info.problem.template, **info.problem.params)
        if sent:
            with page.el("ul", "lines"):
                for one in sent:
                    with page.el("li", "row line"):
                        link = page.el("a", "grow small", one.run_id, href=f"/runs/{one.run_id}")
                        link.classes("value")
                        page.text("span", "muted small", "{when}", when=lambda one=one: page.when(one.created_at))
                        badge(page, _STATUS[one.status])

    async def _set(self, url: str = "") -> None:
        made = await asyncio.to_thread(self._page.house.webhook.set, url)
        self._page.run("studio.fill", "webhook-url", "")
        await self.load()
        lead = _("Messages are signed with it. It is shown this once: give it to the receiver.")
        self._show_secret(made.secret, _("The webhook's secret"), lead)

    async def _test(self) -> None:
        seconds = await asyncio.to_thread(self._page.house.webhook.test)
        self._page.toast("good", _("It was taken, in {seconds} s."), seconds=f"{seconds:.2f}")

    async def _remove(self, _yes: bool) -> None:
        await asyncio.to_thread(self._page.house.webhook.remove)
        await self.load()
