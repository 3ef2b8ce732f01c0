"""The page of trainings: what is in the making, their curves side by side, a new one."""

import asyncio
from collections.abc import Callable, Sequence
from urllib.parse import quote

from starlette.requests import Request

from dizuo.core.documents import Note
from dizuo.core.trainings import Training, TrainingPoint
from dizuo.gateway.local_folders import count
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import Confirm
from dizuo.studio.layout import frame
from dizuo.studio.page import Handler, Page, PageTimer, progress_bar, set_badge, set_progress
from dizuo.studio.training_curve import COLOURS, CurveView
from dizuo.studio.training_form import StartForm

_BUSY_S = 1.0
_IDLE_S = 4.0  # others may start one: the command line, the API, another tab
_POINTS = 400  # of a curve; more than the picture has columns for
_SHOWN_FIRST = 3  # curves that are on when the page opens

_STATES = {
    "queued": ("clock", "", _("Waiting")),
    "running": ("spark", "", _("At work")),
    "stopped": ("stop", "warn", _("Stopped")),
    "done": ("check", "good", _("Done")),
    "failed": ("alert", "bad", _("Failed")),
}


async def training_page(request: Request) -> None:
    """/training"""
    await _Trainings(Page(request)).open()


class _Trainings:
    def __init__(self, page: Page) -> None:
        self.page = page
        self._cards: dict[str, _TrainingCard] = {}
        self._shown: dict[str, int] = {}  # name -> its colour, of the curves that are on
        self._looking = asyncio.Lock()
        self._timer: PageTimer | None = None

    async def open(self) -> None:
        page = self.page
        page.title(_("Training"))
        with frame(page, "train"), page.el("div", "column"):
            with page.el("div", "head"):
                with page.el("div"):
                    page.text("h1", "", _("Training"))
                    lead = _("A recipe becomes a model. One at a time; it goes on when you leave this page.")
                    page.text("p", "muted", lead)
                if page.visitor.is_owner:
                    new = page.button("button primary", _("New training"), icon="plus")
                    new.props["data-open"] = "new-training"
            self._curve = CurveView(page)
            with page.el("div", "card empty", hidden=True) as self._empty:
                page.icon("train")
                page.text("h2", "", _("No training yet"))
                page.text("p", "", _("Start one by a recipe, and watch the loss fall."))
            self._list = page.el("div", "stack")
        note = _("Its checkpoints and its curve go with it. A model that it has made stays.")
        self._confirm = Confirm(page, "remove-training", _("Remove for good?"), _("Remove"), self._remove, note)
        if page.visitor.is_owner:
            StartForm(page, await asyncio.to_thread(page.house.trainings.recipes), self._look_anew)
        await self.look()
        with self._list:
            self._timer = PageTimer(_IDLE_S, self.look, immediate=False)
        self._pace()

    async def look(self) -> None:
        """Fetches the trainings and shows what has changed."""
        page = self.page
        async with self._looking:
            trainings = await asyncio.to_thread(page.house.trainings.list)
            if page.client.is_deleted:
                return
            if self._timer is None:
                with_curve = [one.name for one in trainings if one.loss is not None]
                self._shown = {name: n for n, name in enumerate(with_curve[:_SHOWN_FIRST])}
            self._show_cards(trainings)
            curves = await asyncio.to_thread(self._curves, trainings)
            if not page.client.is_deleted:
                self._curve.show(curves)
        self._pace()

    async def _look_anew(self, name: str) -> None:
        """After one has been started: its curve is what one wants to see."""
        self._turn_on(name)
        await self.look()

    def _curves(self, trainings: Sequence[Training]) -> list[tuple[str, int, Sequence[TrainingPoint]]]:
        metrics, there = self.page.house.trainings.metrics, {one.name for one in trainings}
        return [(name, colour, metrics(name, 0, _POINTS)) for name, colour in self._shown.items() if name in there]

    def _show_cards(self, trainings: Sequence[Training]) -> None:
        names = [one.name for one in trainings]
        self._empty.props["hidden"] = bool(names)
        for name in [known for known in self._cards if known not in names]:
            self._cards.pop(name).root.delete()
            self._shown.pop(name, None)
        for position, training in enumerate(trainings):
            card = self._cards.get(training.name)
            if card is None:
                with self._list:
                    card = _TrainingCard(self.page, training.name, self._switch(training.name), self._asker(training))
                card.root.move(self._list, position)
                self._cards[training.name] = card
            card.show(training, self._shown.get(training.name))

    def _asker(self, training: Training) -> Handler:
        return self._confirm.asker(training.name, _("Remove the training {name}?"), name=training.name)

    def _switch(self, name: str) -> Handler:
        async def switch() -> None:
            if self._shown.pop(name, None) is None:
                self._turn_on(name)
            await self.look()

        return switch

    def _turn_on(self, name: str) -> None:
        used = set(self._shown.values())
        self._shown[name] = next((colour for colour in range(COLOURS) if colour not in used), len(used) % COLOURS)

    def _pace(self) -> None:
        if self._timer is not None:
            busy = any(card.training is not None and not card.training.over for card in self._cards.values())
            self._timer.interval = _BUSY_S if busy else _IDLE_S

    async def _remove(self, name: str) -> None:
        await asyncio.to_thread(self.page.house.trainings.delete, name)
        self.page.toast("good", _("{name} has been removed."), name=name)
        await self.look()


class _TrainingCard:
    """One training. Changes what has changed and builds nothing anew, so that a focused button stays the same one."""

    def __init__(self, page: Page, name: str, on_switch: Handler, on_remove: Handler) -> None:
        self._page = page
        self._state: tuple[str, bool] | None = None
        self._error: Note | None = None
        self.training: Training | None = None
        with page.el("section", "card stack training") as self.root:
            with page.el("div", "row"):
                with page.el("h2", "grow job-title"):
                    page.el("span", "", name)
                    self._badge = page.el("span", "badge")
                self._switch = page.button("button small", _("Curve"), on_switch, icon="train")
                page.name(self._switch, "aria-label", _("Show the curve of {name}"), name=name)
                if page.visitor.is_owner:
                    self._build_actions(name, on_remove)
            self._bar = progress_bar(page, 0, _("Progress"))
            with page.el("p", "muted small job-line"):
                self._parts = {
                    part: page.text("span", "", "")
                    for part in ("step", "loss", "held_out", "scores", "rate", "left", "doing", "recipe", "made")
                }
            self._said = page.el("div", "notice bad", role="alert", hidden=True)
            with page.el("p", "row", hidden=True) as self._model:
                page.text("span", "", _("It is the model"))
                with page.el("a", "", href=f"/models/{quote(f'local/{name}')}"):
                    self._model_name = page.el("code", "strong", "")

    def _build_actions(self, name: str, on_remove: Handler) -> None:
        page, trainings = self._page, self._page.house.trainings
        self._actions = {
            "stop": page.button("button small", _("Stop"), self._caller(lambda: trainings.stop(name)), icon="stop"),
            "resume": page.button("button small", _("Go on"), self._caller(lambda: trainings.resume(name))),
            "remove": page.button("quiet small", _("Remove"), on_remove, icon="bin", bare=True),
        }
        for action, label in (
            ("stop", _("Stop the training {name}")),
            ("resume", _("Go on with the training {name}")),
            ("remove", _("Remove {name}")),
        ):
            page.name(self._actions[action], "aria-label", label, name=name)

    def _caller(self, call: Callable[[], Training]) -> Handler:
        async def act() -> None:
            training = await asyncio.to_thread(call)
            if not self._page.client.is_deleted:
                self.show(training, None, keep_colour=True)

        return act

    def show(self, training: Training, colour: int | None, *, keep_colour: bool = False) -> None:
        """Shows the training as it is now; `colour` is that of its curve, None where it is off."""
        page, before = self._page, self.training
        self.training = training
        if not keep_colour:
            self._switch.props["aria-pressed"] = "false" if colour is None else "true"
            self._switch.classes(replace="button small" + (f" curve-{colour}" if colour is not None else ""))
        if training == before:
            return
        if self._state != (training.state, training.stopping):
            self._state = (training.state, training.stopping)
            self._show_state()
        self._bar.props["hidden"] = training.over or not training.steps
        set_progress(self._bar, training.step / training.steps if training.steps else 0)
        self._say("step", training.steps > 0, _("step {step} of {steps}"),
                  step=page.number(training.step), steps=page.number(training.steps))  # fmt: skip
        self._say("loss", training.loss is not None, _("loss {loss}"), loss=_figure(training.loss))
        self._say("held_out", training.val_loss is not None, _("held-out {loss}"), loss=_figure(training.val_loss))
        scores = " · ".join(f"{name} {value:.4g}" for name, value in training.scores.items())
        self._say("scores", bool(scores), "{scores}", scores=scores)
        at_work = training.state == "running" and not training.stopping
        rate = training.tokens_per_s if at_work else None
        self._say("rate", bool(rate), _("{count} tokens/s"), count=count(round(rate or 0)))
        eta_s = training.eta_s if at_work else None
        self._say("left", eta_s is not None, _("about {time} left"), time=lambda: page.duration(eta_s or 0))
        doing = training.doing or Note(template="")
        self._say("doing", training.doing is not None, doing.template, **doing.params)
        self._say("recipe", True, _("recipe {recipe}"), recipe=training.recipe)
        self._say("made", True, _("begun {when}"), when=lambda: page.when(training.created_at))
        if self._error != training.error:
            self._error = training.error
            self._show_error(training.error)
        self._model.props["hidden"] = training.model is None
        self._model_name.text = training.model or ""  # type: ignore[attr-defined]

    def _say(self, part: str, there: bool, text: str, **params: object) -> None:
        element = self._parts[part]
        element.props["hidden"] = not there
        if there:
            self._page.say(element, text, **params)

    def _show_state(self) -> None:
        page, training = self._page, self.training
        assert training is not None
        icon, kind, label = _STATES[training.state]
        if training.stopping:
            label = _("Saving and stopping")
        set_badge(page, self._badge, (icon, kind, label))
        if page.visitor.is_owner:
            self._actions["stop"].props["hidden"] = training.over
            self._actions["stop"].props["disabled"] = training.stopping
            self._actions["resume"].props["hidden"] = training.state not in ("stopped", "failed")
            self._actions["remove"].props["hidden"] = not training.over

    def _show_error(self, error: Note | None) -> None:
        self._said.clear()
        self._said.props["hidden"] = error is None
        if error is not None:
            with self._said:
                self._page.icon("alert")
                self._page.text("span", "", error.template, **error.params)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
