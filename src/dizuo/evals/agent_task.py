"""A task for a ready-made agent: a goal with files, an end that can be checked, and a script that reaches it."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dizuo.agents.steps import ApprovalAsked, ApprovalGiven, Ended, Step, ToolEnded
from dizuo.core.messages import Message
from dizuo.core.tools import read_arguments

Calls = Sequence[tuple[str, Mapping[str, Any]]]
Said = str | Calls
"""What a script says: an answer, or calls of tools with their arguments."""
Script = Callable[[Sequence[Message]], Said]


@dataclass(frozen=True)
class Seen:
    """What a run has come to."""

    steps: Sequence[Step]
    before: Mapping[str, bytes]  # the files as they were given
    files: Mapping[str, bytes]

    @property
    def answer(self) -> str:
        """The last text; "" where the run has not ended well."""
        end = next((one for one in self.steps if isinstance(one, Ended)), None)
        return end.text if end is not None and end.reason == "done" else ""

    @property
    def calls(self) -> Sequence[ToolEnded]:
        return [one for one in self.steps if isinstance(one, ToolEnded)]

    @property
    def asked(self) -> Sequence[ApprovalAsked]:
        return [one for one in self.steps if isinstance(one, ApprovalAsked)]

    def did(self, *names: str) -> bool:
        """Whether one of these tools was called, and did not fail."""
        return any(one.name in names and not one.result.failed for one in self.calls)

    def unasked(self, name: str) -> Sequence[str]:
        """Calls of a tool that were made without a yes before them."""
        yes = {one.call_id for one in self.steps if isinstance(one, ApprovalGiven) and one.decision == "approve"}
        return [
            one.call_id for one in self.calls if one.name == name and not one.result.failed and one.call_id not in yes
        ]


Check = Callable[[Seen], Sequence[str]]
"""What is wanting; nothing where the end is right."""


@dataclass(frozen=True)
class Task:
    """`agrees`: what the person says to what the agent wants to do. `careless` is a script that goes wrong the way a
    weak model does, and whose end no check may accept."""

    agent: str
    language: str
    name: str
    goal: str
    check: Check
    strong: Script
    careless: Script
    files: Mapping[str, bytes] = field(default_factory=dict)
    agrees: bool = True


def stepwise(*steps: Said | Callable[[Sequence[str]], Said]) -> Script:
    """A script of turns. Each may be made of the results so far."""

    def said(messages: Sequence[Message]) -> Said:
        turn = sum(one.role == "assistant" for one in messages)
        step = steps[min(turn, len(steps) - 1)]
        return step(results(messages)) if callable(step) else step

    return said


def results(messages: Sequence[Message]) -> list[str]:
    """What tools have said, in order, without the mark around text of others."""
    return [_unmarked(one.content) for one in messages if one.role == "tool" and isinstance(one.content, str)]


def read_files(messages: Sequence[Message]) -> dict[str, str]:
    """The texts that read_file gave, by path: calls of one turn end in any order."""
    said = {one.tool_call_id: _unmarked(str(one.content)) for one in messages if one.role == "tool"}
    calls = [call for one in messages for call in one.tool_calls if call.name == "read_file"]
    return {str(read_arguments(call.arguments).get("path")): said[call.id] for call in calls if call.id in said}


def _unmarked(text: str) -> str:
    match = re.search(r"<<<(\S+)\n(.*)\n\1>>>", text, re.DOTALL)
    return match[2] if match else text


def rows(text: str) -> list[list[str]]:
    """The rows of a table in CSV, without its head."""
    return [row for row in csv.reader(io.StringIO(text)) if row][1:]


def plain(cell: str) -> str:
    """A cell as it is compared: numbers to two decimals, texts without space around them."""
    text = cell.strip().replace(",", "")
    try:
        return f"{float(text):.2f}"
    except ValueError:
        return cell.strip()


def numbers(text: str) -> set[str]:
    """The numbers of a text, to two decimals, whatever separates their thousands."""
    found = re.findall(r"(?<![\d.])\d[\d,，]*(?:\.\d+)?", text)
    return {f"{float(one.replace(',', '').replace('，', '')):.2f}" for one in found}
