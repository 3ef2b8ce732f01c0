"""Tools that every agent may have: numbers, dates, files of its own workspace, a question to the user."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from dizuo.agents.plan import update_plan
from dizuo.agents.sandbox import run_python
from dizuo.core.errors import UserError
from dizuo.core.tools import Tool, ToolContext, ToolResult, tool

MOST_FILE_BYTES = 1 << 20
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


# --- the workspace --------------------------------------------------------------------------------------------


@tool
def list_files(context: ToolContext) -> list[str]:
    """The files of your workspace."""
    root = _root(context)
    return sorted(str(one.relative_to(root)) for one in root.rglob("*") if one.is_file())


@tool
def read_file(path: str, context: ToolContext) -> ToolResult:
    """Read a text file of your workspace."""
    found = _inside(path, context)
    if not found.is_file():
        raise UserError("There is no file {path!r}. See list_files.", path=path)
    if found.stat().st_size > MOST_FILE_BYTES:
        raise UserError("The file {path!r} has over {limit} bytes.", path=path, limit=MOST_FILE_BYTES)
    return ToolResult(text=found.read_bytes().decode("utf-8", "replace"), trusted=False)


@tool(effect="own", idempotent=True)
def write_file(path: str, text: str, context: ToolContext) -> str:
    """Write a text file in your workspace; one of that name is replaced."""
    if len(text.encode("utf-8", "replace")) > MOST_FILE_BYTES:
        raise UserError("The text has over {limit} bytes.", limit=MOST_FILE_BYTES)
    found = _inside(path, context)
    found.parent.mkdir(parents=True, exist_ok=True)
    found.write_text(text, "utf-8", errors="replace")
    return f"{path} has {len(text)} characters."


def _root(context: ToolContext) -> Path:
    if context.workspace is None:
        raise UserError("This run has no workspace.")
    context.workspace.mkdir(parents=True, exist_ok=True, mode=0o700)
    return context.workspace.resolve()


def _inside(path: str, context: ToolContext) -> Path:
    """The path in the workspace. Raises UserError for one that leads out of it, by `..` or by a link."""
    root = _root(context)
    if "\0" in path:
        raise UserError("That is no path.")
    found = (root / path).resolve()
    if found == root or not found.is_relative_to(root):
        raise UserError("The path {path!r} is not in the workspace.", path=path)
    return found


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
    list_files,
    read_file,
    write_file,
    run_python,
    note,
    ask_user,
)
