"""The two languages: which one is spoken, and that neither has a gap."""

from pathlib import Path

import pytest

from dizuo.core.documents import Note
from dizuo.core.errors import UserError
from dizuo.platform import catalogue
from dizuo.platform.catalogue import marked_texts, pick_language, translate


def test_no_text_lacks_its_translation() -> None:
    assert catalogue.gaps() == []


def test_a_text_is_translated_with_its_parameters_filled_in() -> None:
    template = "The file is larger than {limit_mb} MiB. Split it, or raise the setting max_file_mb."
    assert translate(template, "en", limit_mb=100).startswith("The file is larger than 100 MiB.")
    assert translate(template, "zh", limit_mb=100).startswith("文件超过 100 MiB。")


def test_a_sentence_within_a_sentence_is_translated_too() -> None:
    note = Note(
        template="{source}: {reason}", params={"source": "a.md", "reason": Note.of(UserError("The file is empty."))}
    )
    assert str(note) == "a.md: The file is empty."
    kept = Note.model_validate_json(note.model_dump_json())
    assert kept == note
    assert translate(kept.template, "zh", **kept.params) == "a.md：文件是空的。"


def test_a_text_without_a_translation_stays_english() -> None:
    assert translate("Nobody translated {what}.", "zh", what="this") == "Nobody translated this."


@pytest.mark.parametrize(
    ("wanted", "locale", "accept", "language"),
    [
        ("zh", "en_US.UTF-8", "en", "zh"),
        ("en", "zh_CN.UTF-8", "zh", "en"),
        ("auto", "zh_CN.UTF-8", "", "zh"),
        ("auto", "C", "", "en"),
        ("auto", "", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("auto", "", "fr,en;q=0.8,zh;q=0.2", "en"),
        ("auto", "", "en;q=0.1, zh-TW;q=0.9", "zh"),
        ("auto", "", "zh;q=nonsense", "en"),
        ("auto", "", ";;;,,,", "en"),
    ],
)
def test_the_language_is_what_the_reader_asks_for(wanted: str, locale: str, accept: str, language: str) -> None:
    assert pick_language(wanted, locale=locale, accept=accept) == language


def test_a_gap_is_found_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "face.py").write_text('say(_("One {a}."))\nraise UserError("Two." if x else "Three.", a=1)\n')
    found = [("One {a}.", "face.py:1"), ("Three.", "face.py:2"), ("Two.", "face.py:2")]
    assert sorted(marked_texts(tmp_path)) == found
    monkeypatch.setattr(catalogue, "marked_texts", lambda _root: found)
    monkeypatch.setattr(catalogue, "_chinese", lambda: {"One {a}.": "一 {b}。", "Two.": "二。", "Four.": "四。"})
    assert catalogue.gaps() == [
        "face.py:2: no Chinese for 'Three.'",
        "locales/zh: nobody says 'Four.' any more",
        "locales/zh: placeholders differ in 'One {a}.'",
    ]
