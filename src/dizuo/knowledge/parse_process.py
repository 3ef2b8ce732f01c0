"""`Parser`: reads any file safely. Plain text here; everything else in a child that can be killed (ADR 0005)."""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from dizuo.core.documents import Note
from dizuo.core.errors import TooLarge, UserError
from dizuo.knowledge.formats import plain_format_of
from dizuo.knowledge.parse import Parsed
from dizuo.knowledge.parse_text import parse_text

log = logging.getLogger(__name__)

_MEMORY_MB = 3072  # address space: libraries map about 500 MiB, a 100 MiB workbook takes 2 GiB
_BASE_S = 60
_S_PER_MB = 10  # a workbook takes two on an idle machine
_IDLE_S = 60
_PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "SYSTEMROOT", "TMPDIR", "LANG", "LC_ALL")


class Parser:
    """One child at a time, started when first needed, stopped when idle, killed when it takes too long.

    Thread-safe; one file after another.
    """

    def __init__(
        self, max_file_mb: int, *, memory_mb: int = _MEMORY_MB, base_s: float = _BASE_S, idle_s: float = _IDLE_S
    ) -> None:
        self._max_file_mb = max_file_mb
        self._memory_mb = memory_mb
        self._base_s = base_s
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._idle: threading.Timer | None = None

    def parse(self, path: Path, name: str) -> Parsed:
        """The text of a file, whose kind `name` tells. Raises UserError when it cannot be read."""
        size = path.stat().st_size
        if size > self._max_file_mb << 20:
            raise TooLarge(
                "The file is larger than {limit_mb} MiB. Split it, or raise the setting max_file_mb.",
                limit_mb=self._max_file_mb,
            )
        if (format := plain_format_of(path, name)) is not None:
            return parse_text(path, name, format)
        with self._lock:
            if self._idle is not None:
                self._idle.cancel()
            try:
                return self._ask(path, name, self._base_s + _S_PER_MB * (size >> 20))
            finally:
                self._idle = threading.Timer(self._idle_s, self.close)
                self._idle.daemon = True
                self._idle.start()

    def close(self) -> None:
        """Ends the child. The next file starts another."""
        with self._lock:
            if self._idle is not None:
                self._idle.cancel()
                self._idle = None
            self._kill()

    # --- the child --------------------------------------------------------------------------------------------

    def _ask(self, path: Path, name: str, timeout_s: float) -> Parsed:
        request = {"path": os.fsencode(path).hex(), "name": name, "cpu_s": int(timeout_s) + 1}
        child = self._running()
        late = threading.Event()
        clock = threading.Timer(timeout_s, lambda: (late.set(), child.kill()))
        clock.daemon = True
        clock.start()
        try:
            answer = self._exchange(child, json.dumps(request).encode() + b"\n")
        except TooLarge:
            self._kill()
            raise
        except (OSError, EOFError):
            self._kill()
            if late.is_set():
                raise UserError(
                    "Reading the file took more than {seconds} seconds and was given up. Split it, or save it in a "
                    "simpler format.",
                    seconds=int(timeout_s),
                ) from None
            raise UserError(
                "The file broke the program that reads it (status {status}). It is damaged, or made to do harm.",
                status=child.returncode,
            ) from None
        finally:
            clock.cancel()
        return self._result(answer, name)

    def _exchange(self, child: "subprocess.Popen[bytes]", request: bytes) -> dict[str, Any]:
        """A request and its answer. Raises OSError or EOFError when the child is gone, TooLarge for too much."""
        assert child.stdin is not None
        child.stdin.write(request)
        child.stdin.flush()
        length = int.from_bytes(_read(child, 8), "big")
        # No honest format holds four times its size in text; small ones may.
        limit_mb = max(64, 4 * self._max_file_mb)
        if length > limit_mb << 20:
            raise TooLarge("The text of the file is larger than {limit_mb} MiB. Split it.", limit_mb=limit_mb)
        return json.loads(_read(child, length))

    def _result(self, answer: dict[str, Any], name: str) -> Parsed:
        if parsed := answer.get("parsed"):
            lost = tuple(Note(**note) for note in parsed.pop("lost"))
            return Parsed(**parsed, lost=lost)
        if error := answer.get("error"):
            raise UserError(error["template"], **error["params"])
        if answer["trouble"] == "memory":
            self._kill()  # what it holds is not given back
            raise UserError(
                "Reading the file takes more memory than {limit_mb} MiB. Split it.", limit_mb=self._memory_mb
            )
        if answer["trouble"] == "depth":
            raise UserError("The content is nested too deeply to be read.")
        log.info("reading %s failed\n%s", name, answer["traceback"])
        raise UserError(
            "The file is damaged, or Dizuo cannot read this variety of its format ({kind}). Open it in the program "
            "that made it and save it again.",
            kind=answer["kind"],
        )

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._kill()
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        self._child = subprocess.Popen(
            # -P: what lies in the current folder is not importable. -B: it can write no files.
            [sys.executable, "-P", "-B", "-m", "dizuo.knowledge.parse_child", str(self._memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # One thread for NumPy: every further one maps memory. None of our keys and passwords.
            env={**environment, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
        )
        return self._child

    def _kill(self) -> None:
        if self._child is None:
            return
        self._child.kill()
        for stream in (self._child.stdin, self._child.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):  # a request it never took
                stream.close()
        self._child.wait()
        self._child = None


def _read(child: "subprocess.Popen[bytes]", size: int) -> bytes:
    assert child.stdout is not None
    data = child.stdout.read(size)
    if len(data) < size:
        raise EOFError
    return data
