"""Where a run stands: a fold over its steps, and nothing else, so that it is the same after any crash."""

from collections import Counter
from collections.abc import Iterable

from dizuo.agents.steps import (
    ApprovalAsked,
    ApprovalGiven,
    Budget,
    BudgetName,
    ChildStarted,
    Ended,
    ModelCalled,
    PlanChanged,
    PlanItem,
    Spent,
    Started,
    Steered,
    Step,
    ToolEnded,
    ToolStarted,
)
from dizuo.core.messages import Message, ToolCall

SAME_CALLS = 3  # with the same result and no change of the plan between them: it turns in a circle


class State:
    """What the steps so far come to."""

    def __init__(self, steps: Iterable[Step] = ()) -> None:
        self.number = 0  # of steps
        self.started: Started | None = None
        self.ended: Ended | None = None
        self.plan: tuple[PlanItem, ...] = ()
        self.answer = ""  # the last text of the model's own
        self.answered = False  # the model wants no more calls
        self.open: dict[str, ToolCall] = {}  # calls that have no result yet
        self.begun: set[str] = set()  # of those, that may have been made
        self.children: dict[str, str] = {}  # of those, which runs work on them
        self.asked: dict[str, ApprovalAsked] = {}
        self.answers: dict[str, ApprovalGiven] = {}
        self.model_calls = self.tokens = self.tool_calls = 0
        self.cost = self.seconds = 0.0
        self.told_by_others = False  # whether text of others was read
        self.circle = ""  # the call that came again and again
        self._said: list[Message] = []
        self._held: list[Message] = []
        self._calls: Counter[tuple[str, str, str]] = Counter()
        for step in steps:
            self.take(step)

    def take(self, step: Step) -> None:
        self.number += 1
        said = self._held if self.open and isinstance(step, Steered | PlanChanged) else self._said
        said += step.messages()  # between calls and their results nobody may speak
        match step:
            case Started():
                self.started = step
                self.told_by_others = step.told_by_others
            case ModelCalled():
                self.open = {call.id: call for call in step.calls}
                self.begun.clear()
                self.answer = step.text.strip() or self.answer
                self.answered = not step.calls
                self.model_calls += 1
                self.tokens += step.usage.total_tokens
                self.cost += step.cost
                self.seconds += step.seconds
            case ToolStarted():
                self.begun.add(step.call_id)
            case ChildStarted():
                if step.call_id in self.open:  # else it has ended before this was written
                    self.children[step.call_id] = step.run_id
            case ToolEnded():
                self.open.pop(step.call_id, None)
                self.asked.pop(step.call_id, None)
                self.children.pop(step.call_id, None)
                self.model_calls += step.used.steps
                self.tokens += step.used.tokens
                self.cost += step.used.cost
                self.tool_calls += 1 + step.used.tool_calls
                self.seconds += step.seconds
                self.told_by_others = self.told_by_others or not step.result.trusted
                self._note_call(step)
            case PlanChanged():
                if step.items != self.plan:
                    self._calls.clear()
                self.plan = step.items
            case Steered():
                self._calls.clear()
                self.answered = False
            case ApprovalAsked():
                self.asked[step.call_id] = step
                self.answers.pop(step.call_id, None)
            case ApprovalGiven():
                self._note_answer(step)
            case Ended():
                self.ended = step
        if not self.open and self._held:
            self._said += self._held
            self._held = []

    @property
    def budget(self) -> Budget:
        return self.started.budget if self.started else Budget()

    @property
    def used(self) -> Spent:
        """What it has used, its children with it."""
        return Spent(steps=self.model_calls, tokens=self.tokens, cost=self.cost, tool_calls=self.tool_calls)

    def left(self) -> Budget | None:
        """What is left of the budget; None: nothing to begin anything with."""
        whole = self.budget
        steps, tokens = whole.steps - self.model_calls, whole.tokens - self.tokens
        money, seconds = whole.money - self.cost, whole.seconds - self.seconds
        if steps < 1 or tokens < 1 or seconds <= 0 or (money <= 0 and self.cost > 0):
            return None
        calls = max(0, whole.tool_calls - self.tool_calls)
        return Budget(steps=steps, tokens=tokens, money=max(0.0, money), seconds=seconds, tool_calls=calls)

    @property
    def waiting(self) -> list[ApprovalAsked]:
        """What people are asked and have not answered."""
        return [one for call_id, one in self.asked.items() if call_id not in self.answers]

    def messages(self) -> list[Message]:
        """What the model reads."""
        return list(self._said)

    def spent(self) -> BudgetName | None:
        """The budget that is used up, if one is. That of calls ends no run: further calls are refused, and the model
        may make use of what it has."""
        budget = self.budget
        used: dict[BudgetName, tuple[float, float]] = {
            "steps": (self.model_calls, budget.steps),
            "tokens": (self.tokens, budget.tokens),
            "money": (self.cost, budget.money),
            "seconds": (self.seconds, budget.seconds),
        }
        return next((name for name, (now, most) in used.items() if now >= most and (most or now)), None)

    def _note_answer(self, step: ApprovalGiven) -> None:
        call = self.open.get(step.call_id)
        if call is None:
            return
        self.answers[step.call_id] = step
        self.begun.discard(step.call_id)  # whoever was asked whether it may be made again has said so
        if step.arguments is not None and step.decision == "approve":
            self.open[step.call_id] = call.model_copy(update={"arguments": step.arguments})

    def _note_call(self, step: ToolEnded) -> None:
        same = (step.name, step.arguments, step.result.text)
        self._calls[same] += 1
        if self._calls[same] >= SAME_CALLS:
            self.circle = f"{step.name}({step.arguments})"
