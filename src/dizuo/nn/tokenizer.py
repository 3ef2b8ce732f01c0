"""The tokenizer of a checkpoint, read the same way by whoever trains or serves it. Imports no torch."""

from pathlib import Path
from typing import TYPE_CHECKING

from dizuo.core.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def load_tokenizer(file: Path) -> "Tokenizer":
    """The tokenizer of a `tokenizer.json`. Raises UserError when the file is missing or is none."""
    from tokenizers import Tokenizer

    if not file.is_file():
        raise UserError("There is no tokenizer at {file}.", file=file)
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise UserError("{file} is no tokenizer: {reason}.", file=file, reason=error) from error


def tokenizer_of(folder: Path) -> "Tokenizer":
    """The tokenizer of a checkpoint, without the cutting and filling up that its file may ask for.

    Raises UserError when the folder has none, or it cannot be read.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise UserError("The checkpoint {folder} has no {file}.", folder=folder, file=file.name)
    tokenizer = load_tokenizer(file)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
