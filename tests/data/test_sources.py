import gzip
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import zstandard

from dizuo.core.errors import NotFound, UserError
from dizuo.data.rows import DOCUMENT_CHARS, LONGEST_LINE, read_rows
from dizuo.data.sources import data_sets, described, find, locate, read
from tests.conftest import data_file

_ROWS = [{"text": f"row {n} 行", "id": str(n)} for n in range(3)]
_LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _ROWS).encode()
_PACKED = gzip.compress(_LINES)


def _data_folder(folder: Path, content: bytes = _PACKED, **changes: Any) -> Path:
    """A data folder that describes one set of its own."""
    file = {
        "path": "mine/train.jsonl.gz",
        "split": "train",
        "rows": 3,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    about = {"language": ["en"], "licence": "CC0", "sources": ["a shelf"], "files": [file | changes]}
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "train.jsonl.gz").write_bytes(content)
    (folder / "sources.json").write_text(json.dumps({"mine": about}))
    return folder


def test_rows_of_a_set_are_read_in_order(tmp_path: Path) -> None:
    assert list(read("mine", "train", _data_folder(tmp_path))) == _ROWS


def test_every_shipped_set_says_where_it_comes_from_and_under_what_licence() -> None:
    sets = data_sets()
    assert len(sets) == 44
    assert all(s.sources and s.licence and s.attribution and s.files for s in sets.values())
    assert {s.name for s in sets.values() if not s.may_ship} == {
        "gpteacher",
        "llamafactory_preference_demo",
        "llamafactory_toolcall_demo",
    }


def test_splits_that_scores_are_reported_on_are_marked() -> None:
    evaluation = {f"{s.name} {f.split}" for s in data_sets().values() for f in s.files if f.evaluation}
    assert {"humaneval test", "gsm8k test", "text/wikitext-2 eval", "text/en-books val", "bbh test"} <= evaluation
    assert not {"gsm8k train", "text/en-books train", "squad_v2_en dev"} & evaluation


@pytest.mark.data
def test_the_catalogue_agrees_with_the_readme_of_every_set() -> None:
    data = data_file("text").parent
    for name, about in data_sets().items():
        folder = name.split("/")[0]
        readme = (data / folder / "README.md").read_text("utf-8")
        told = dict(re.findall(r"^\| (\S+\.jsonl\.\w+) .*?`?([0-9a-f]{64})`? \|", readme, re.M))
        assert {Path(f.path).name: f.sha256 for f in about.files}.items() <= told.items()


def test_an_unknown_set_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(NotFound, match="similar name: text/en-wikipedia"):
        find("text/en-wikipdia")
    with pytest.raises(NotFound, match=r"has no split 'test'. There are: train, val"):
        find("text/en-books").of("test")


def test_without_a_data_folder_the_source_is_named() -> None:
    with pytest.raises(UserError, match=r"Set DIZUO_DATA .*openai/grade-school-math@3101c7d"):
        locate("gsm8k", "train", None)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"data folder .*nowhere does not exist"):
        locate("gsm8k", "train", tmp_path / "nowhere")


def test_a_missing_file_is_told_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gsm8k.train\.jsonl\.gz is missing: \d+ bytes with the SHA-256"):
        locate("gsm8k", "train", tmp_path)


def test_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has \d+ bytes; 7 were expected"):
        locate("mine", "train", _data_folder(tmp_path, bytes=7))


def test_a_file_with_another_checksum_is_refused_even_after_it_was_read_once(tmp_path: Path) -> None:
    data = _data_folder(tmp_path)
    file = locate("mine", "train", data)[0]
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.write_bytes(changed)
    os.utime(file, ns=(1, 1))
    with pytest.raises(UserError, match="damaged or another version: its SHA-256 is"):
        locate("mine", "train", data)


def test_a_described_path_cannot_leave_the_data_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leads out of the folder"):
        find("mine", _data_folder(tmp_path, path="../secret.jsonl"))


def test_the_description_for_a_checkpoint_holds_licence_and_checksums(tmp_path: Path) -> None:
    about = described("mine", "train", _data_folder(tmp_path))
    assert (about["licence"], about["rows"], about["may_ship"]) == ("CC0", 3, False)
    assert json.loads(json.dumps(about))["files"][0]["sha256"] == hashlib.sha256(_PACKED).hexdigest()


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_a_file_of_ones_own_is_a_source(tmp_path: Path, ending: str) -> None:
    pack = {".jsonl": bytes, ".jsonl.gz": gzip.compress, ".jsonl.zst": zstandard.compress}[ending]
    (tmp_path / f"mine{ending}").write_bytes(pack(_LINES))
    assert list(read(f"file:{tmp_path}/mine{ending}", "train", None)) == _ROWS
    assert list(read(str(tmp_path), "train", None)) == _ROWS


def test_a_folder_without_text_is_refused_with_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"holds no text that can be trained on.*\.jsonl \.jsonl\.gz"):
        locate(str(tmp_path), "train", None)


def test_a_text_file_is_cut_into_documents_at_blank_lines_and_nothing_is_lost(tmp_path: Path) -> None:
    paragraph = "文字 and words.\n" * 1000 + "\n"
    (tmp_path / "book.txt").write_text("\ufeff" + paragraph * 40, "utf-8")
    documents = [row["text"] for row in read_rows(tmp_path / "book.txt")]
    assert len(documents) > 1
    assert max(map(len, documents)) < 2 * DOCUMENT_CHARS
    assert "\n\n".join(documents) == (paragraph * 40).rstrip("\n")


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_a_compressed_file_that_is_cut_off_is_never_taken_for_whole(tmp_path: Path, compress: Any, ending: str) -> None:
    if (compress is gzip.compress) != (ending == "gz"):
        file = tmp_path / f"wrong.jsonl.{ending}"
        file.write_bytes(compress(_LINES))
        with pytest.raises(UserError, match="cannot be decompressed"):
            list(read_rows(file))
        return
    file = tmp_path / f"cut.jsonl.{ending}"
    file.write_bytes(compress(_LINES * 1000)[:-9])
    with pytest.raises(UserError, match=r"cut\.jsonl.* is cut off"):
        list(read_rows(file))


def test_members_that_follow_each_other_in_one_file_are_all_read(tmp_path: Path) -> None:
    for ending, pack in (("gz", gzip.compress), ("zst", zstandard.compress)):
        (tmp_path / f"two.jsonl.{ending}").write_bytes(pack(_LINES) + pack(_LINES))
        assert list(read_rows(tmp_path / f"two.jsonl.{ending}")) == _ROWS * 2


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"text": ', "Line 2 of .* is not JSON"),
        (b'["text"]', "Line 2 of .* must be a JSON object"),
        ("中文".encode("gb18030"), r"Line 2 of .* is not UTF-8 \(byte 1\).*iconv"),
    ],
)
def test_a_bad_line_is_told_by_its_number(tmp_path: Path, line: bytes, told: str) -> None:
    (tmp_path / "bad.jsonl").write_bytes(b'{"text": "good"}\r\n' + line + b"\n")
    with pytest.raises(UserError, match=told):
        list(read_rows(tmp_path / "bad.jsonl"))


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "bomb.jsonl.gz"
    file.write_bytes(gzip.compress(b"a" * (LONGEST_LINE + (2 << 20)), 1))
    with pytest.raises(UserError, match=r"Line 1 of .* is longer than 64 MiB"):
        list(read_rows(file))
