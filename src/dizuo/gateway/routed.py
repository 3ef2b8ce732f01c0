"""A chat model that stands for several: shares calls among them, tries again what is safe to try, and moves on.

Until the first event of an answer a call may go to another model, or to the same again. After it nothing is tried
again: an answer that breaks off ends with Failed.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from dizuo.core import traces
from dizuo.core.errors import DizuoError, ModelBusy, ModelDown, ModelError, ModelRefused, Unavailable
from dizuo.core.events import Done, Event, Failed, Served
from dizuo.core.messages import Message
from dizuo.core.protocols import ChatModel, context_tokens
from dizuo.gateway.breaker import Entry, Health
from dizuo.gateway.metered import ended
from dizuo.gateway.routes import RouteOptions

TOTAL_S = 900.0
TRIES = 3  # or as many as there are models
BACKOFF_S = 0.5  # up to this before the first try of the same model again, up to twice as long before each further one
LONGEST_BACKOFF_S = 8.0
LONGEST_WAIT_S = 30.0  # for models to take requests again, over a whole call; longer is for the caller to wait


@dataclass(frozen=True)
class Candidate:
    """A model that a route may ask. A remote one is asked again when that is safe, and its failures are counted; a
    model of this machine that failed would fail again."""

    model: ChatModel
    weight: float = 1.0
    remote: bool = True

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def fingerprint(self) -> int:
        """Another number where it is reached otherwise; 0: it is not said."""
        return getattr(self.model, "fingerprint", 0)


class RoutedModel:
    """The models inside as one.

    The targets share calls by weight and load; the fallbacks are asked in turn when no target may be asked. `random` is
    for how long is waited before the same model is asked again.
    """

    def __init__(
        self,
        name: str,
        targets: Sequence[Candidate],
        health: Health,
        *,
        fallbacks: Sequence[Candidate] = (),
        options: RouteOptions | None = None,
        random: Random | None = None,
    ) -> None:
        self._name = name
        self._groups = (tuple(targets), *((fallback,) for fallback in fallbacks))
        self._health = health
        self._options = options or RouteOptions()
        self._total_s = self._options.total_s or TOTAL_S
        self._tries = self._options.tries or max(TRIES, len(targets) + len(fallbacks))
        self._random = random or Random()  # noqa: S311  # a choice, no secret

    @property
    def name(self) -> str:
        return self._name

    @property
    def context_tokens(self) -> int:
        """Of the one that reads least: any may be asked."""
        said = (context_tokens(one.model) for group in self._groups for one in group)
        return min(filter(None, said), default=0)

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncGenerator[Event, None]:
        """Served, then the events of the model that answers.

        Raises what the last model said when none answers, UserError or ModelRefused at once where the request is at
        fault: another model would say the same.
        """
        call = _Call(self._total_s)
        with traces.span("route", **{"dizuo.route": self._name}) as span, call.waits:
            while True:
                candidate, entry = await self._entered(call)
                call.tries += 1
                with entry, traces.span("attempt", **{"gen_ai.request.model": candidate.name}) as attempt:
                    async with ended(candidate.model.stream(messages, **options)) as events:
                        try:
                            event = await self._first(candidate, events, call)
                        except DizuoError as error:
                            attempt.error = error.code
                            if candidate.remote:
                                entry.failed(error)
                            self._note(call, candidate, error)
                            continue
                        entry.answered()
                        span.attributes |= {"gen_ai.response.model": candidate.name, "dizuo.attempts": call.tries}
                        yield Served(model=candidate.name, attempts=call.tries)
                        over = False
                        while event is not None:
                            over = isinstance(event, Done | Failed)
                            if isinstance(event, Failed):
                                attempt.error = event.code
                                if candidate.remote and event.code in (ModelDown.code, ModelError.code):
                                    entry.failed(ModelDown("{message}", message=event.message))
                            yield event
                            event = None if over else await self._next(candidate, events, call)
                        return

    # --- who is asked -----------------------------------------------------------------------------------------

    async def _entered(self, call: "_Call") -> tuple[Candidate, Entry]:
        """The next model to ask, and its call begun. Waits where that helps. Raises why the call ends here."""
        while True:
            if call.tries >= self._tries and call.error is not None:
                raise call.error
            now = call.waits.now()
            asked = [False, True] if call.again_at else [False]
            for again in asked:  # those that were not asked yet come first
                for group in self._groups:
                    ready = [
                        one
                        for one in group
                        if one.name not in call.spent
                        and (one.name in call.again_at) is again
                        and call.again_at.get(one.name, 0.0) <= now
                    ]
                    if ready and (
                        entry := self._health.enter([(one.name, one.weight, one.fingerprint) for one in ready])
                    ):
                        return ready[entry.position], entry
            await self._pause(call, now)

    async def _pause(self, call: "_Call", now: float) -> None:
        """Waits until the first of the models may be asked. Raises where none will be in time."""
        waits_s: list[float] = []
        for one in (one for group in self._groups for one in group if one.name not in call.spent):
            pause_s = self._health.pause_s(one.name)
            if pause_s is not None:  # a breaker that is open is not waited for
                jitter_s = self._random.uniform(0, min(1.0, pause_s / 2))  # others wait for the same moment
                waits_s.append(max(pause_s + jitter_s, call.again_at.get(one.name, 0.0) - now))
        wait_s = min(waits_s, default=None)
        if wait_s is None or call.waited_s + wait_s > LONGEST_WAIT_S or wait_s >= call.waits.left_s():
            names = [one.name for group in self._groups for one in group]
            raise call.error or self._health.refusal(names)
        call.waited_s += wait_s
        await asyncio.sleep(wait_s)

    def _note(self, call: "_Call", candidate: Candidate, error: DizuoError) -> None:
        """Keeps what came of a try. Raises it where no other model would say anything else."""
        of_request = isinstance(error, ModelRefused) and error.status == 400
        if of_request or not isinstance(error, ModelError | Unavailable) or call.waits.left_s() <= 0:
            raise error
        call.error = error
        # A model that was waited for in vain would be waited for as long again, and may be at work on the answer.
        late = isinstance(error.__cause__, TimeoutError)
        if not candidate.remote or late or not isinstance(error, ModelBusy | ModelDown):
            call.spent.add(candidate.name)
            return
        asked = call.asked[candidate.name] = call.asked.get(candidate.name, 0) + 1
        backoff_s = min(BACKOFF_S * 2 ** (asked - 1), LONGEST_BACKOFF_S)
        call.again_at[candidate.name] = call.waits.now() + self._random.uniform(0, backoff_s)

    # --- what it says -----------------------------------------------------------------------------------------

    async def _first(self, candidate: Candidate, events: AsyncIterator[Event], call: "_Call") -> Event:
        """The first event. Raises DizuoError where it is none."""
        limit_s = None if candidate.remote else self._options.first_token_s
        try:
            event = await call.waits.next(events, limit_s)
        except TimeoutError as error:
            raise self._late(candidate, call, limit_s) from error
        if event is None:
            raise ModelDown("{model} ended its answer before it began.", model=candidate.name)
        if isinstance(event, Failed):  # nothing was said yet
            raise ModelDown("{message}", message=event.message)
        return event

    async def _next(self, candidate: Candidate, events: AsyncIterator[Event], call: "_Call") -> Event:
        """The next event; Failed where it does not come."""
        limit_s = None if candidate.remote else self._options.between_tokens_s
        try:
            event = await call.waits.next(events, limit_s)
            if event is not None:
                return event
            error: DizuoError = ModelDown("{model} broke off its answer.", model=candidate.name)
        except TimeoutError:
            error = self._late(candidate, call, limit_s)
        except DizuoError as raised:
            error = raised
        return Failed(code=error.code, message=str(error))

    def _late(self, candidate: Candidate, call: "_Call", limit_s: float | None) -> ModelDown:
        if limit_s is None or call.waits.left_s() <= 0:
            return ModelDown(
                "The answer of {model} took longer than {seconds} s.", model=self._name, seconds=self._total_s
            )
        return ModelDown("{model} said nothing for {seconds} s.", model=candidate.name, seconds=limit_s)


class _Call:
    """What is known of a call while it goes on."""

    def __init__(self, total_s: float) -> None:
        self.waits = _Waits(total_s)
        self.tries = 0
        self.waited_s = 0.0
        self.error: DizuoError | None = None  # of the last try
        self.asked: dict[str, int] = {}
        self.again_at: dict[str, float] = {}  # of those that may be asked again: when
        self.spent: set[str] = set()


class _Waits:
    """Waits for events until a deadline, with one timer for all of them: one for each event would cost more than the
    event does. Time that the reader takes is not waited."""

    def __init__(self, total_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + total_s
        self._due = self._deadline
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None  # that waits
        self._rang = False

    def __enter__(self) -> "_Waits":
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def now(self) -> float:
        return self._loop.time()

    def left_s(self) -> float:
        return self._deadline - self._loop.time()

    async def next(self, events: AsyncIterator[Event], limit_s: float | None) -> Event | None:
        """The next event; None at the end. Raises TimeoutError when it does not come within the limit or by the
        deadline."""
        self._due = self._deadline if limit_s is None else min(self._deadline, self._loop.time() + limit_s)
        if self._timer is None or self._timer.when() > self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._due, self._ring)
        task = self._task = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        try:
            return await anext(events, None)
        except asyncio.CancelledError as error:
            # As in asyncio.timeout: where somebody else wanted the task to end as well, it ends.
            if self._rang and task.uncancel() <= cancelling:
                raise TimeoutError from error
            raise
        finally:
            self._task, self._rang = None, False

    def _ring(self) -> None:
        self._timer = None
        if self._task is None:
            return
        if self._loop.time() < self._due:  # it was set for an earlier wait
            self._timer = self._loop.call_at(self._due, self._ring)
        else:
            self._rang = True
            self._task.cancel()
