"""The program inside the sandbox: takes limits, then reads code from standard input and runs it as a shell would.

Knows the standard library only, and nothing of Dizuo, which is not there. What it sets, the code cannot raise again:
the limits are hard ones.
"""

import ast
import contextlib
import linecache
import os
import resource
import sys
import traceback
from types import ModuleType

_NAME = "<code>"
_SPARE = 32 << 20  # of memory, to say that there was too little
_LONGEST = 20_000  # characters of the last expression's value


def main() -> int:
    """Runs the code. Exit status 1 where it failed; its own where it called sys.exit."""
    for limit in sys.argv[1:]:
        name, value = limit.split("=")
        _set(name, int(value))
    os.nice(5)  # the server comes first
    sys.path += ["/packages", "/workspace"]
    source = sys.stdin.buffer.read().decode("utf-8", "replace")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    linecache.cache[_NAME] = (len(source), None, [line + "\n" for line in source.splitlines()], _NAME)
    try:
        _run(source)
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            return left.code or 0
        _say(f"{left.code}\n")
        return 1
    except BaseException as error:
        with contextlib.suppress(ValueError, OSError):
            most = resource.getrlimit(resource.RLIMIT_AS)[1]
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        _say(_told(error))
        return 1
    return 0


def _set(name: str, value: int) -> None:
    spare = _SPARE if name == "AS" else 0
    resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value + spare))


def _run(source: str) -> None:
    """Runs it; the value of a last expression is printed, unless it is None."""
    tree = ast.parse(source, _NAME)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    module = sys.modules["__main__"] = ModuleType("__main__")  # so that it cannot trip over the names of this file
    exec(compile(tree, _NAME, "exec"), module.__dict__)  # noqa: S102  (that is what this process is for)
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), _NAME, "eval"), module.__dict__)  # noqa: S307
        if value is not None:
            text = repr(value)
            print(text if len(text) <= _LONGEST else f"{text[:_LONGEST]} [cut: {len(text)} characters]")


def _told(error: BaseException) -> str:
    """The traceback, with the lines of the code and of nothing else."""
    told = traceback.TracebackException.from_exception(error, compact=True)
    seen, left = set(), [told]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        own = [frame for frame in one.stack if frame.filename == _NAME or frame.filename.startswith("/workspace/")]
        one.stack = traceback.StackSummary.from_list(own)
        left += [other for other in (one.__cause__, one.__context__) if other is not None]
        left += getattr(one, "exceptions", None) or ()
    return "".join(told.format())


def _say(text: str) -> None:
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    with contextlib.suppress(OSError):  # not by sys.stderr, which the code may have put something else in place of
        os.write(2, text.encode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    sys.exit(main())
