"""The terminal that one command talks to: its language, its colours, its two streams, and how it ends.

Results go to stdout, everything else to stderr. With `--json`, stdout gets one JSON document and nothing more.
"""

import io
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from dizuo.core.errors import DizuoError, ModelError, UserError
from dizuo.platform import settings as settings_table
from dizuo.platform.catalogue import Language, pick_language, translate

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.status import Status

    from dizuo.core.documents import Note
    from dizuo.wiring import House

_PIPE_CLOSED = 141  # 128 + SIGPIPE, what a shell reports of a program that the signal ended
INTERRUPTED = 130  # 128 + SIGINT

# Documents, file names and answers are strangers' text: an escape sequence in one could retitle the window, move the
# cursor or paint over what was printed, and a bidirectional override can make text read as something else.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_UNPRINTABLE_IN_JSON = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class PipeClosed(Exception):
    """Whoever read our stdout has gone (`dizuo … | head`)."""


def clean(text: str) -> str:
    """The text without the characters that command a terminal; newlines and tabs stay."""
    return _UNPRINTABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def locale_of(environ: Mapping[str, str]) -> str:
    """The locale that the terminal asks for messages in, such as "zh_CN.UTF-8"."""
    return environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""


class Terminal:
    """What a command needs of its terminal, made from the options that every command has."""

    def __init__(
        self, *, as_json: bool = False, debug: bool = False, home: Path | None = None, language: str | None = None
    ) -> None:
        self.as_json = as_json
        self.debug = debug
        self._flags: dict[str, Any] = {"home": home, "language": language}
        self._status: Status | None = None
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show 汉字 shows their codes, and goes on
                stream.reconfigure(errors="backslashreplace")

    # --- settings and house -----------------------------------------------------------------------------------

    def settings(self, **flags: Any) -> settings_table.LoadedSettings:
        """The settings with where each came from. Raises UserError for a bad one."""
        return settings_table.load(os.environ, self._flags | flags)

    @cached_property
    def language(self) -> Language:
        try:
            wanted = self.settings().values.language
        except UserError:  # the command itself meets it again and says so
            wanted = self._flags["language"] or "auto"
        return pick_language(wanted, locale=locale_of(os.environ))

    @contextmanager
    def house(self, *, as_server: bool = False, **flags: Any) -> "Iterator[House]":
        """The house that the settings describe, open for the time of a command."""
        from dizuo.wiring import House

        self._log_to_stderr(as_server)
        with House.open(**self._flags, **flags) as house:
            yield house

    @contextmanager
    def closed_house(self) -> "Iterator[House]":
        """The house without its database looked at: that may be broken, or made by a newer Dizuo."""
        from dizuo.wiring import House

        self._log_to_stderr(False)
        with House(self.settings()) as house:
            yield house

    def _log_to_stderr(self, as_server: bool) -> None:
        """The server writes a log; a command that a person typed says only what has gone wrong."""
        from dizuo.platform.telemetry import configure_logging

        loaded = self.settings()
        quiet = loaded.sources["log_level"] == "default" and not as_server
        level = "debug" if self.debug else "error" if quiet else loaded.values.log_level
        configure_logging(level, loaded.values.log_format)

    # --- showing ----------------------------------------------------------------------------------------------

    def t(self, text: str, /, **params: Any) -> str:
        """A text of the catalogue in the person's language."""
        return translate(text, self.language, **params)

    def note(self, note: "Note") -> str:
        return translate(note.template, self.language, **note.params)

    def error_text(self, error: DizuoError) -> str:
        return translate(error.template, self.language, **error.params)

    @cached_property
    def out(self) -> "Console":
        return _console(sys.stdout)

    @cached_property
    def err(self) -> "Console":
        return _console(sys.stderr)

    def show(self, content: "RenderableType" = "", style: str = "") -> None:
        """Prints a result, or one line of it. Strings are cleaned and never read as markup."""
        if self._status is not None:  # the moving sign stands in that line of the screen
            self._status.stop()
        _print(self.out, content, style)
        if self._status is not None:
            self._status.start()

    def say(self, content: "RenderableType", style: str = "") -> None:
        """Prints what is not the result to stderr: progress, warnings, hints."""
        _print(self.err, content, style)

    def show_json(self, document: Any) -> None:
        """Prints the one JSON document of a command."""
        unicode_ok = (sys.stdout.encoding or "").lower().startswith("utf")
        text = json.dumps(document, ensure_ascii=not unicode_ok, indent=2 if sys.stdout.isatty() else None)
        # JSON leaves these characters as they are; as \u escapes they mean the same and command no terminal.
        text = _UNPRINTABLE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
        try:
            print(text, flush=True)
        except BrokenPipeError:
            raise PipeClosed from None

    def is_interactive(self) -> bool:
        """Whether a person sits in front of it and can be asked."""
        return not self.as_json and sys.stdin.isatty() and sys.stderr.isatty()

    def confirm(self, question: str, *, yes: bool) -> None:
        """Asks before something that cannot be taken back, when a person is there to ask; ends the command on no.

        A script is not asked: whoever wrote it has decided.
        """
        if yes or not self.is_interactive():
            return
        if not typer.confirm(clean(question), err=True):
            raise typer.Exit(1)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A moving sign on a terminal while something takes its time."""
        with self.progress(text):
            yield

    @contextmanager
    def progress(self, text: str) -> Iterator[Callable[[str], None]]:
        """The same, with a function that changes its text."""
        if self.as_json or not self.err.is_terminal:
            yield lambda _text: None
            return
        with self.err.status(clean(text)) as self._status:
            try:
                yield self._status_text
            finally:
                self._status = None

    def _status_text(self, text: str) -> None:
        if self._status is not None:
            self._status.update(clean(text))

    # --- ending -----------------------------------------------------------------------------------------------

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turns whatever a command raises into one clear sentence and an exit status."""
        try:
            yield
            try:
                sys.stdout.flush()
            except BrokenPipeError:
                raise PipeClosed from None
        except (UserError, ModelError) as error:
            self._fail(self.error_text(error))
        except (PipeClosed, BrokenPipeError):
            _forget_stdout()
            raise typer.Exit(_PIPE_CLOSED) from None
        except KeyboardInterrupt:
            self.say(self.t("Stopped."))
            raise typer.Exit(INTERRUPTED) from None
        except OSError as error:
            if self.debug or error.filename is None:
                self._report_bug(error)
            self._fail(
                self.t("{path} cannot be used: {reason}.", path=error.filename, reason=error.strerror or repr(error))
            )
        except Exception as error:
            if isinstance(error, (typer.Exit, typer.Abort)) or hasattr(error, "format_message"):
                raise  # Typer's own: an exit status, or wrong use
            self._report_bug(error)

    def _fail(self, sentence: str) -> None:
        self.say(sentence, style="red")
        raise typer.Exit(1) from None

    def _report_bug(self, error: Exception) -> None:
        """A bug keeps its traceback: on stderr with --debug, else in a file that the sentence names."""
        what = f"{type(error).__name__}: {error}".split("\n", 1)[0][:300]
        details = "".join(traceback.format_exception(error))
        if self.debug:
            self.say(details)
            self._fail(self.t("Something went wrong inside Dizuo ({what}).", what=what))
        file = self._keep(details)
        if file is None:
            self._fail(self.t("Something went wrong inside Dizuo ({what}). For the details, add --debug.", what=what))
        self._fail(
            self.t("Something went wrong inside Dizuo ({what}). The details are in {file}.", what=what, file=file)
        )

    def _keep(self, details: str) -> Path | None:
        try:
            file = self.settings().values.home / "logs" / "errors.log"
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "a", encoding="utf-8") as log:
                log.write(f"--- dizuo {' '.join(sys.argv[1:2])}\n{details}\n")
        except (OSError, UserError):
            return None
        return file


def _console(stream: TextIO) -> "Console":
    from rich.console import Console

    class PlainConsole(Console):
        def on_broken_pipe(self) -> None:
            raise PipeClosed

    # Rich takes a pipe for 80 columns wide and would cut the tables that somebody wants to grep.
    width = None if stream.isatty() or os.environ.get("COLUMNS") else 10_000
    return PlainConsole(file=stream, width=width, highlight=False, markup=False, emoji=False)


def _print(console: "Console", content: "RenderableType", style: str) -> None:
    if isinstance(content, str):
        console.print(clean(content), style=style, soft_wrap=True)
    else:
        console.print(content, style=style)


def _forget_stdout() -> None:
    """Points stdout at nothing, so that the interpreter's last flush does not complain."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return
