"""An app as a chat model: the last message is the goal of a run, what came before it the conversation."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from dizuo.agents.runs import Asked, Run, Runs
from dizuo.agents.state import State
from dizuo.agents.steps import Ended, ModelCalled, Step
from dizuo.apps.app import called
from dizuo.core import traces
from dizuo.core.errors import UserError
from dizuo.core.events import Done, Event, Failed, Served, TextDelta, UsageReported
from dizuo.core.messages import Message, Usage
from dizuo.gateway.estimate import prompt_tokens
from dizuo.knowledge.answer import language_of
from dizuo.platform.catalogue import Language, translate

_LOOK_S = 0.1
_MOST_EARLIER_TOKENS = 8_000  # of the conversation before the goal: a third of what a run reads

_cancelling: set[asyncio.Future[Run]] = set()  # else nobody would hold them


class AppModel:
    """An app that answers as a model does. Each answer is a run of the user who asks, to be seen among all others; it
    is cancelled when whoever asks leaves before its end, since nobody would read it."""

    def __init__(
        self,
        app: str,
        knowledge: str,
        start: Callable[[str, Sequence[Message]], Run],
        runs: Runs,
        work: Callable[[], object],
    ) -> None:
        """`start` begins a run with that goal after that conversation; `work` sees to it that somebody works on it."""
        self._app = called(app)
        self.name = called(app, knowledge)
        self._start = start
        self._runs = runs
        self._work = work

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncGenerator[Event, None]:
        """The answer as events: Served with the run, one TextDelta, UsageReported, then Done; or Failed. What the run
        asks people is told as an answer.

        Raises UserError where there is no goal or for options of a bare model, and what the start of a run raises.
        """
        goal, earlier = _read(messages, options)
        trace = traces.current.get()
        if trace is not None and trace.private:
            raise UserError("An app answers with a run, which is written down: it cannot be private.")
        with traces.span("app", **{"dizuo.app": self._app}) as span:
            run = await asyncio.to_thread(self._start, goal, earlier)
            span.attributes["dizuo.run"] = run.id
            try:
                yield Served(model=run.model, run_id=run.id)
                run = await self._followed(run)
            finally:
                if run.status == "active":
                    await self._cancelled(run)
            steps = await asyncio.to_thread(self._runs.steps, run.id)
            asked = await asyncio.to_thread(self._runs.asking, run.id)
            end = steps[-1]
            if isinstance(end, Ended) and end.reason in ("failed", "cancelled"):
                span.error = end.reason
                yield Failed(code=f"run_{end.reason}", message=end.detail or end.reason)
                return
            text = end.text if isinstance(end, Ended) else _why_not(run, asked, language_of(goal))
            yield TextDelta(text=text)
            yield UsageReported(usage=_usage(steps))
            yield Done(finish_reason="length" if isinstance(end, Ended) and end.reason == "budget" else "stop")

    async def _cancelled(self, run: Run) -> None:
        """Cancels the run, though this task may be cancelled itself, and again at everything that it waits for."""
        cancelling = asyncio.ensure_future(asyncio.to_thread(self._runs.cancel, run.id))
        _cancelling.add(cancelling)
        cancelling.add_done_callback(_cancelling.discard)
        await asyncio.shield(cancelling)

    async def _followed(self, run: Run) -> Run:
        """The run when it has ended, rests or waits for people."""
        while run.status == "active":
            await asyncio.to_thread(self._work)
            await asyncio.sleep(_LOOK_S)
            run = await asyncio.to_thread(self._runs.get, run.id)
        return run


def _read(messages: Sequence[Message], options: dict[str, Any]) -> tuple[str, Sequence[Message]]:
    """The goal, and as much of the conversation before it as is read."""
    said = [one for one in messages if one.content.strip() and one.role != "tool"]
    if not said or said[-1].role != "user":
        raise UserError("The last message must be a goal of the role user; there is nothing to reach.")
    refused = [name for name, value in options.items() if name != "user" and value != {"type": "text"}]
    for name in [*(["image"] if any(one.parts for one in messages) else []), *refused]:
        raise UserError(
            "An app answers in words, with its own tools and settings; it does not take {name!r}.",
            name=name,
            param=name,
        )
    earlier: list[Message] = []
    for one in reversed(said[:-1]):
        # Instructions of the caller are words of the user: those of the app come first.
        role = "user" if one.role == "system" else one.role
        earlier.insert(0, Message(role=role, content=one.content))
        if prompt_tokens(earlier) > _MOST_EARLIER_TOKENS:
            earlier.pop(0)
            break
    return said[-1].content, earlier


def _why_not(run: Run, asked: Sequence[Asked], language: Language) -> str:
    """Why there is no answer yet, and what a person can do about it."""
    if not asked:
        return translate("The run {id} rests. Go on with it: dizuo run resume {id}", language, id=run.id)
    lines = [translate("This waits for a person before it goes on:", language)]
    for one in asked:
        question = one.step
        if question.why == "question":
            lines.append(f"- {question.question}")
        else:
            params = {"tool": question.name, "arguments": question.arguments}
            lines.append(f"- {translate('It wants to call {tool} with {arguments}.', language, **params)}")
    lines.append(translate("Answer on the page Runs, or with: dizuo run answer {id}", language, id=asked[0].run_id))
    return "\n".join(lines)


def _usage(steps: Sequence[Step]) -> Usage:
    """The tokens of all calls of models, of other apps that were called too."""
    own = [one.usage for one in steps if isinstance(one, ModelCalled)]
    written = sum(one.completion_tokens for one in own)
    return Usage(prompt_tokens=State(steps).tokens - written, completion_tokens=written)
