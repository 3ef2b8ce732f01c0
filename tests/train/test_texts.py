"""Raw text by name."""

from pathlib import Path

import pytest

from dizuo.core.errors import UserError
from dizuo.train.texts import open_text, pieces
from tests.conftest import data_file


def test_a_file_of_ones_own_is_split_into_what_is_learnt_and_what_is_held_out(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("\n\n".join(f"paragraph {n} " + "word " * 300 for n in range(60)), "utf-8")
    source = open_text(str(file), "train")
    learnt, held_out = list(source.documents()), list(source.held_out())
    assert not set(learnt) & set(held_out)
    assert sorted("\n\n".join([*learnt, *held_out]).split()) == sorted(file.read_text("utf-8").split())
    assert len(learnt) / len(held_out) == pytest.approx(11, abs=4)


def test_pieces_are_whole_lines_of_bounded_length() -> None:
    text = "".join(f"line {n}\n" for n in range(2000))
    found = list(pieces(text))
    assert "\n".join(found) == text.strip()
    assert max(map(len, found)) < 4_100


def test_what_ships_needs_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIZUO_DATA", raising=False)
    for name in ("guide", "dizuo"):
        assert "\n" in next(iter(open_text(name, "train").documents()))
    with pytest.raises(UserError):
        open_text("text/en-wikipedia", "train")
    with pytest.raises(UserError, match="no-such-text"):
        open_text("no-such-text", "train")


@pytest.mark.data
def test_a_set_of_the_catalogue_has_its_own_held_out_part_and_its_licence() -> None:
    data_file("text", "zh-textbook.val.jsonl.zst")
    source = open_text("text/zh-textbook", "train")
    assert (len(list(source.documents())), len(list(source.held_out()))) == (132, 4)
    assert source.facts["licence"] == "Apache-2.0"
