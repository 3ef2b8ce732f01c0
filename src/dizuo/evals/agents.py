"""What the ready-made agents reach: tasks with ends that can be checked, in both languages, on real parts.

    python -m dizuo.evals.agents                          the scripted subjects
    python -m dizuo.evals.agents --model acme/qwen3       a model of this instance, by its name
    python -m dizuo.evals.agents --model FOLDER           a model of this machine, in its folder

Each task runs in an instance of its own: a real database, a knowledge base with the real embedder, the agents as they
are shipped, the sandbox that this machine has. A person is played, who answers questions with "Decide yourself." and
says yes or no to what the agent wants to do, as the task has it. What counts is the end: files, tables, charts,
citations, numbers, and that nothing was done without a yes.

Three subjects are scripted and measure no model: `strong` acts sensibly on what tools say, and shows that every task
can be solved with the agents' tools; `lazy` says at once that it is done and `careless` does something else than was
asked, and show that no check lets that pass.
"""

import argparse
import io
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dizuo.agents.run_files import RunFiles
from dizuo.core.errors import DizuoError
from dizuo.core.events import Done, Event, TextDelta, ToolCalled, UsageReported
from dizuo.core.messages import Message, ToolCall, Usage
from dizuo.core.protocols import ChatModel
from dizuo.evals import agent_analysis, agent_files, agent_research
from dizuo.evals.agent_task import Said, Script, Seen, Task, stepwise
from dizuo.evals.fitting import wilson
from dizuo.wiring import House

SUBJECTS: Mapping[str, Callable[[Task], Script]] = {
    "strong": lambda task: task.strong,
    "lazy": lambda task: stepwise({"en": "Done.", "zh": "完成了。"}[task.language]),
    "careless": lambda task: task.careless,
}
_KNOWLEDGE = {"en": "ferries-en", "zh": "ferries-zh"}
_ANSWER = {"en": "Decide yourself.", "zh": "请您自行决定。"}
_TASK_S = 600.0


@dataclass(frozen=True)
class Outcome:
    """What a subject has made of a task. `faults`: what was wanting; none where it is solved."""

    agent: str
    language: str
    task: str
    subject: str
    faults: tuple[str, ...]
    reason: str  # why the run ended
    model_calls: int
    tool_calls: int
    seconds: float


class Scripted:
    """A model that follows a script."""

    name = "scripted/agent"

    def __init__(self, script: Script) -> None:
        self._script = script

    async def stream(self, messages: Sequence[Message], **_options: Any) -> AsyncIterator[Event]:
        said: Said = self._script(messages)
        if isinstance(said, str):
            yield TextDelta(text=said)
        else:
            for n, (name, arguments) in enumerate(said):
                yield ToolCalled(call=ToolCall(id=str(n), name=name, arguments=json.dumps(arguments)))
        yield UsageReported(usage=Usage())
        yield Done()


class _Instance(House):
    """An instance of its own whose agents think with the model that is set."""

    model_of_runs: ChatModel

    def _thinker(self, name: str) -> ChatModel:
        return self.model_of_runs


def tasks() -> list[Task]:
    """Every task of the three agents, in both languages."""
    return [*agent_research.tasks(), *agent_analysis.tasks(), *agent_files.tasks()]


def measure(
    chosen: Sequence[Task], subject: str, model: Callable[[Task], ChatModel], folder: Path, task_s: float = _TASK_S
) -> list[Outcome]:
    """Runs the tasks one after another in an instance in the folder; `model` gives the model for each. A run that is
    not over after `task_s` is cancelled, and not solved.
    """
    with _Instance.open({"DIZUO_HOME": str(folder)}) as house:
        house.jobs.start()
        for language in {task.language for task in chosen if task.agent == agent_research.AGENT}:
            _know(house, language, folder)
        return [_outcome(house, task, subject, model(task), task_s) for task in chosen]


def _outcome(house: _Instance, task: Task, subject: str, model: ChatModel, task_s: float) -> Outcome:
    began = time.perf_counter()
    house.model_of_runs = model
    researches = task.agent == agent_research.AGENT
    run = house.launcher.start(
        task.goal,
        app=task.agent,
        model=model.name,
        knowledge=_KNOWLEDGE[task.language] if researches else "",
        user_id=house.identity.owner().id,
        hold=True,
    )
    if task.files:
        house.run_files.give(run.id, [(name, io.BytesIO(data)) for name, data in task.files.items()])
    house.runs.resume(run.id)
    _play(house, run.id, task, task_s)
    steps = house.runs.steps(run.id)
    seen = Seen(steps, task.files, _contents(house.run_files, run.id))
    kinds = Counter(one.kind for one in steps)
    return Outcome(
        agent=task.agent,
        language=task.language,
        task=task.name,
        subject=subject,
        faults=tuple(task.check(seen)),
        reason=house.runs.get(run.id).reason,
        model_calls=kinds["model"],
        tool_calls=kinds["tool"],
        seconds=time.perf_counter() - began,
    )


def _play(house: House, run_id: str, task: Task, task_s: float) -> None:
    """Answers what the run asks, until it has ended."""
    until = time.monotonic() + task_s
    while (run := house.runs.get(run_id)).status != "ended":
        if time.monotonic() > until:
            house.runs.cancel(run_id)
        elif run.status == "waiting":
            for asked in house.runs.waiting(run_id):
                yes = task.agrees or asked.why == "question"
                reason = _ANSWER[task.language] if asked.why == "question" else ""
                house.runs.answer(run_id, asked.call_id, "approve" if yes else "reject", reason=reason)
        else:
            time.sleep(0.02)


def _contents(files: RunFiles, run_id: str) -> dict[str, bytes]:
    return {one.path: files.path(run_id, one.path).read_bytes() for one in files.list(run_id)}


def _know(house: House, language: str, folder: Path) -> None:
    """Puts the documents of a language into a knowledge base."""
    documents = folder / "documents" / language
    documents.mkdir(parents=True)
    for name, text in agent_research.documents(language).items():
        (documents / name).write_text(text, "utf-8")
    house.library.create(_KNOWLEDGE[language])
    job = house.library.add(_KNOWLEDGE[language], [documents])
    while not house.jobs.get(job.id).over:
        time.sleep(0.05)
    found = house.library.get(_KNOWLEDGE[language]).documents
    assert found == len(agent_research.documents(language)), f"{found} documents were read"


# --- the command ----------------------------------------------------------------------------------------------


def rates(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """For each subject, agent and language: how many of how many, with Wilson's 95 % interval."""
    groups: dict[tuple[str, str, str], list[Outcome]] = {}
    for one in outcomes:
        groups.setdefault((one.subject, one.agent, one.language), []).append(one)
    found = []
    for (subject, agent, language), those in groups.items():
        solved, n = sum(not one.faults for one in those), len(those)
        low, high = wilson(solved, n)
        calls = sum(one.model_calls for one in those) / n
        row = {"subject": subject, "agent": agent, "language": language, "solved": solved, "n": n}
        found.append(row | {"low": low, "high": high, "model_calls": calls})
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: a table, or JSON with every task."""
    parser = argparse.ArgumentParser(prog="python -m dizuo.evals.agents", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", action="append", default=[], help="a model of this instance, or a model's folder")
    parser.add_argument("--agent", action="append", default=[], help="only this agent")
    parser.add_argument("--language", choices=("en", "zh"), help="only this language")
    parser.add_argument("--seconds", type=float, default=_TASK_S, metavar="N", help="most time of a task")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    chosen = [
        one
        for one in tasks()
        if (not options.agent or one.agent in options.agent) and options.language in (None, one.language)
    ]
    try:
        outcomes = [
            one
            for name in options.model or SUBJECTS
            for one in _measured(name, chosen, options.seconds, is_model=bool(options.model))
        ]
    except DizuoError as error:
        sys.exit(str(error))
    if options.json:
        print(json.dumps({"rates": rates(outcomes), "tasks": [asdict(one) for one in outcomes]}, ensure_ascii=False))
        return
    print(f"{'subject':20}{'agent':17}{'lang':6}{'solved':>8}{'95 %':>14}{'calls of the model':>21}")
    for row in rates(outcomes):
        span = f"{row['low']:.0%}–{row['high']:.0%}"
        share = f"{row['solved']}/{row['n']}"
        who = f"{row['subject'][-19:]:20}{row['agent']:17}{row['language']:6}"
        print(f"{who}{share:>8}{span:>14}{row['model_calls']:21.1f}")
    for one in outcomes:
        if one.faults and one.subject not in ("lazy", "careless"):
            print(f"- {one.agent} {one.language} {one.task}: {one.faults[0]} (run: {one.reason})")


def _measured(name: str, chosen: Sequence[Task], task_s: float, *, is_model: bool) -> list[Outcome]:
    with tempfile.TemporaryDirectory(prefix="dizuo-agents-", ignore_cleanup_errors=True) as folder:
        home = Path(folder, "home")
        if not is_model:
            return measure(chosen, name, lambda task: Scripted(SUBJECTS[name](task)), home, task_s)
        is_folder = Path(name).is_dir()
        with _house_of(name, Path(folder)) as theirs:
            model = theirs.gateway.chat(f"local/{_FOLDER}" if is_folder else name, kept=False)
            return measure(chosen, Path(name).name if is_folder else name, lambda _task: model, home, task_s)


_FOLDER = "given"


def _house_of(name: str, folder: Path) -> House:
    """The instance that has the model: this machine's own, or one that is made around a model's folder."""
    if not Path(name).is_dir():
        return House.open()
    models = folder / "theirs" / "models"
    models.mkdir(parents=True)
    (models / _FOLDER).symlink_to(Path(name).resolve())
    return House.open({"DIZUO_HOME": str(models.parent)})


if __name__ == "__main__":
    main()
