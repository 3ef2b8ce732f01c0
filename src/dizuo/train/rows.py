"""Rows to learn from by name: of a program, a reading set, a set of the catalogue, or a .jsonl file."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dizuo.core.errors import UserError
from dizuo.data.programs import PREFIX, PROGRAMS, program_rows
from dizuo.data.reading import PARTS, read_reading
from dizuo.data.sources import described, find, own_path, read
from dizuo.train.texts import TextSource, data_folder, open_text

_HELD_OUT_EVERY = 20


@dataclass(frozen=True)
class RowSet:
    """Rows with what the model card says of them."""

    name: str
    split: str
    rows: list[dict[str, Any]]

    @property
    def facts(self) -> dict[str, Any]:
        """What the model card says: the set as the catalogue describes it, with `rows` and their `sha256`."""
        known: dict[str, Any] = {"name": self.name, "split": self.split}
        if program := PROGRAMS.get(self.name):
            credit = [find(one, data_folder()).attribution for one in program.sources]
            known |= {"about": program.about, "licence": program.licence, "sources": list(program.sources)}
            known |= {"attribution": "; ".join(credit)} if credit else {}
        elif self.name in PARTS:
            known |= described(self.name, PARTS[self.name][0], data_folder()) | known
        else:
            known |= described(self.name, self.split, data_folder())
        return known | {"rows": len(self.rows), "sha256": self.sha256}

    @cached_property
    def sha256(self) -> str:
        """Of the rows as they were read."""
        content = hashlib.sha256()
        for row in self.rows:
            content.update(json.dumps(row, ensure_ascii=False, sort_keys=True).encode())
        return content.hexdigest()


def read_rows(name: str, split: str, characters: int | None = None) -> RowSet:
    """All rows of a set; of texts no more than make up so many characters.

    Raises UserError when the name or the split is unknown, or a file is missing or damaged.
    """
    rows: list[dict[str, Any]] = []
    for row in _open(name, split):
        rows.append(row)
        if characters is not None and isinstance(row.get("text"), str):
            characters -= len(row["text"])
            if characters <= 0:
                break
    if not rows:
        raise UserError("The set {name} has no rows in {split!r}.", name=name, split=split)
    return RowSet(name, split, rows)


def read_set(name: str, split: str, characters: tuple[int | None, int | None] = (None, None)) -> tuple[RowSet, RowSet]:
    """(rows to learn from, rows to measure on meanwhile), of texts no more than make up so many characters.

    A set without a split for that gives up every 20th row. Raises UserError as `read_rows` does.
    """
    rows = read_rows(name, split, characters[0])
    for held_out in ("validation", "val"):
        if held_out != split and _has(name, held_out):
            return rows, read_rows(name, held_out, characters[1])
    kept = [row for n, row in enumerate(rows.rows) if n % _HELD_OUT_EVERY != _HELD_OUT_EVERY - 1]
    return RowSet(name, split, kept), RowSet(name, split, rows.rows[_HELD_OUT_EVERY - 1 :: _HELD_OUT_EVERY])


def open_documents(name: str, split: str) -> TextSource:
    """The text of that name, or the conversations of a program. Raises UserError as `open_text` and `read_rows` do."""
    if not name.startswith(PREFIX):
        return open_text(name, split)
    rows, held_out = read_set(name, split)
    if "messages" not in rows.rows[0]:
        raise UserError("The rows of {name} have no field {field!r}; they have {known}.", name=name, field="messages",
                        known=", ".join(rows.rows[0]))  # fmt: skip
    return TextSource(
        name, rows.sha256, lambda: iter(rows.rows), lambda: iter(held_out.rows), rows.facts,
        clean=True, conversations=True,
    )  # fmt: skip


def _has(name: str, split: str) -> bool:
    if name.startswith(PREFIX) or name in PARTS:
        return split == "validation"
    folder = data_folder()
    return own_path(name, folder) is None and split in find(name, folder).splits


def _open(name: str, split: str) -> Iterator[dict[str, Any]]:
    if name.startswith(PREFIX):
        return program_rows(name, split, data_folder())
    if name in PARTS:
        return read_reading(name, split, data_folder())
    return read(name, split, data_folder())
