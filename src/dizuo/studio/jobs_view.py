"""Jobs of one knowledge base: how far they are, what came of each file, cancel. They go on when the page is left."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from nicegui.element import Element

from dizuo.core.documents import Note, ParseReport
from dizuo.core.jobs import Job, JobItem
from dizuo.platform.catalogue import _
from dizuo.studio.page import Badge, Handler, Page, PageTimer, Work, badge, progress_bar, set_badge, set_progress

_BUSY_S = 0.6
_IDLE_S = 3.0  # others may start jobs: the command line, the API, another tab
_TELL_S = 2.0
_LISTED = 200  # files told one by one
_REMEMBERED = 3  # jobs that are over, shown until closed
_RECENT_S = 3600

_STATES = {
    "queued": ("clock", "", _("Waiting")),
    "running": ("spark", "", _("At work")),
    "done": ("check", "good", _("Done")),
    "failed": ("alert", "bad", _("Failed")),
    "cancelled": ("stop", "warn", _("Cancelled")),
}
_ITEM_STATES = {
    "waiting": ("clock", "", _("waiting")),
    "added": ("check", "good", _("added")),
    "changed": ("check", "good", _("changed")),
    "unchanged": ("check", "", _("unchanged")),
    "removed": ("bin", "", _("removed")),
    "failed": ("alert", "bad", _("failed")),
    "cancelled": ("stop", "warn", _("cancelled")),
}


class JobsView:
    """Follows the jobs of a knowledge base. `on_change` is called whenever files have come in."""

    def __init__(self, page: Page, name: str, on_change: Handler) -> None:
        self._page = page
        self._name = name
        self._on_change = on_change
        self._cards: dict[str, _JobCard] = {}
        self._closed: set[str] = set()
        self._place = page.el("div", "stack jobs")
        self._looking = asyncio.Lock()
        self._told = 0  # how many finished files `on_change` has heard of
        self._told_s = 0.0
        self._timer: PageTimer | None = None

    async def begin(self) -> None:
        """Shows what there is and follows it from now on."""
        await self.look()
        with self._place:
            self._timer = PageTimer(_IDLE_S, self.look, immediate=False)
        self._pace()

    async def look(self) -> None:
        """Fetches the jobs and shows what has changed."""
        async with self._looking:
            jobs = await asyncio.to_thread(self._page.house.jobs.list, self._name, None, 20)
            if self._page.client.is_deleted:
                return
            for job in reversed(self._wanted(jobs)):
                card = self._cards.get(job.id)
                if card is None:
                    with self._place:
                        card = self._cards[job.id] = _JobCard(self._page, job, self._close)
                    card.root.move(self._place, 0)
                    await card.show(job)
                elif card.job != job:
                    await card.show(job)
            await self._tell()
        self._pace()

    async def _tell(self) -> None:
        """Says that files have come in; not at every one, since whoever hears of it counts them all again."""
        finished = sum(card.job.finished for card in self._cards.values())
        if self._timer is None:  # the page is being built and looks for itself
            self._told = finished
            return
        due = not self._busy or time.monotonic() - self._told_s > _TELL_S
        if finished != self._told and due:
            self._told, self._told_s = finished, time.monotonic()
            await self._on_change()

    @property
    def _busy(self) -> bool:
        return any(not card.job.over for card in self._cards.values())

    def _wanted(self, jobs: Sequence[Job]) -> list[Job]:
        """The active ones; and of those that are over, the last few that ended lately or are on the page already."""
        lately = datetime.now(UTC) - timedelta(seconds=_RECENT_S)
        over = [
            job for job in jobs if job.over and (job.id in self._cards or (job.finished_at or job.created_at) > lately)
        ]
        return [job for job in jobs if job.id not in self._closed and (not job.over or job in over[:_REMEMBERED])]

    def _pace(self) -> None:
        if self._timer is not None:
            self._timer.interval = _BUSY_S if self._busy else _IDLE_S

    async def _close(self, job_id: str) -> None:
        self._closed.add(job_id)
        card = self._cards.pop(job_id, None)
        if card is not None:
            self._told -= card.job.finished
            card.root.delete()


class _JobCard:
    def __init__(self, page: Page, job: Job, on_close: Callable[[str], Work]) -> None:
        self._page = page
        self._on_close = on_close
        self._rows: dict[int, tuple[JobItem, Element]] = {}
        self.job = job
        self._state: tuple[str, bool] | None = None
        self._notices: tuple[str, Note | None] | None = None
        with page.el("section", "card stack job") as self.root:
            with page.el("div", "row"):
                with page.el("h2", "grow job-title"):
                    self._count = page.text("span", "", "")
                    self._badge = page.el("span", "badge")
                self._cancel_button = page.button("button small", _("Cancel"), self._cancel)
                self._close_button = page.button("quiet small", _("Close"), self._close, icon="close", bare=True)
            self._bar = progress_bar(page, 0, _("Progress"))
            with page.el("p", "muted small job-line"):
                self._finished = page.text("span", "", "")
                self._failed = page.text("span", "bad-text", "")
                self._eta = page.text("span", "", "")
                self._stage = page.text("span", "stage", "")
            self._said = page.el("div", "stack")
            with page.el("details", "files", open=job.total <= 12):
                page.text("summary", "", _("Files"))
                self._list = page.el("ul", "file-list")
                self._more = page.text("p", "muted small", "")
        self._show_head()  # a heading says something from the start

    async def show(self, job: Job) -> None:
        """Shows the job as it is now, its files included."""
        jobs, page = self._page.house.jobs, self._page
        self.job = job
        items = list(await asyncio.to_thread(jobs.items, job.id, None, _LISTED))
        if job.failed and job.total > _LISTED:
            known = {item.id for item in items}
            failed = await asyncio.to_thread(jobs.items, job.id, "failed", _LISTED)
            items = [item for item in failed if item.id not in known] + items
        if page.client.is_deleted:
            return
        self._show_head()
        self._show_items(items)

    def _show_head(self) -> None:
        """Changes what has changed and builds nothing anew, so that a button under the pointer stays the same one."""
        page, job = self._page, self.job
        page.say(self._count, _("1 file") if job.total == 1 else _("{count} files"), count=page.number(job.total))
        if self._state != (job.status, job.cancel_requested):
            self._state = (job.status, job.cancel_requested)
            set_badge(page, self._badge, job_badge(job))
        self._cancel_button.props["hidden"] = job.over
        self._cancel_button.props["disabled"] = job.cancel_requested
        self._close_button.props["hidden"] = not job.over
        self._bar.props["hidden"] = job.over
        set_progress(self._bar, job.finished / job.total if job.total else 0)
        page.say(
            self._finished, _("{finished} of {total}"), finished=page.number(job.finished), total=page.number(job.total)
        )
        self._failed.props["hidden"] = not job.failed
        page.say(self._failed, _("{count} failed"), count=page.number(job.failed))
        eta_s = job.eta_s if not job.over else None
        self._eta.props["hidden"] = eta_s is None
        page.say(self._eta, _("about {time} left"), time=lambda: page.duration(eta_s or 0))
        self._stage.props["hidden"] = job.over or not job.stage
        self._stage.text = job.stage
        if self._notices != (job.status, job.error):
            self._notices = (job.status, job.error)
            self._show_notices()

    def _show_notices(self) -> None:
        page, job = self._page, self.job
        self._said.clear()
        self._said.props["hidden"] = job.error is None and job.status != "cancelled"
        with self._said:
            if job.error is not None:
                with page.el("div", "notice bad", role="alert"):
                    page.icon("alert")
                    page.text("span", "", job.error.template, **job.error.params)
            if job.status == "cancelled":
                page.text("p", "small", _("What is in stays in. Drop the files again to go on with the rest."))

    def _show_items(self, items: Sequence[JobItem]) -> None:
        page = self._page
        wanted = {item.id for item in items}
        for item_id in [known for known in self._rows if known not in wanted]:
            self._rows.pop(item_id)[1].delete()
        for item in items:
            known = self._rows.get(item.id)
            if known is not None and known[0] == item:
                continue
            if known is None:
                with self._list:
                    row = page.el("li", "file")
            else:
                row = known[1]
                row.clear()
            with row:
                self._show_item(item)
            self._rows[item.id] = (item, row)
        rest = self.job.total - len(items)
        self._more.props["hidden"] = rest <= 0
        if rest > 0:
            page.say(self._more, _("… and {count} more"), count=rest)

    def _show_item(self, item: JobItem) -> None:
        page = self._page
        with page.el("div", "file-line"):
            page.el("span", "file-name", str(item.args.get("name") or item.source))
            badge(page, _ITEM_STATES[item.status])
        if item.report is not None and item.status in ("added", "changed", "unchanged"):
            report_line(page, item.report)
        if item.error is not None:
            page.text("p", "small bad-text", item.error.template, **item.error.params)

    async def _cancel(self) -> None:
        await self.show(await asyncio.to_thread(self._page.house.jobs.cancel, self.job.id))

    async def _close(self) -> None:
        await self._on_close(self.job.id)


def job_badge(job: Job) -> Badge:
    """How a job stands."""
    icon, kind, label = _STATES[job.status]
    if job.cancel_requested and not job.over:
        label = _("Being cancelled")
    return icon, kind, label


def report_line(page: Page, report: ParseReport) -> None:
    """What was read of a file, and below it what was lost."""
    with page.el("p", "muted small facts"):
        page.el("span", "", report.format + (f", {report.encoding}" if report.encoding else ""))
        if report.pages:
            pages = _("1 page") if report.pages == 1 else _("{n} pages")
            page.text("span", "", pages, n=page.number(report.pages))
        if report.format != "archive":
            page.text("span", "", _("{n} characters"), n=page.number(report.characters))
            chunks = _("1 chunk") if report.chunks == 1 else _("{n} chunks")
            page.text("span", "", chunks, n=page.number(report.chunks))
    for note in report.lost:
        with page.el("p", "small warn-text lost"):
            page.icon("alert")
            page.text("span", "", note.template, **note.params)
