"""Reader of JSON and JSON Lines: laid out one value to a line, so that it can be cut. Runs in the parser's child."""

import json
import re
from pathlib import Path
from typing import Any

from dizuo.core.documents import Note
from dizuo.knowledge.encoding import decode
from dizuo.knowledge.formats import Format
from dizuo.knowledge.parse import Parsed, clean, require_text, structure_lost

_LAID_OUT_UP_TO = 20 << 20  # characters; parsed JSON takes ten times its size in memory


def parse_json(path: Path, name: str, format: Format) -> Parsed:
    """The values with their keys. Raises UserError for a file without text."""
    decoded = decode(path.read_bytes())
    text, lost = decoded.text, decoded.lost
    if len(text) <= _LAID_OUT_UP_TO:
        try:
            text = _lines_laid_out(text) if format.name == "jsonl" else _laid_out(json.loads(text))
        except RecursionError:
            lost += (structure_lost(),)
        except ValueError as error:
            reason = str(error)
            lost += (
                Note(template="It is not valid JSON ({reason}); it was read as plain text.", params={"reason": reason}),
            )
    return require_text(Parsed(clean(text), format.name, format.media_type, decoded.encoding, lost=lost))


def _laid_out(value: Any) -> str:
    """Records of a list apart from each other by a blank line; anything else as indented JSON."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "\n\n".join(_one(item) for item in value) + "\n"
    return _one(value) + "\n"


def _lines_laid_out(text: str) -> str:
    return "\n\n".join(_one(json.loads(line)) for line in text.splitlines() if line.strip()) + "\n"


def _one(value: Any) -> str:
    # Line ends as such; the n of "C:\\new" is none.
    laid_out = json.dumps(value, ensure_ascii=False, indent=1)
    return re.sub(r"\\(.)", lambda escape: "\n" if escape[1] == "n" else escape[0], laid_out)
