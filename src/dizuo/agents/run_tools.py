"""Which tools runs have, and which they may be given: to be seen before one is started."""

from collections.abc import Mapping, Sequence
from typing import Any

from dizuo.agents.equipment import Equipment
from dizuo.agents.policy import Policy
from dizuo.core.messages import Noun
from dizuo.core.tools import Effect, Tool


class RunTool(Noun):
    """A tool of a run to come. `given`: every run has it. `asks`: a person must approve, where no rule says else.
    `trusted` is False where the words are those of a server of others."""

    name: str
    description: str
    parameters: Mapping[str, Any]  # JSON schema
    effect: Effect
    given: bool
    asks: bool
    trusted: bool


def run_tools(equipment: Equipment, user_id: int | None = None) -> Sequence[RunTool]:
    """Those that may be given, and those that every run of the user has. A run with a knowledge base searches it,
    besides."""
    offered = [_shown(one, given=False) for one in equipment.toolbox.offered()]
    return [*offered, *(_shown(one, given=True) for one in equipment.own("", user_id))]


def _shown(tool: Tool, *, given: bool) -> RunTool:
    described = tool.described()["function"]
    return RunTool(
        name=tool.name,
        description=tool.description,
        parameters=described["parameters"],
        effect=tool.effect,
        given=given,
        asks=Policy().decide(tool, "{}") == "ask",
        trusted="__" not in tool.name,
    )
