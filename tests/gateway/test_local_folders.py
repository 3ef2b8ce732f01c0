"""Folders in the Hugging Face layout as models: what each is, what is wrong with some, and which names lead nowhere."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.gateway.local_folders import LocalFolders, count
from dizuo.gateway.models import Models
from dizuo.nn.heads import SentenceEncoder, SequenceClassifier, SpanReader
from tests.tiny_models import save_bert, save_llama, tiny_encoder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of each kind."""
    root = tmp_path_factory.mktemp("models")
    save_llama(root / "talker")
    save_llama(root / "base", chat=False)
    save_bert(root / "vectors", SentenceEncoder(tiny_encoder()))
    save_bert(root / "scorer", SequenceClassifier(tiny_encoder(), ["score"], "regression"))
    save_bert(root / "labels", SequenceClassifier(tiny_encoder(), ["good", "bad"]))
    save_bert(root / "spans", SpanReader(tiny_encoder()))
    return root


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A folder of models of the test's own, with one that works."""
    (tmp_path / "models").mkdir()
    copy(made / "base", tmp_path / "models/base")
    return tmp_path / "models"


def copy(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target))


def nothing(tmp_path: Path) -> Path:
    return tmp_path / "no shipped models"


def test_every_kind_is_told_from_its_config(made: Path, tmp_path: Path) -> None:
    found = {folder.name: folder for folder in LocalFolders(made, nothing(tmp_path)).list()}
    assert {name: folder.kind for name, folder in found.items()} == {
        "local/base": "completion",
        "local/labels": "classifier",
        "local/scorer": "rerank",
        "local/spans": "reader",
        "local/talker": "chat",
        "local/vectors": "embedding",
    }
    assert all(folder.problem is None for folder in found.values())
    layer = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32
    assert found["local/talker"].parameters == 2 * 400 * 32 + 2 * layer + 32
    assert found["local/talker"].context_tokens == 256


def test_a_folder_appears_and_goes_without_a_restart(home: Path, made: Path, tmp_path: Path) -> None:
    folders = LocalFolders(home, nothing(tmp_path))
    assert [folder.name for folder in folders.list()] == ["local/base"]
    copy(made / "spans", home / "new")
    assert folders.get("local/new").kind == "reader"
    folders.remove("local/base")
    assert [folder.name for folder in folders.list()] == ["local/new"]


def test_a_model_of_ones_own_stands_before_a_shipped_one_of_its_name(home: Path, made: Path) -> None:
    folders = LocalFolders(home, made)
    assert not folders.get("local/base").shipped
    assert folders.get("local/talker").shipped
    with pytest.raises(Conflict, match="comes with Dizuo"):
        folders.remove("local/talker")
    folders.remove("local/base")
    assert folders.get("local/base").shipped


def without(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).unlink()


def with_text(name: str, text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(text, "utf-8")


def with_header(about: dict[str, Any]) -> Callable[[Path], Any]:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 0]} | about}).encode()
    return lambda folder: (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


def cut(folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (without("config.json"), "no config.json"),
        (without("model.safetensors"), "no model.safetensors"),
        (without("tokenizer.json"), "no tokenizer.json"),
        (with_text("config.json", "{"), "config.json is not JSON"),
        (with_text("config.json", "[1]"), "config.json is not JSON: list"),
        (with_text("config.json", '{"architectures": ["CLIPModelForTea"]}'), "'CLIPModelForTea', which no engine"),
        (with_text("config.json", '{"architectures": 5, "model_type": {}}'), "no engine here runs"),
        (with_text("dizuo.json", "nonsense"), "dizuo.json is not JSON"),
        (with_text("tokenizer_config.json", '"a"'), "tokenizer_config.json is not JSON"),
        (with_text("model.safetensors", "no weights"), "not in the safetensors format"),
        (cut, "is cut off"),
        (with_header({"data_offsets": ["a", "b"]}), "not in the safetensors format"),
        (with_header({"shape": [2.5]}), "not in the safetensors format"),
    ],
)
def test_a_broken_folder_is_listed_with_what_is_wrong_and_breaks_nothing(
    home: Path, made: Path, tmp_path: Path, spoil: Callable[[Path], Any], says: str
) -> None:
    spoil(copy(made / "base", home / "broken"))
    models = Models(folder=home, shipped=nothing(tmp_path))
    problems = {info.name: str(info.problem or "") for info in models.list()}
    assert says in problems.pop("local/broken")
    assert set(problems.values()) == {""}
    with pytest.raises(UserError, match="local/broken cannot be used"):
        models.completion("local/broken")


def test_weights_in_pieces_are_counted_and_missed(home: Path, tmp_path: Path) -> None:
    whole = LocalFolders(home, nothing(tmp_path)).get("local/base").parameters
    weights = home / "base/model.safetensors"
    weights.rename(home / "base/one.safetensors")
    index = home / "base/model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    assert LocalFolders(home, nothing(tmp_path)).get("local/base").parameters == whole
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "../two.safetensors"}}))
    assert "incomplete" in str(LocalFolders(home, nothing(tmp_path)).get("local/base").problem)


@pytest.mark.parametrize(
    "name",
    ["local/..", "local/../base", "local/base/../base", "local//etc", "local/.hidden", "local/", "base", "local/a\0b"],
)
def test_a_name_that_is_no_name_leads_nowhere(home: Path, tmp_path: Path, name: str) -> None:
    (home / ".hidden").mkdir()
    folders = LocalFolders(home, nothing(tmp_path))
    with pytest.raises(NotFound, match="local/base"):
        folders.get(name)
    with pytest.raises(NotFound):
        folders.remove(name)
    assert (home / "base/config.json").exists()


def test_removing_a_link_leaves_what_it_leads_to(home: Path, made: Path, tmp_path: Path) -> None:
    (home / "linked").symlink_to(made / "talker")
    folders = LocalFolders(home, nothing(tmp_path))
    assert folders.remove("local/linked").kind == "chat"
    assert (made / "talker/config.json").exists()
    assert [folder.name for folder in folders.list()] == ["local/base"]


def test_what_is_no_name_for_a_model_and_what_is_taken_is_said(home: Path, made: Path, tmp_path: Path) -> None:
    copy(made / "vectors", home / "my model")
    copy(made / "vectors", home / "minilm")
    models = Models(folder=home, shipped=nothing(tmp_path))
    problems = [str(info.problem) for info in models.list() if info.problem]
    assert len(problems) == 2
    assert any("rename it" in text for text in problems)
    assert any("is taken" in text for text in problems)
    assert models.embedder("local/minilm").dimension == 384


def test_a_small_writer_is_labelled_and_says_how_it_was_made(made: Path, tmp_path: Path) -> None:
    models = Models(folder=made, shipped=nothing(tmp_path))
    note = str(models.get("local/talker").note)
    assert "44.2 K parameters (LlamaForCausalLM), trained with Dizuo by the recipe tiny on text/fox." in note
    assert "often wrong" in note
    assert "often wrong" not in str(models.get("local/vectors").note)
    assert models.provenance("local/talker")["scores"] == {"bits_per_byte": 2.5}


def test_a_small_writer_is_known_as_such_and_nothing_else_is(made: Path, tmp_path: Path) -> None:
    models = Models(folder=made, shipped=nothing(tmp_path))
    known = [one.name for one in models.list() if models.is_small(one.name)]
    assert "local/talker" in known
    assert not [name for name in known if models.get(name).kind not in ("chat", "completion")]
    assert not models.is_small("openai/gpt")
    assert not models.is_small("local/extractive")


def test_how_well_a_model_calls_tools_is_told_where_it_was_measured(made: Path, tmp_path: Path) -> None:
    from dizuo.evals.kept import keep

    home = tmp_path / "home"
    copy(made / "talker", home / "talker")
    keep(home / "talker", {"calls BFCL": {"n": 600, "decided": 0.9, "name": 0.4, "exact": 0.07, "free_exact": 0.03}})
    models = Models(folder=home, shipped=nothing(tmp_path))
    note = models.get("local/talker").note
    told = "it picks the right tool in 40% and gets every argument right in 7% (written freely: 3%)."
    assert f"Of 600 calls of tools (BFCL) {told}" in str(note)
    assert models.provenance("local/talker")["scores"]["bits_per_byte"] == 2.5
    keep(home / "talker", {"calls BFCL": {"n": "many", "name": 4}})
    assert "BFCL" not in str(Models(folder=home, shipped=nothing(tmp_path)).get("local/talker").note)


def test_the_languages_of_a_model_are_those_of_its_card(home: Path, tmp_path: Path) -> None:
    folders = LocalFolders(home, nothing(tmp_path))
    card = home / "base/README.md"
    card.write_text("---\nlicense: mit\nlanguage:\n- en\n- zh\n---\nlanguage: de", "utf-8")
    assert folders.get("local/base").languages == ("en", "zh")
    card.write_text("---\nlanguage: en\n---\n", "utf-8")
    assert folders.get("local/base").languages == ("en",)
    card.write_text("language: en", "utf-8")
    assert folders.get("local/base").languages == ()


def test_parameters_are_counted_as_the_field_writes_them() -> None:
    assert [count(n) for n in (950, 26_304, 41_300_000, 999_000_000, 1_500_000_000)] == [
        "950", "26.3 K", "41.3 M", "999 M", "1.5 B",
    ]  # fmt: skip
