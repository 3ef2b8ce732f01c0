"""Memory as tools of a run: what it may keep of its user, and look for."""

from typing import Annotated

from pydantic import Field

from dizuo.agents.memory import Memories, labelled
from dizuo.core.tools import Tool, ToolResult, tool

REMEMBER = "remember"
"""A run without this tool neither reads nor leaves memories."""


def memory_tools(memories: Memories, user_id: int, run_id: str) -> tuple[Tool, ...]:
    """The tools over the memories of one user."""

    @tool(name=REMEMBER, effect="own", idempotent=True)
    def remember(
        about: Annotated[str, Field(min_length=1, max_length=100, description="what it is about, in a few words")],
        fact: Annotated[str, Field(min_length=1, max_length=2000)],
        sure: Annotated[float, Field(ge=0, le=1, description="how sure it is")] = 0.8,
    ) -> str:
        """Keep a fact about the user or the work for later runs. A new fact about the same takes the place of the old
        one, so name the matter as before."""
        kept = memories.remember(user_id, fact, about=about, source=run_id, confidence=sure)
        return f"Remembered about {kept.about!r}."

    @tool
    def recall(
        query: Annotated[str, Field(min_length=1, max_length=1000)],
        limit: Annotated[int, Field(ge=1, le=20)] = 5,
    ) -> ToolResult:
        """Look for what is remembered of the user, the work and earlier runs. Do it first where the goal leaves
        something open that may have been said before."""
        found = memories.recall(user_id, query, limit)
        lines = [
            f"- {labelled(one.about, one.text)} ({one.created_at:%Y-%m-%d}, sure {one.confidence:.0%})" for one in found
        ]
        # What a run has kept may come from text of others that it had read.
        by_people = all(not one.source for one in found)
        return ToolResult(text="\n".join(lines) or "Nothing is remembered of that.", trusted=by_people)

    return remember, recall
