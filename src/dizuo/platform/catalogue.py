"""The language catalogue: English is the key, `locales/zh/*.json` hold Simplified Chinese.

`_("Text with {name}")` marks a text where it stands; `translate` turns it into the reader's language at the
face. `python -m dizuo.platform.catalogue` (part of `make check`) fails on a text without a translation, a
translation without a text, and placeholders that differ.
"""

import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any, Literal

from dizuo.core.documents import Note
from dizuo.core.errors import DizuoError

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")

_LOCALES = Path(__file__).parent / "locales"
# Calls whose first argument is a text of the catalogue.
_MARKERS = {
    "_", "t", "translate", "Note", "DizuoError", "UserError", "NotFound", "Conflict", "NotAllowed", "NotSignedIn",
    "TooMany", "BudgetSpent", "TooLarge", "Unavailable", "ModelError",
    "ModelBusy", "ModelDown", "ModelRefused", "ModelUnknown",
    "ServerFailed", "FetchFailed",
}  # fmt: skip


def _(text: str) -> str:
    """Marks a text for the catalogue where it cannot be translated yet (a constant, a table)."""
    return text


@cache
def _chinese() -> Mapping[str, str]:
    entries: dict[str, str] = {}
    for file in sorted((_LOCALES / "zh").glob("*.json")):
        entries.update(json.loads(file.read_text("utf-8")))
    return entries


def translate(text: str, language: Language, /, **params: Any) -> str:
    """The text in that language, with its parameters filled in. English where no translation is known.

    Notes and errors among the parameters are translated as well.
    """
    template = _chinese().get(text, text) if language == "zh" else text
    params = {
        name: translate(value.template, language, **value.params) if isinstance(value, Note | DizuoError) else value
        for name, value in params.items()
    }
    return template.format(**params) if params else template.replace("{{", "{").replace("}}", "}")


def pick_language(wanted: str, *, locale: str = "", accept: str = "") -> Language:
    """The setting, or with "auto" what a terminal's locale ("zh_CN.UTF-8") or a browser's Accept-Language asks for."""
    if wanted in ("en", "zh"):
        return "zh" if wanted == "zh" else "en"
    ranked: list[tuple[float, str]] = []
    for part in accept.split(","):
        tag, _sep, quality = part.strip().partition(";q=")
        try:
            ranked.append((-float(quality or 1), tag.lower()))
        except ValueError:
            continue
    for _rank, tag in sorted(ranked, key=lambda r: r[0]):
        if tag.startswith("zh"):
            return "zh"
        if tag.startswith("en"):
            return "en"
    return "zh" if locale.lower().startswith("zh") else "en"


def marked_texts(root: Path) -> Iterator[tuple[str, str]]:
    """(text, "file:line") of every text that the source marks."""
    for file in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            arguments = list(node.args[:1]) + [k.value for k in node.keywords if k.arg == "template"]
            if name in _MARKERS and arguments:
                first = arguments[0]
                branches = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
                for branch in branches:
                    if isinstance(branch, ast.Constant) and isinstance(branch.value, str):
                        yield branch.value, f"{file.name}:{node.lineno}"


def _placeholders(text: str) -> set[str]:
    return {re.split(r"[.\[!:]", name)[0] for _t, name, _f, _c in Formatter().parse(text) if name}


def gaps() -> list[str]:
    """What is wrong with the catalogue, a line each."""
    used = dict(marked_texts(Path(__file__).parents[1]))
    known = _chinese()
    problems = [f"{where}: no Chinese for {text!r}" for text, where in used.items() if text and text not in known]
    problems += [f"locales/zh: nobody says {text!r} any more" for text in known if text not in used]
    problems += [
        f"locales/zh: placeholders differ in {text!r}"
        for text, chinese in known.items()
        if _placeholders(text) != _placeholders(chinese)
    ]
    return problems


if __name__ == "__main__":
    found = gaps()
    print("\n".join(found) or f"catalogue: {len(_chinese())} texts in both languages")
    sys.exit(bool(found))
