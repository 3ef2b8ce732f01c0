"""Open weights from the hub: the form that fetches them, and how far that is. It goes on when the page is left."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from dizuo.core.jobs import Job
from dizuo.gateway.hub import JOB_KIND, share_done
from dizuo.platform.catalogue import _
from dizuo.studio.jobs_view import job_badge
from dizuo.studio.page import FORM_VALUES, Handler, Page, PageTimer, badge, progress_bar, set_progress

_BUSY_S = 0.6
_IDLE_S = 4.0  # others may start one: the command line, the API, another tab
_RECENT = timedelta(hours=1)


class ModelAdd:
    """A card with the form, and one for each model on its way. `on_added` runs when one has come."""

    def __init__(self, page: Page, on_added: Handler) -> None:
        self._page = page
        self._on_added = on_added
        self._cards: dict[str, _Fetched] = {}
        self._closed: set[str] = set()
        self._looking = asyncio.Lock()
        with page.el("section", "card stack"), page.el("details"):
            page.text("summary", "", _("Add open weights"))
            self._build_form()
        self._place = page.el("div", "stack jobs")
        self._timer: PageTimer | None = None

    def _build_form(self) -> None:
        page = self._page
        with page.el("form", "stack") as form:
            lead = _("They come from {hub}, one file after the other, and are checked: only safetensors, no code.")
            page.text("p", "muted small", lead, hub=page.house.hub.endpoint)
            with page.el("div"):
                page.text("label", "label", _("Model")).props["for"] = "hub-name"
                name = page.el("input", "field", id="hub-name", name="name", maxlength="200", required=True)
                name.props.update({"autocomplete": "off", "spellcheck": "false", "placeholder": "hf/Qwen/Qwen3-0.6B"})
            with page.el("div"):
                page.text("label", "label", _("Revision")).props["for"] = "hub-revision"
                revision = page.el("input", "field", id="hub-revision", name="revision", maxlength="128")
                revision.props.update({"autocomplete": "off", "spellcheck": "false", "aria-describedby": "hub-hint"})
                hint = page.text("p", "hint", _("A branch, a tag or a commit; empty: the newest."))
                hint.props["id"] = "hub-hint"
            with page.el("div", "row"), page.el("button", "button primary", type="submit"):
                page.icon("download")
                page.text("span", "", _("Fetch"))
        page.on(form, "submit", self._fetch, FORM_VALUES)

    async def begin(self) -> None:
        """Shows what is on its way and follows it from now on."""
        await self.look()
        with self._place:
            self._timer = PageTimer(_IDLE_S, self.look, immediate=False)
        self._pace()

    async def look(self) -> None:
        """Fetches the jobs and shows what has changed."""
        page, came = self._page, False
        async with self._looking:
            jobs = await asyncio.to_thread(lambda: page.house.jobs.list(limit=20, kind=JOB_KIND))
            if page.client.is_deleted:
                return
            for job in self._wanted(jobs):
                card = self._cards.get(job.subject)
                if card is None:
                    with self._place:
                        card = self._cards[job.subject] = _Fetched(page, job.subject, self._caller, self._close)
                    card.root.move(self._place, 0)
                came |= job.status == "done" and card.job is not None and not card.job.over
                card.show(job)
        self._pace()
        if came:
            await self._on_added()

    def _wanted(self, jobs: Sequence[Job]) -> list[Job]:
        """Of each model the latest, oldest first: those under way, those that ended lately or are shown already."""
        lately = datetime.now(UTC) - _RECENT
        return [
            job
            for job in {job.subject: job for job in reversed(jobs)}.values()
            if job.id not in self._closed
            and (not job.over or job.subject in self._cards or (job.finished_at or job.created_at) > lately)
        ]

    def _pace(self) -> None:
        if self._timer is not None:
            busy = any(card.job is not None and not card.job.over for card in self._cards.values())
            self._timer.interval = _BUSY_S if busy else _IDLE_S

    async def _fetch(self, given: dict[str, str]) -> None:
        page = self._page
        name, revision = given.get("name", "").strip(), given.get("revision", "").strip()
        await asyncio.to_thread(lambda: page.house.hub.add(name, revision, user_id=page.user.id))
        for field in ("hub-revision", "hub-name"):
            page.run("studio.fill", field, "")
        await self.look()

    def _caller(self, job_id: str, what: str) -> Handler:
        async def act() -> None:
            jobs = self._page.house.jobs
            await asyncio.to_thread(jobs.cancel if what == "cancel" else jobs.resume, job_id)
            await self.look()

        return act

    def _close(self, job: Job) -> Handler:
        async def close() -> None:
            self._closed.add(job.id)
            self._cards.pop(job.subject).root.delete()

        return close


class _Fetched:
    """A model on its way, or how that ended."""

    def __init__(
        self, page: Page, name: str, caller: Callable[[str, str], Handler], closer: Callable[[Job], Handler]
    ) -> None:
        self._page = page
        self.name = name
        self._caller, self._closer = caller, closer
        self.job: Job | None = None
        with page.el("section", "card stack job") as self.root:
            self._head = page.el("div", "row")
            self._bar = progress_bar(page, 0, _("Progress"))
            with page.el("p", "muted small facts") as self._line:
                self._stage = page.text("span", "", "")
                self._left = page.text("span", "", "")
            self._said = page.el("div", "notice bad", role="alert", hidden=True)

    def show(self, job: Job) -> None:
        """Shows the job as it is now. A button under the pointer stays the same one until its state is another."""
        page, before = self._page, self.job
        self.job = job
        if before is None or _state(before) != _state(job):
            self._show_state(job)
        share = share_done(job.stage)
        self._bar.props["hidden"] = job.over or share is None
        set_progress(self._bar, share or 0)
        self._line.props["hidden"] = job.over
        self._stage.text = job.stage
        eta_s = None if job.over else job.eta_s
        self._left.props["hidden"] = eta_s is None
        page.say(self._left, _("about {time} left"), time=lambda: page.duration(eta_s or 0))

    def _show_state(self, job: Job) -> None:
        page, name = self._page, self.name
        self._head.clear()
        with self._head:
            with page.el("h2", "grow job-title"):
                if job.status == "done":
                    page.el("a", "", name, href=f"/models/{quote(name)}")
                else:
                    page.el("span", "", name)
                badge(page, job_badge(job))
            if not job.over:
                cancel = page.button("button small", _("Cancel"), self._caller(job.id, "cancel"))
                page.name(cancel, "aria-label", _("Cancel fetching {name}"), name=name)
                cancel.props["disabled"] = job.cancel_requested
            else:
                if job.status == "failed":
                    resume = page.button("button small", _("Go on"), self._caller(job.id, "resume"))
                    page.name(resume, "aria-label", _("Go on with fetching {name}"), name=name)
                page.button("quiet small", _("Close"), self._closer(job), icon="close", bare=True)
        self._said.clear()
        self._said.props["hidden"] = job.error is None
        if job.error is not None:
            with self._said:
                page.icon("alert")
                page.text("span", "", job.error.template, **job.error.params)


def _state(job: Job) -> tuple[str, str, bool]:
    return job.id, job.status, job.cancel_requested
