"""What runs work with: models to think with, and the tools that they may call."""

from collections.abc import Callable, Sequence

from dizuo.agents.builtin import BUILT_IN
from dizuo.agents.memory import Memories
from dizuo.agents.memory_tools import memory_tools
from dizuo.agents.toolbox import Toolbox
from dizuo.core.protocols import ChatModel
from dizuo.core.tools import Tool


class Equipment:
    """The models and tools of an instance's runs."""

    def __init__(
        self,
        chat: Callable[[str], ChatModel],
        search: Callable[[str], Tool],
        toolbox: Toolbox | None = None,
        memories: Callable[[], Memories] | None = None,
    ) -> None:
        """`chat` gives the model of a name; `search` makes the tool that looks into the knowledge base of a name.
        `toolbox`: what a run may be given besides. `memories`: what runs of a user keep for later ones.
        """
        self.chat = chat
        self.toolbox = toolbox or Toolbox()
        self.memories = memories
        self._search = search

    def own(self, knowledge: str = "", user_id: int | None = None, run_id: str = "") -> Sequence[Tool]:
        """The tools that a run has without being given them. Raises what `search` raises."""
        tools = [*BUILT_IN, self._search(knowledge)] if knowledge else [*BUILT_IN]
        if self.memories is not None and user_id is not None:
            tools += memory_tools(self.memories(), user_id, run_id)
        return tools
