# pyright: reportMissingImports=false
"""LangGraph with its SQLite checkpointer: `run_langgraph.py sync|async` (each step kept before the next, or beside it).

The graph of its documentation: a model node, a tool node, and back. https://docs.langchain.com/oss/python/langgraph/
"""

import sqlite3
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from worker import ANSWER, GOAL, PAGE, THOUGHT, serve, size_bytes

durability: Any = sys.argv[1]
file = Path(tempfile.mkdtemp(prefix="langgraph-bench-")) / "checkpoints.db"


@tool
def read_page(number: int) -> str:
    """Read a page."""
    return f"Page {number}. {PAGE}"


def graph_of(turns: int, saver: SqliteSaver) -> Any:
    taken = 0

    def agent(_state: MessagesState) -> dict[str, Any]:
        nonlocal taken
        if taken == turns:
            return {"messages": [AIMessage(ANSWER)]}
        taken += 1
        call = {"name": "read_page", "args": {"number": taken}, "id": f"call_{taken}", "type": "tool_call"}
        return {"messages": [AIMessage(THOUGHT, tool_calls=[call])]}

    def more(state: MessagesState) -> str:
        return "tools" if state["messages"][-1].tool_calls else END  # type: ignore[union-attr]

    graph = StateGraph(MessagesState)
    graph.add_node("agent", agent)
    graph.add_node("tools", ToolNode([read_page]))
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", more)
    graph.add_edge("tools", "agent")
    return graph.compile(checkpointer=saver)


def saver() -> SqliteSaver:
    made = SqliteSaver(sqlite3.connect(file, check_same_thread=False))
    made.setup()
    return made


def run(turns: int) -> dict[str, Any]:
    graph = graph_of(turns, saver())
    before = size_bytes(file)
    config = {"configurable": {"thread_id": uuid.uuid4().hex}, "recursion_limit": 10 * turns + 10}
    began = time.perf_counter()
    graph.invoke({"messages": [HumanMessage(GOAL)]}, config, durability=durability)
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    state = graph_of(turns, saver()).get_state(config)
    resume_s = time.perf_counter() - began
    assert len(state.values["messages"]) == 2 * turns + 2
    return {"seconds": seconds, "bytes": size_bytes(file) - before, "resume_s": resume_s}


serve(run)
