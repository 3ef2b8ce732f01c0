"""What runs work with: models to think with, tools that they may call, and apps that they are runs of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dizuo.agents.builtin import BUILT_IN
from dizuo.agents.memory import Memories
from dizuo.agents.memory_tools import memory_tools
from dizuo.agents.policy import Policy
from dizuo.agents.steps import APP_PREFIX, Budget
from dizuo.agents.toolbox import Toolbox
from dizuo.core.errors import NotFound
from dizuo.core.protocols import ChatModel
from dizuo.core.tools import Tool


@dataclass(frozen=True)
class Setup:
    """All that a run goes by but its goal. `instructions` come after those of every agent; `app`: the app it is of,
    which other agents know by its `description`."""

    model: str
    instructions: str = ""
    knowledge: str = ""
    tools: Sequence[str] = ()
    policy: Policy = field(default_factory=Policy)
    budget: Budget = field(default_factory=Budget)
    app: str = ""
    description: str = ""


def no_apps(name: str, model: str, knowledge: str) -> Setup:
    """Where there are none. Raises NotFound."""
    raise NotFound("There is no app {name!r}. There are: {names}.", name=name, names="-")


class Equipment:
    """The models and tools of an instance's runs."""

    def __init__(
        self,
        chat: Callable[[str], ChatModel],
        search: Callable[[str], Tool],
        toolbox: Toolbox | None = None,
        memories: Callable[[], Memories] | None = None,
        app: Callable[[str, str, str], Setup] = no_apps,
    ) -> None:
        """`chat` gives the model of a name; `search` makes the tool that looks into the knowledge base of a name.
        `toolbox`: what a run may be given besides. `memories`: what runs of a user keep for later ones. `app` gives the
        app of a name, as a run calls it that thinks with that model and searches that knowledge base.
        """
        self.chat = chat
        self.toolbox = toolbox or Toolbox()
        self.memories = memories
        self.app = app
        self._search = search

    def own(self, knowledge: str = "", user_id: int | None = None, run_id: str = "") -> Sequence[Tool]:
        """The tools that a run has without being given them. Raises what `search` raises."""
        tools = [*BUILT_IN, self._search(knowledge)] if knowledge else [*BUILT_IN]
        if self.memories is not None and user_id is not None:
            tools += memory_tools(self.memories(), user_id, run_id)
        return tools

    def named(self, asked: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
        """The names of tools that are asked for, and those of apps (`app/NAME`) among them. Raises NotFound."""
        apps = [one.removeprefix(APP_PREFIX) for one in asked if one.startswith(APP_PREFIX)]
        return self.toolbox.named([one for one in asked if not one.startswith(APP_PREFIX)]), list(dict.fromkeys(apps))
