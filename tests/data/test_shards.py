import json
import subprocess
import sys
import textwrap
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from dizuo.core.errors import UserError
from dizuo.data.shards import Manifest, Shards, write_shards
from dizuo.nn.chat import without_added_tokens
from tests.data.conftest import CHINESE, CODE, ENGLISH

_SOURCE = {"name": "mine", "split": "train"}
_DOCUMENTS = [f"{n}: {ENGLISH if n % 2 else CHINESE}" * (1 + n % 7) for n in range(400)]


def _same_files(one: Path, other: Path) -> bool:
    names = sorted(file.name for file in one.iterdir())
    return names == sorted(file.name for file in other.iterdir()) and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names
    )


def test_every_document_comes_back_between_two_end_marks(tokenizer_file: Path, tmp_path: Path) -> None:
    manifest = write_shards(_DOCUMENTS, tokenizer_file, tmp_path, source=_SOURCE, shard_tokens=5000)
    shards, tokenizer = Shards(tmp_path), Tokenizer.from_file(str(tokenizer_file))
    assert len(shards) == len(_DOCUMENTS) == manifest.documents
    for i, text in enumerate(_DOCUMENTS):
        first, *ids, last = shards.document(i).tolist()
        assert first == last == 0
        assert tokenizer.decode(ids) == text
        assert shards.length(i) == len(ids) + 1
    assert manifest.text_bytes == sum(len(text.encode()) for text in _DOCUMENTS)
    assert manifest.tokens == sum(shards.length(i) for i in range(len(shards)))


def test_marks_inside_a_document_are_plain_text(tokenizer_file: Path, tmp_path: Path) -> None:
    write_shards(["a<|endoftext|><|im_end|>b", ""], tokenizer_file, tmp_path, source=_SOURCE)
    shards = Shards(tmp_path)
    assert len(shards) == 1  # the empty document is left out
    assert min(shards.document(0)[1:-1]) >= 64


def test_a_large_vocabulary_is_kept_in_four_bytes(tokenizer: Tokenizer, tmp_path: Path) -> None:
    described = json.loads(tokenizer.to_str())
    described["model"]["vocab"] |= {f"entry{n}": 400 + n for n in range(66_000)}
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    write_shards([ENGLISH], tmp_path / "tokenizer.json", tmp_path / "shards", source=_SOURCE)
    assert Shards(tmp_path / "shards").document(0).dtype == np.uint32


def test_a_finished_folder_is_not_written_again(tokenizer_file: Path, tmp_path: Path) -> None:
    write_shards(_DOCUMENTS, tokenizer_file, tmp_path, source=_SOURCE)

    def none() -> Iterator[str]:
        raise AssertionError("read again")
        yield ""

    assert write_shards(none(), tokenizer_file, tmp_path, source=_SOURCE) == Shards(tmp_path).manifest


def test_another_tokenizer_or_source_is_refused(tokenizer_file: Path, tmp_path: Path) -> None:
    write_shards([ENGLISH], tokenizer_file, tmp_path, source=_SOURCE)
    with pytest.raises(UserError, match=r"with another source.*Use another folder"):
        write_shards([ENGLISH], tokenizer_file, tmp_path, source={"name": "other"})


def test_a_writer_that_died_goes_on_and_writes_the_same_files(
    tokenizer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dizuo.data.shards._BATCH_CHARS", 3000)
    write_shards(_DOCUMENTS, tokenizer_file, tmp_path / "whole", source=_SOURCE, shard_tokens=4000)

    def dying() -> Iterator[str]:
        yield from _DOCUMENTS[:300]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(dying(), tokenizer_file, tmp_path / "died", source=_SOURCE, shard_tokens=4000)
    with pytest.raises(UserError, match="no finished shards"):
        Shards(tmp_path / "died")
    kept = json.loads((tmp_path / "died" / "progress.json").read_text())["consumed"]
    assert 100 < kept < 300
    write_shards(_DOCUMENTS, tokenizer_file, tmp_path / "died", source=_SOURCE, shard_tokens=4000)
    assert _same_files(tmp_path / "whole", tmp_path / "died")


def test_two_writers_of_one_folder_do_the_work_once(tokenizer_file: Path, tmp_path: Path) -> None:
    read = [0, 0]

    def documents(writer: int) -> Iterator[str]:
        for text in _DOCUMENTS:
            read[writer] += 1
            yield text

    def write(writer: int) -> Manifest:
        return write_shards(documents(writer), tokenizer_file, tmp_path, source=_SOURCE)

    with ThreadPoolExecutor(2) as both:
        one, other = both.map(write, range(2))
    Shards(tmp_path).check()
    assert one == other
    assert sorted(read) == [0, len(_DOCUMENTS)]


def test_a_killed_writer_leaves_nothing_that_is_taken_for_whole(tokenizer_file: Path, tmp_path: Path) -> None:
    program = f"""
        import os, signal
        from pathlib import Path
        from dizuo.data import shards
        shards._BATCH_CHARS = 3000
        def documents():
            for n in range(10_000):
                if n == 300:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield str(n) + ": text of a document " * 20
        shards.write_shards(documents(), Path({str(tokenizer_file)!r}), Path({str(tmp_path / "shards")!r}),
                            source={{"name": "mine"}}, shard_tokens=4000)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert done.returncode == -9
    with pytest.raises(UserError, match="no finished shards"):
        Shards(tmp_path / "shards")
    again = (f"{n}: text of a document " * 20 for n in range(10))  # shorter than what was consumed: nothing is new
    manifest = write_shards(again, tokenizer_file, tmp_path / "shards", source={"name": "mine"}, shard_tokens=4000)
    assert 0 < manifest.documents < 300


def test_a_cut_off_file_and_a_changed_one_are_told(tokenizer_file: Path, tmp_path: Path) -> None:
    write_shards(_DOCUMENTS, tokenizer_file, tmp_path, source=_SOURCE)
    file = tmp_path / "tokens-00000.bin"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"tokens-00000\.bin is damaged"):
        Shards(tmp_path).check()
    file.write_bytes(content[:-2])
    with pytest.raises(UserError, match=r"should have \d+ bytes and has \d+"):
        Shards(tmp_path)


def test_a_very_long_document_is_encoded_in_pieces_to_the_same_ids(
    tokenizer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (CODE + "    indented\n\n\n" + ENGLISH + "\n" + CHINESE) * 50
    monkeypatch.setattr("dizuo.data.shards._PIECE", 100)
    write_shards([text], tokenizer_file, tmp_path, source=_SOURCE)
    whole = without_added_tokens(Tokenizer.from_file(str(tokenizer_file))).encode(text).ids
    assert Shards(tmp_path).document(0)[1:-1].tolist() == whole


class _Text(str):
    """A string that can be watched."""


def test_a_set_is_never_in_memory_as_a_whole(
    tokenizer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dizuo.data.shards._BATCH_CHARS", 10_000)
    alive: weakref.WeakSet[_Text] = weakref.WeakSet()
    most = 0

    def documents() -> Iterator[str]:
        nonlocal most
        for n in range(2000):
            text = _Text(f"{n} {ENGLISH}")
            alive.add(text)
            most = max(most, len(alive))
            yield text

    write_shards(documents(), tokenizer_file, tmp_path, source=_SOURCE)
    assert 50 < most <= 2 * 10_000 // 70  # a batch being filled beside the one before it
