"""`dizuo model …`, and questions that a local model answers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dizuo.nn.heads import SpanReader
from tests.cli.conftest import Ran
from tests.tiny_models import save_bert, save_llama, tiny_encoder

Command = Callable[..., Ran]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    save_llama(root / "talker", positions=6000)  # its tokens are short
    save_bert(root / "spans", SpanReader(tiny_encoder()))
    (root / "talker/README.md").write_text("# A tiny talker\n\nMade \x1b[31mfor tests.\n", "utf-8")
    return root


@pytest.fixture
def models(home: Path, made: Path) -> Path:
    home.mkdir(exist_ok=True)
    (home / "models").mkdir()
    for folder in made.iterdir():
        if not folder.name.startswith("."):
            (home / "models" / folder.name).symlink_to(folder)
    return home / "models"


def test_the_list_names_kinds_and_what_is_wrong(dizuo: Command, models: Path) -> None:
    (models / "broken").mkdir()
    listed = {one["name"]: one for one in dizuo("model", "list", "--json").json["models"]}
    assert listed["local/talker"]["kind"] == "chat"
    assert listed["local/spans"]["kind"] == "reader"
    assert listed["local/broken"]["problem"]
    text = dizuo("model", "list").out
    assert "no config.json" in text
    assert "often wrong" in text
    assert "经常出错" in dizuo("model", "list", "--language", "zh").out


def test_one_model_is_shown_with_its_scores_and_its_card_cleaned(dizuo: Command, models: Path) -> None:
    shown = dizuo("model", "show", "local/talker").out
    assert "A tiny talker" in shown
    assert "\x1b" not in shown
    assert "bits_per_byte: 2.5" in shown
    assert dizuo("model", "show", "local/talker", "--json").json["provenance"]["commit"] == "0" * 40
    missing = dizuo("model", "show", "local/nothing")
    assert (missing.status, missing.out) == (1, "")
    assert "local/talker" in missing.err


def test_models_of_several_kinds_are_tried(dizuo: Command, models: Path) -> None:
    said = dizuo("model", "test", "local/talker", "你好", "--json")
    assert said.status == 0, said.err
    assert said.json["said"]
    assert said.json["text"] == "你好"
    read = dizuo("model", "test", "local/spans", "how long?", "--with", "It takes 25 days.")
    assert "(It takes 25 days.)" in read.out
    broken = dizuo("model", "test", "openai/nothing")
    assert broken.status == 1


def test_a_model_is_removed_and_what_a_link_led_to_stays(dizuo: Command, models: Path, made: Path) -> None:
    assert dizuo("model", "remove", "local/talker", "--json").json == {"removed": "local/talker"}
    assert (made / "talker/config.json").exists()
    assert "local/talker" not in dizuo("model", "list").out
    assert dizuo("model", "remove", "local/minilm").status == 1
    assert dizuo("model", "remove", "local/../models").status == 1


def test_a_local_model_named_by_the_settings_writes_the_answers(
    dizuo: Command, models: Path, documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dizuo("knowledge", "add", "kb", str(documents)).status == 0
    monkeypatch.setenv("DIZUO_MODEL", "local/talker")
    # A model of random weights writes nonsense: what counts is that its answer comes, checked and labelled.
    answer = dizuo("ask", "How many days of paid leave?", "--json")
    assert answer.status == 0, answer.err
    assert answer.json["model"] == "local/talker"
    assert answer.json["answer"]
    monkeypatch.setenv("DIZUO_MODEL", "local/nothing")
    assert "local/talker" in dizuo("ask", "How many days?").err
