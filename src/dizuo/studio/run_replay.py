"""Plays a run again: step by step with the arrow keys of a slider, or by itself."""

from dizuo.platform.catalogue import _
from dizuo.studio.page import Handler, Page, PageTimer

_STEP_S = 1.2


class Replay:
    """A bar at the foot of the page. `on_step` shows the run as it was after that many steps."""

    def __init__(self, page: Page, on_step: Handler) -> None:
        self._page = page
        self._on_step = on_step
        self._last = 1
        self._at = 1
        with page.el("div", "replay card", hidden=True, role="group") as self._bar:
            page.name(self._bar, "aria-label", _("Replay"))
            self._play = page.button("button small", _("Play"), self._switch, icon="play")
            self._slider = page.el("input", "grow", type="range", id="replay", min="1", step="1")
            page.name(self._slider, "aria-label", _("Step"))
            page.on(self._slider, "input", self._moved, "(event) => emit(event.target.value)")
            self._said = page.text("span", "small number", "")
            page.button("quiet small", _("End the replay"), self._close, icon="close", bare=True)
            self._timer = PageTimer(_STEP_S, self._tick, active=False, immediate=False)

    async def open(self, last: int) -> None:
        """Begins at the first step, with the focus on the slider."""
        self._last = last
        self._bar.props["hidden"] = False
        self._slider.props["max"] = str(last)
        await self._go(1)
        self._page.run("studio.select", "replay", 1)
        self._page.run("studio.focus", "#replay")

    async def _close(self) -> None:
        self._run(False)
        self._bar.props["hidden"] = True
        await self._go(self._last, reveal=False)
        self._page.run("studio.focus", "#replay-open")

    async def _switch(self) -> None:
        if not self._timer.active and self._at >= self._last:
            await self._go(1)
            self._page.run("studio.select", "replay", 1)
        self._run(not self._timer.active)

    def _run(self, on: bool) -> None:
        self._timer.active = on
        self._play.props["aria-pressed"] = "true" if on else "false"

    async def _moved(self, value: str) -> None:
        self._run(False)
        if value.isdecimal():
            await self._go(min(self._last, max(1, int(value))))

    async def _tick(self) -> None:
        if self._at < self._last:
            await self._go(self._at + 1)
            self._page.run("studio.select", "replay", self._at)
        if self._at >= self._last:
            self._run(False)

    async def _go(self, number: int, *, reveal: bool = True) -> None:
        self._at = number
        self._page.say(self._said, _("step {n} of {last}"), n=number, last=self._last)
        await self._on_step(number)
        if reveal:
            self._page.run("studio.reveal", f"step-{number}")
