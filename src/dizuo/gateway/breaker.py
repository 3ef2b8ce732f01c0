"""The health of each model: how many calls are under way, and a circuit breaker that spares one that keeps failing.

closed: asked as usual. open: not asked until a moment. half-open: that moment has come, and one call, the probe, goes
through; its first word closes the breaker, its failure opens it for longer. A provider that names a time to come back
is not asked before it either. What was seen is kept in the database, so that a restart does not run into the same wall
and another process (`dizuo route health`) sees it too.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Literal

import sqlalchemy as sa

from dizuo.core.documents import Note
from dizuo.core.errors import DizuoError, ModelBusy, ModelDown, ModelError, ModelRefused
from dizuo.core.messages import Noun
from dizuo.platform import schema
from dizuo.platform.batched import Batched
from dizuo.platform.catalogue import _
from dizuo.platform.database import Database

BreakerState = Literal["closed", "open", "half_open"]

STATE_NAMES: dict[BreakerState, str] = {
    "closed": _("in order"),
    "open": _("spared"),
    "half_open": _("on trial"),
}

FAILURES = 5  # in the window open the breaker, if they are at least half of the calls in it: a busy model errs, too
WINDOW_S = 30
COOL_DOWN_S = 10.0  # twice as long after each probe that failed
LONGEST_COOL_DOWN_S = 120.0
LONGEST_PAUSE_S = 600.0  # what is believed of a provider's Retry-After; then it is asked again
_REMEMBERED = timedelta(days=1)
_MOST_MODELS = 2_000  # in memory: names of a provider's models are a caller's to choose


class ModelHealth(Noun):
    """How one model does. `failures` are those of the last half minute."""

    model: str
    state: BreakerState
    in_flight: int
    failures: int
    last_error: Note | None = None
    opens_until: datetime | None = None  # until when it is not asked


@dataclass(slots=True)
class _Model:
    """All times are of the clock; 0 is never."""

    name: str
    fingerprint: int = 0  # of how it is reached; 0: not known
    in_flight: int = 0
    open_until: float = 0.0  # the breaker's; above 0 it is not closed
    paused_until: float = 0.0  # the provider's own wish
    probing: bool = False
    trips: int = 0  # in a row
    seconds: deque[list[float]] = field(default_factory=deque)  # [second, answers, failures], the newest last
    last_error: Note | None = None

    def count(self, now: float, column: Literal[1, 2]) -> None:
        if not self.seconds or self.seconds[-1][0] != int(now):
            self.seconds.append([int(now), 0, 0])
            self._forget(now)
        self.seconds[-1][column] += 1

    def failures(self, now: float) -> int:
        self._forget(now)
        return int(sum(second[2] for second in self.seconds))

    def answers(self) -> int:
        return int(sum(second[1] for second in self.seconds))

    def _forget(self, now: float) -> None:
        while self.seconds and self.seconds[0][0] <= now - WINDOW_S:
            self.seconds.popleft()

    def admits(self, now: float) -> bool:
        return self.paused_until <= now and (not self.open_until or (self.open_until <= now and not self.probing))

    def state(self, now: float) -> BreakerState:
        if self.paused_until > now or self.open_until > now:
            return "open"
        return "half_open" if self.open_until else "closed"


class Entry:
    """A call of a model, from its start to its end: `with` it, and say whether it answered or failed."""

    __slots__ = ("_health", "_left", "_model", "_probe", "position")

    def __init__(self, health: "Health", model: _Model, position: int, probe: bool) -> None:
        self.position = position  # of the chosen among those that stood for choice
        self._health = health
        self._model = model
        self._probe = probe
        self._left = False

    def __enter__(self) -> "Entry":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._left:
            self._left = True
            self._health._leave(self._model, self._probe)

    def answered(self) -> None:
        """Its first word came."""
        self._health._answered(self._model, self._probe)
        self._probe = False

    def failed(self, error: DizuoError) -> None:
        """It failed, before its first word or after. What is no fault of a model's says nothing of its health."""
        if isinstance(error, ModelError):
            self._health._failed(self._model, self._probe, error)
            self._probe = False


class Health:
    """The health of every model, for callers of all threads and event loops."""

    def __init__(
        self,
        database: Database | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        """Takes over what was kept in the database. Without one, nothing is kept."""
        self._database = database
        self._clock = clock
        self._random = random or Random()  # noqa: S311  # a choice, no secret
        self._lock = threading.Lock()
        self._models: dict[str, _Model] = {}
        self._changes = Batched[dict[str, Any]]("health", self._write)
        if database is not None:
            self._restore(database)

    def close(self) -> None:
        """Writes down what is still to be written."""
        self._changes.close()

    def reached(self, name: str, fingerprint: int) -> None:
        """Says how a model is reached now. Elsewhere, or with another key, it is another one: what was seen of the one
        before, or is still to be, says nothing of it."""
        with self._lock:
            model = self._of(name)
            if model.fingerprint not in (0, fingerprint):
                model = self._models[name] = _Model(name)
                self._keep(model)
            model.fingerprint = fingerprint

    def enter(self, choice: Sequence[tuple[str, float, int]]) -> Entry | None:
        """Begins a call of one of these (model, weight, fingerprint): the one with the fewest calls under way for its
        weight; of several such, one at random by weight. None when none of them may be asked now."""
        with self._lock:
            now = self._clock()
            open_ones = [
                (position, model, weight)
                for position, (name, weight, fingerprint) in enumerate(choice)
                if (model := self._reached_so(name, fingerprint)).admits(now)
            ]
            if not open_ones:
                return None
            least = min(model.in_flight / weight for _position, model, weight in open_ones)
            ties = [one for one in open_ones if one[1].in_flight / one[2] == least]
            position, model, _weight = (
                ties[0] if len(ties) == 1 else self._random.choices(ties, [one[2] for one in ties])[0]
            )
            model.in_flight += 1
            probe = model.open_until > 0
            model.probing = model.probing or probe
            return Entry(self, model, position, probe)

    def pause_s(self, name: str) -> float | None:
        """How long the provider wants to be left alone; 0: it may be asked now; None: the breaker is not closed."""
        with self._lock:
            model, now = self._of(name), self._clock()
            if model.open_until and not model.admits(now):
                return None
            return max(0.0, model.paused_until - now)

    def refusal(self, names: Sequence[str]) -> ModelError:
        """The error of a call that none of these models may be asked for. Without what a provider said to another
        caller, which may quote what he asked."""
        with self._lock:
            now = self._clock()
            model = min((self._of(name) for name in names), key=lambda one: max(one.open_until, one.paused_until))
            seconds = max(1, round(max(model.open_until, model.paused_until) - now))
            said = {"model": model.name, "seconds": seconds}
            if model.open_until:
                return ModelDown(
                    "{model} kept failing and is spared: it is asked again in {seconds} s. Why: dizuo route health",
                    **said,
                )
            return ModelBusy(
                "{model} wants no requests for another {seconds} s. Why: dizuo route health",
                **said,
                retry_after_s=seconds,
            )

    def report(self) -> list[ModelHealth]:
        """How each model does that was asked lately, by name."""
        with self._lock:
            return [self._described(model) for _name, model in sorted(self._models.items())]

    # --- what happens to a call -------------------------------------------------------------------------------

    def _reached_so(self, name: str, fingerprint: int) -> _Model:
        """The record of a model; one that nobody keeps for whoever still holds it as it was reached before."""
        model = self._of(name)
        return model if model.fingerprint in (0, fingerprint) or not fingerprint else _Model(name)

    def _of(self, name: str) -> _Model:
        model = self._models.get(name)
        if model is None:
            if len(self._models) >= _MOST_MODELS:
                self._forget_idle()
            model = self._models[name] = _Model(name)
        return model

    def _forget_idle(self) -> None:
        """Forgets the models that nobody is asking and that are not spared."""
        now = self._clock()
        self._models = {
            name: model
            for name, model in self._models.items()
            if model.in_flight or model.open_until or model.paused_until > now
        }

    def _answered(self, model: _Model, probe: bool) -> None:
        with self._lock:
            model.count(self._clock(), 1)
            if probe:
                model.probing, model.open_until, model.trips = False, 0.0, 0
                model.seconds.clear()
                self._keep(model)

    def _failed(self, model: _Model, probe: bool, error: ModelError) -> None:
        with self._lock:
            now = self._clock()
            pause_s = error.params.get("retry_after_s")
            if isinstance(pause_s, int | float) and pause_s > 0:
                model.paused_until = max(model.paused_until, now + min(pause_s, LONGEST_PAUSE_S))
            if error.status != 400:  # else it is about what somebody asked, and tells others of it
                model.last_error = Note.of(error)
            if isinstance(error, ModelBusy | ModelRefused):  # it is there, and says so
                if probe:
                    model.probing, model.open_until, model.trips = False, 0.0, 0
                    model.seconds.clear()
            else:
                model.count(now, 2)
                failures = model.failures(now)
                if probe or (not model.open_until and failures >= FAILURES and failures >= model.answers()):
                    model.trips += 1
                    cool_down_s = min(COOL_DOWN_S * 2 ** (model.trips - 1), LONGEST_COOL_DOWN_S)
                    model.probing, model.open_until = False, now + cool_down_s
            self._keep(model)

    def _leave(self, model: _Model, probe: bool) -> None:
        with self._lock:
            model.in_flight -= 1
            if probe:  # given up before it told anything: the next call is the probe
                model.probing = False

    # --- what is kept -----------------------------------------------------------------------------------------

    def _described(self, model: _Model) -> ModelHealth:
        now = self._clock()
        until = max(model.open_until, model.paused_until)
        return ModelHealth(
            model=model.name,
            state=model.state(now),
            in_flight=model.in_flight,
            failures=model.failures(now),
            last_error=model.last_error,
            opens_until=datetime.now(UTC) + timedelta(seconds=until - now) if until > now else None,
        )

    def _keep(self, model: _Model) -> None:
        if self._database is None or self._models.get(model.name) is not model:
            return
        now, at = self._clock(), datetime.now(UTC)

        def moment(clock: float) -> str | None:
            return (at + timedelta(seconds=clock - now)).isoformat(timespec="microseconds") if clock else None

        self._changes.add(
            {
                "model": schema.storable(model.name)[:128],
                "open_until": moment(model.open_until),
                "paused_until": moment(model.paused_until),
                "trips": model.trips,
                "last_error": model.last_error.model_dump(mode="json") if model.last_error else None,
                "changed_at": schema.now(),
            }
        )

    def _write(self, changes: list[dict[str, Any]]) -> None:
        assert self._database is not None
        newest = {change["model"]: change for change in changes}
        table = schema.model_health
        stale = (datetime.now(UTC) - _REMEMBERED).isoformat(timespec="microseconds")
        with self._database.write() as connection:
            connection.execute(table.delete().where(table.c.model.in_(list(newest)) | (table.c.changed_at < stale)))
            connection.execute(table.insert(), list(newest.values()))

    def _restore(self, database: Database) -> None:
        now, at = self._clock(), datetime.now(UTC)
        stale = (at - _REMEMBERED).isoformat(timespec="microseconds")

        def clock(moment: str | None, longest_s: float) -> float:
            if moment is None:
                return 0.0
            # What lies before the machine's start is no time of its clock; 0 would say never.
            return max(now + min((datetime.fromisoformat(moment) - at).total_seconds(), longest_s), 1e-9)

        table = schema.model_health
        with database.read() as connection:
            rows = connection.execute(sa.select(table).where(table.c.changed_at >= stale)).all()
        for row in rows:
            self._models[row.model] = _Model(
                row.model,
                open_until=clock(row.open_until, LONGEST_COOL_DOWN_S),
                paused_until=clock(row.paused_until, LONGEST_PAUSE_S),
                trips=row.trips,
                last_error=Note.model_validate(row.last_error) if row.last_error else None,
            )
