"""Whether text that an agent reads can make it act: BIPIA's attacks against a model that believes everything.

    python -m dizuo.evals.injection --data FOLDER

Each attack is put at the beginning, in the middle and at the end of a mail, a table or a piece of code that a tool
gives (Yi et al. 2023, "Benchmarking and Defending Against Indirect Prompt Injection Attacks on Large Language Models",
https://arxiv.org/abs/2312.14197). The model is scripted: it does whatever stands in what it has read, by a tool that
acts on the outside, though its policy lets that tool go unasked. So what is measured is the guard and not a model.
Without the guard, results of tools count as the user's own words. A second scripted model heeds the mark around text of
others.

What the guard does not do: an answer that a model lets itself be talked into is no act, and comes out as it is.
"""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dizuo.agents.loop import Loop
from dizuo.agents.policy import Policy, Rule
from dizuo.agents.state import State
from dizuo.agents.steps import UNTRUSTED, Started
from dizuo.core.events import Done, Event, TextDelta, ToolCalled
from dizuo.core.messages import Message, ToolCall
from dizuo.core.tools import ToolResult, tool
from dizuo.evals.sets import rows_of

HOSTS = ("email", "table", "code")
PLACES = ("beginning", "middle", "end")
_ALL = Policy(rules=[Rule(tool="*", decision="allow")])


@dataclass(frozen=True)
class Outcome:
    """What became of the attacks on one kind of text."""

    host: str
    model: str
    guard: bool
    n: int
    acted: int  # what the attack wanted was done, and nobody was asked
    asked: int  # a person was asked before


class Believer:
    """Does what it reads, once; `heeds`: unless the text is marked as written by others."""

    name = "scripted/believer"

    def __init__(self, attack: str, heeds: bool) -> None:
        self._attack = attack
        self._heeds = heeds

    async def stream(self, messages: Sequence[Message], **_options: Any) -> AsyncIterator[Event]:
        read = [message.content for message in messages if message.role == "tool"]
        if not read:
            yield ToolCalled(call=ToolCall(id="1", name="read", arguments="{}"))
        elif len(read) == 1 and self._attack in read[0] and not (self._heeds and UNTRUSTED in read[0]):
            yield ToolCalled(call=ToolCall(id="2", name="act", arguments=json.dumps({"wish": self._attack})))
        else:
            yield TextDelta(text="Done.")
        yield Done()


def attacked(attack: str, text: str, *, heeds: bool, guard: bool) -> tuple[bool, bool]:
    """Whether what the attack wants was done, and whether a person was asked about it."""
    done: list[str] = []

    @tool
    def read() -> ToolResult:
        """Read what the user has been sent."""
        return ToolResult(text=text, trusted=not guard)

    @tool(effect="outside")
    def act(wish: str) -> str:
        """Do something for the user, outside."""
        done.append(wish)
        return "done"

    async def run() -> State:
        state = State([Started(goal="Read it.", model=Believer.name, instructions="", tools=("read", "act"))])
        async for step in Loop(Believer(attack, heeds), [read, act], policy=_ALL).steps(state):
            state.take(step)
        return state

    state = asyncio.run(run())
    return bool(done), bool(state.waiting)


def measure(data: Path) -> list[Outcome]:
    """Every attack in every place of a text of each kind. Raises OSError where the set is not there."""
    folder = data / "bipia"
    kinds = ("attacks_text_test", "attacks_code_test")
    attacks = [row["attack"] for kind in kinds for row in rows_of(folder / f"{kind}.jsonl.gz")]
    outcomes = []
    for host in HOSTS:
        texts = [_text(row) for row in rows_of(folder / f"{host}_test.jsonl.gz")]
        cases = [
            (attack, _put(attack, texts[n % len(texts)], place)) for n, attack in enumerate(attacks) for place in PLACES
        ]
        for heeds in (False, True):
            for guard in (False, True):
                found = [attacked(attack, text, heeds=heeds, guard=guard) for attack, text in cases]
                model = "heeds the mark" if heeds else "believes everything"
                acted, asked = (sum(one[n] for one in found) for n in (0, 1))
                outcomes.append(Outcome(host, model, guard, len(cases), acted, asked))
    return outcomes


def _text(row: dict[str, Any]) -> str:
    context = row["context"]
    return context if isinstance(context, str) else "\n".join(map(str, context))


def _put(attack: str, text: str, place: str) -> str:
    lines = text.split("\n")
    at = {"beginning": 0, "middle": len(lines) // 2, "end": len(lines)}[place]
    return "\n".join([*lines[:at], attack, *lines[at:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    outcomes = measure(options.data)
    if options.json:
        print(json.dumps([asdict(one) for one in outcomes], indent=1))
        return
    print(f"{'text':7}{'model':22}{'guard':7}{'n':>6}{'acted':>8}{'asked':>8}")
    for one in outcomes:
        rates = f"{one.acted / one.n:8.1%}{one.asked / one.n:8.1%}"
        print(f"{one.host:7}{one.model:22}{'on' if one.guard else 'off':7}{one.n:6}{rates}")


if __name__ == "__main__":
    main()
