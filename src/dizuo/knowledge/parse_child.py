"""The parser's child process: `python -m dizuo.knowledge.parse_child`, driven by `parse_process.Parser`.

It reads one request for each line of its input, a JSON object with the path, the name and the seconds of processor
time, and answers each with the length of a JSON object (8 bytes) and the object. It writes no file, opens no
connection and starts no process: an audit hook stops a library that tries. Answers are JSON and not pickles, so that
a child that was taken over cannot take over its parent.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from dizuo.core.errors import UserError
from dizuo.knowledge.formats import Format, format_of
from dizuo.knowledge.parse import Parsed

# Far deeper than any document needs, and shallow enough for the thread's stack of 8 MiB.
_RECURSION = 3000
_FORBIDDEN = ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec",
              "os.fork", "os.posix_spawn", "os.remove", "os.rename", "shutil.")  # fmt: skip


def read(path: Path, name: str) -> Parsed:
    """One file by the reader of its kind. Raises UserError."""
    format = format_of(path, name)
    return _reader(format)(path, name, format)


def _reader(format: Format) -> Any:
    if format.in_process:
        from dizuo.knowledge.parse_text import parse_text

        return parse_text
    if format.family == "pdf":
        from dizuo.knowledge.parse_pdf import parse_pdf

        return parse_pdf
    if format.family == "html":
        from dizuo.knowledge.parse_html import parse_html

        return parse_html
    if format.family == "json":
        from dizuo.knowledge.parse_json import parse_json

        return parse_json
    if format.family == "mail":
        from dizuo.knowledge.parse_mail import parse_mail

        return parse_mail
    from dizuo.knowledge.parse_office import parse_office

    return parse_office


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    path = Path(os.fsdecode(bytes.fromhex(request["path"])))
    try:
        parsed = read(path, request["name"])
    except UserError as error:
        return {"error": {"template": error.template, "params": _plain(error.params)}}
    except MemoryError:
        return {"trouble": "memory"}
    except RecursionError:
        return {"trouble": "depth"}
    except Exception as error:
        return {"trouble": "fault", "kind": type(error).__name__, "traceback": traceback.format_exc()[-4000:]}
    return {
        "parsed": {
            "text": parsed.text,
            "format": parsed.format,
            "media_type": parsed.media_type,
            "encoding": parsed.encoding,
            "page_starts": list(parsed.page_starts),
            "lost": [{"template": n.template, "params": _plain(n.params)} for n in parsed.lost],
            "meta": _plain(dict(parsed.meta)),
        }
    }


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    return {key: value if isinstance(value, int | float) else str(value) for key, value in params.items()}


def _limit(memory_bytes: int) -> None:
    """What the system itself holds the child to. Windows has no such limits; the parent's clock remains."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_cpu(seconds: int) -> None:
    """Processor time for the next file. It also ends a child in an endless loop whose parent was killed."""
    try:
        import resource
    except ImportError:
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + seconds, hard))


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(_FORBIDDEN):
        raise PermissionError(f"the parser may not: {event}")


def main() -> None:
    """Answers requests until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not reach the answers
    sys.setrecursionlimit(_RECURSION)
    _limit(int(sys.argv[1]) << 20)
    sys.addaudithook(_audit)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _limit_cpu(request["cpu_s"])
        answer = json.dumps(_answer(request), ensure_ascii=False).encode("utf-8", "replace")
        answers.write(len(answer).to_bytes(8, "big"))
        answers.write(answer)
        answers.flush()


if __name__ == "__main__":
    main()
