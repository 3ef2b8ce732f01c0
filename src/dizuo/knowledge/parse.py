"""What reading a file gives, and what the readers say alike.

The readers are one module for each family: `parse_text` in the process itself; `parse_html`, `parse_json`,
`parse_office`, `parse_sheets`, `parse_pdf` and `parse_mail` in a child (`parse_child`, driven by `parse_process`).
Each takes a path, a name and a `formats.Format` and gives a `Parsed`, or raises a UserError that says what is wrong
with the file and what to do.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dizuo.core.documents import Note
from dizuo.core.errors import UserError


@dataclass(frozen=True)
class Parsed:
    """The text of one file and what is known of it. Formats with structure come as Markdown.

    `page_starts[n]` is the character at which page n + 1 begins (PDF pages, slides); empty without pages.
    """

    text: str
    format: str
    media_type: str
    encoding: str | None = None
    page_starts: Sequence[int] = ()
    lost: tuple[Note, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


_NEWLINES = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# What no database column or page can hold: control characters, lone surrogates, non-characters.
_UNFIT = re.compile("[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """The text with newlines as `\\n` and without characters that cannot be stored or shown."""
    text = text.removeprefix("\ufeff")
    if _NEWLINES.search(text):
        text = _NEWLINES.sub("\n", text)
    return _UNFIT.sub("", text) if _UNFIT.search(text) else text


def require_text(parsed: Parsed) -> Parsed:
    """The same, when there is a letter or a digit in it. Raises UserError otherwise."""
    if not re.search(r"\w", parsed.text):
        raise UserError("There is no text in the file.")
    return parsed


def damaged(extension: str) -> UserError:
    """A file of a known kind that is not what its kind should be."""
    return UserError(
        "The file is damaged, cut off, or not a {extension} file at all. Open it in the program that made it and save "
        "it again.",
        extension="." + extension,
    )


def locked() -> UserError:
    """A file with a password."""
    return UserError("The file is protected by a password. Open it, save a copy without the password, and add that.")


def pictures_lost(count: int) -> tuple[Note, ...]:
    """What a report says of pictures."""
    return (Note(template="Pictures were not read (no OCR): {count}.", params={"count": count}),) if count else ()


def structure_lost() -> Note:
    """What a report says when the nesting goes deeper than any document's."""
    return Note(template="The content is nested too deeply; it was read as plain text without its structure.")
