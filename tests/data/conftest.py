"""A small tokenizer and the words that it was made from."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from dizuo.data.tokenizer import train_tokenizer

ENGLISH = "The house stands on a base, and the base holds whatever stands on it. "
CHINESE = "房子立在底座上，底座托住立在上面的一切。"
CODE = "def double(x):\n    return x + x  # 42\n\n"


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer([ENGLISH * 5, CHINESE * 5, CODE * 5], 400)


@pytest.fixture(scope="session")
def tokenizer_file(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(file))
    return file
