"""Who decides about a call of a tool: the policy, or a person that it asks."""

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Literal

from dizuo.core.messages import Noun
from dizuo.core.tools import Effect, Tool, read_arguments

Decision = Literal["allow", "ask", "deny"]

_STRICTNESS: Sequence[Decision] = ("allow", "ask", "deny")

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
    """Rules in their order: the first that fits decides. Where a rule of the `outer` policy is stricter, that holds."""

    rules: Sequence[Rule] = ()
    outer: "Policy | None" = None

    def decide(self, tool: Tool, arguments: str, *, told_by_others: bool = False) -> Decision:
        """What is to be done with a call. `told_by_others`: text of others has been read by then, which may be behind
        it; what a rule allows for the user's own wish is asked then, unless it only looks."""
        usual = _USUAL[tool.effect]
        found = self._said(tool.name, read_arguments(arguments), usual)
        return "ask" if found == "allow" and told_by_others and usual == "ask" else found

    def loosened(self, rules: Sequence[Rule]) -> "Policy":
        """This policy with rules of whoever starts the run before its own: they may allow what it asks about, and not
        what it denies."""
        kept = [
            rule if rule.decision == "deny" else rule.model_copy(update={"decision": "allow"}) for rule in self.rules
        ]
        return Policy(rules=(*rules, *self.rules), outer=Policy(rules=kept, outer=self.outer)) if rules else self

    def _said(self, tool: str, arguments: Mapping[str, object], usual: Decision) -> Decision:
        fitting = [rule for rule in self.rules if rule.fits(tool, arguments)]
        own = fitting[0].decision if fitting else usual
        outer: Decision = "allow" if self.outer is None else self.outer._said(tool, arguments, "allow")
        return own if _STRICTNESS.index(own) >= _STRICTNESS.index(outer) else outer
