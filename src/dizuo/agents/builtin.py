"""Tools that every agent has: numbers, dates, files of its own workspace, a question to the user."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field

from dizuo.agents.charts import draw_chart
from dizuo.agents.file_tools import FILE_TOOLS, make_folder, move_files
from dizuo.agents.plan import update_plan
from dizuo.agents.sandbox import run_python
from dizuo.agents.tables import query_table
from dizuo.core.errors import UserError
from dizuo.core.tools import Tool, tool

_MOST_DIGITS = 1000  # of a number on the way: a power of powers would hold the process
_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs, "round": round, "min": min, "max": max, "sqrt": math.sqrt, "log": math.log, "log10": math.log10,
    "exp": math.exp, "sin": math.sin, "cos": math.cos, "tan": math.tan, "floor": math.floor, "ceil": math.ceil,
}  # fmt: skip
_NAMES = {"pi": math.pi, "e": math.e}
# What people write with a Chinese keyboard.
_WIDTHS = str.maketrans("０１２３４５６７８９＋－×÷＊／（）．，％", "0123456789+-*/*/().,%")


@tool
def calculate(expression: Annotated[str, Field(max_length=1000, description="such as (3 + 4) * 2 ** 0.5")]) -> str:
    """Work out an arithmetic expression exactly. Knows + - * / // % **, abs, round, min, max, sqrt, log, exp, sin, cos,
    tan, floor, ceil, pi and e."""
    try:
        found = _value(ast.parse(expression.translate(_WIDTHS).strip(), mode="eval").body)
    except (SyntaxError, ZeroDivisionError, OverflowError, TypeError, ValueError, RecursionError) as error:
        raise UserError("That cannot be worked out: {reason}", reason=str(error) or type(error).__name__) from None
    return str(found)


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.UnaryOp(op=ast.USub(), operand=of):
            return -_value(of)
        case ast.UnaryOp(op=ast.UAdd(), operand=of):
            return _value(of)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            a, b = _value(left), _value(right)
            if isinstance(op, ast.Pow) and abs(b) * max(1.0, math.log10(abs(a) or 1)) > _MOST_DIGITS:
                raise OverflowError("the number would be too long")
            return _bounded(_BINARY[type(op)](a, b))
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in _FUNCTIONS:
            return _bounded(_FUNCTIONS[name](*[_value(one) for one in given]))
    raise ValueError("only numbers, operators and the named functions are known")


def _bounded(number: Any) -> Any:
    if isinstance(number, int) and number.bit_length() > _MOST_DIGITS * 4:
        raise OverflowError("the number would be too long")
    return number


@tool
def now() -> str:
    """The present date and time (UTC) with the day of the week."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC, %A")


@tool
def days_between(start: str, end: str) -> str:
    """How many days lie between two dates, each as YYYY-MM-DD."""
    try:
        days = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    except (ValueError, TypeError) as error:
        raise UserError("That is no date: {reason}. Write YYYY-MM-DD.", reason=str(error)) from None
    return str(days.days)


# --- what is worth keeping ------------------------------------------------------------------------------------

NOTE_TOOL = "note"


@tool(name=NOTE_TOOL)
def note(text: Annotated[str, Field(min_length=1, max_length=1000)]) -> str:
    """Note a fact, a decision or an open question that you will need later: of a long run only what is noted stays in
    full."""
    return f"Noted ({len(text)} characters)."


# --- people ---------------------------------------------------------------------------------------------------


@tool
def ask_user(question: Annotated[str, Field(min_length=1, max_length=2000)]) -> str:
    """Ask the user something that you cannot find out otherwise. The answer may take long."""
    raise NotImplementedError(question)  # the loop does it: the run waits


BUILT_IN: tuple[Tool, ...] = (
    update_plan,
    calculate,
    now,
    days_between,
    *FILE_TOOLS,
    run_python,
    note,
    ask_user,
)

BY_NAME: Mapping[str, Callable[[], Tool]] = {
    one.name: (lambda tool=one: tool) for one in (query_table, draw_chart, move_files, make_folder)
}
"""What a run gets by name."""
