"""Who decides about a call of a tool: the policy, or a person that it asks."""

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Literal

from dizuo.core.messages import Noun
from dizuo.core.tools import Effect, Tool, read_arguments

Decision = Literal["allow", "ask", "deny"]

# What holds where no rule says otherwise: looking is free, what reaches beyond the run is a person's to allow.
_USUAL: Mapping[Effect, Decision] = {
    "read": "allow",
    "own": "allow",
    "write": "ask",
    "outside": "ask",
    "money": "ask",
}


class Rule(Noun):
    """A decision about calls of the tools whose names match, if their arguments match too. `*` stands for anything."""

    tool: str
    decision: Decision
    arguments: Mapping[str, str] = {}  # name of an argument -> pattern of its value

    def fits(self, tool: str, arguments: Mapping[str, object]) -> bool:
        return fnmatch.fnmatchcase(tool, self.tool) and all(
            name in arguments and fnmatch.fnmatchcase(str(arguments[name]), pattern)
            for name, pattern in self.arguments.items()
        )


class Policy(Noun):
    """Rules in their order: the first that fits decides."""

    rules: Sequence[Rule] = ()

    def decide(self, tool: Tool, arguments: str, *, told_by_others: bool = False) -> Decision:
        """What is to be done with a call. `told_by_others`: text of others has been read by then, which may be behind
        it; what a rule allows for the user's own wish is asked then, unless it only looks."""
        read = read_arguments(arguments)
        fitting = [rule for rule in self.rules if rule.fits(tool.name, read)]
        found = fitting[0].decision if fitting else _USUAL[tool.effect]
        return "ask" if found == "allow" and told_by_others and _USUAL[tool.effect] == "ask" else found
