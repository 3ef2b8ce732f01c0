"""The model card, from what a checkpoint says of itself."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dizuo.core.errors import UserError
from dizuo.nn.card import model_card
from dizuo.nn.checkpoint import Provenance, inherited_data, save_model
from dizuo.nn.decoder import Decoder, DecoderConfig
from dizuo.nn.encoder import Encoder, EncoderConfig
from dizuo.nn.heads import SentenceEncoder
from tests.tiny_models import minilm_folder

WIKIPEDIA = {
    "name": "text/zh-wikipedia", "split": "train", "licence": "CC-BY-SA-3.0/4.0", "rows": 22123, "may_ship": True,
    "attribution": "Wikipedia | its authors", "sources": ["github.com/some/dump@0a1b"],
    "files": [{"sha256": "ab" * 32}, {"sha256": "cd" * 32}],
}  # fmt: skip
BOOKS = {"name": "text/en-books", "split": "train", "licence": "Public domain", "rows": 6218, "sha256": "ef" * 32}
MADE = Provenance(
    recipe={
        "name": "tiny",
        "stage": "pretrain",
        "description": {"en": "A tiny model.", "zh": "一个小模型。"},
        "lr": 0.001,
    },
    data=[WIKIPEDIA, BOOKS],
    commit="0123abcd",
    scores={"val_loss": 3.14159265, "reading": {"em": 41, "f1": 52.25}},
    parents=["local/seed"],
)


def _saved(folder: Path, made: Provenance | None = MADE, model: Any = None) -> Path:
    decoder = Decoder(DecoderConfig("llama", 50, 24, 1, 4, 40, 16))
    save_model(model or decoder, folder / "tiny", provenance=made)
    return folder / "tiny"


def _front(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n")[1])


def test_the_front_matter_says_what_the_hub_asks(tmp_path: Path) -> None:
    assert _front(model_card(_saved(tmp_path))) == {
        "license": "cc-by-sa-4.0",
        "language": ["en", "zh"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": ["local/seed"],
        "datasets": ["text/zh-wikipedia", "text/en-books"],
        "tags": ["dizuo", "pretrain"],
    }


def test_what_another_model_reached_stands_beside_each_measure(tmp_path: Path) -> None:
    folder = _saved(tmp_path)
    about = json.loads((folder / "dizuo.json").read_text("utf-8"))
    about["scores"]["beside"] = {"untrained": {"reading": {"em": 0.5, "f1": 1.25}}}
    (folder / "dizuo.json").write_text(json.dumps(about), "utf-8")
    card = model_card(folder)
    assert "| measure | value | untrained |" in card
    assert "| reading / f1 | 52.25 | 1.25 |" in card
    assert "| val_loss | 3.142 |  |" in card


def test_data_recipe_commit_and_scores_are_in_the_card(tmp_path: Path) -> None:
    card = model_card(_saved(tmp_path))
    assert "| text/zh-wikipedia | train | 22123 | CC-BY-SA-3.0/4.0 | abababababababab… (and 1 more files) |  |" in card
    assert "- text/zh-wikipedia: Wikipedia | its authors. Source: github.com/some/dump@0a1b." in card
    assert "| val_loss | 3.142 |" in card
    assert "| reading / f1 | 52.25 |" in card
    assert "commit `0123abcd`" in card
    recipe = card.split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(recipe) == MADE.recipe
    assert "一个小模型。" in card
    assert "6,456 parameters" in card


def test_the_same_checkpoint_has_the_same_card(tmp_path: Path) -> None:
    folder = _saved(tmp_path)
    assert model_card(folder) == model_card(folder)


def test_the_hub_reads_the_card(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    (tmp_path / "README.md").write_text(model_card(_saved(tmp_path)), "utf-8")
    assert hub.ModelCard.load(tmp_path / "README.md").data.license == "cc-by-sa-4.0"


@pytest.mark.parametrize(
    ("data", "licence"),
    [
        ([BOOKS], "apache-2.0"),
        ([BOOKS, {"name": "my.txt", "licence": ""}], "other"),
        ([WIKIPEDIA, {"name": "gpteacher", "licence": "MIT", "may_ship": False}], "other"),
        ([{"name": "squad_v2_en", "licence": "CC BY-SA 4.0"}], "cc-by-sa-4.0"),
    ],
)
def test_the_licence_is_what_the_most_demanding_data_asks_for(
    data: list[dict[str, Any]], licence: str, tmp_path: Path
) -> None:
    assert _front(model_card(_saved(tmp_path, Provenance(data=data))))["license"] == licence


def test_data_that_may_not_ship_is_named_among_the_limits(tmp_path: Path) -> None:
    made = Provenance(data=[{"name": "gpteacher", "licence": "MIT", "may_ship": False}])
    assert "trained on gpteacher may not be given away" in model_card(_saved(tmp_path, made))


def test_data_of_the_model_that_it_started_from_keeps_its_licence_and_credit(tmp_path: Path) -> None:
    parent = _saved(tmp_path / "parent", Provenance(data=[WIKIPEDIA]))
    made = Provenance(data=[BOOKS, *inherited_data(parent)], parents=["local/tiny"])
    card = model_card(_saved(tmp_path / "child", made))
    assert _front(card)["license"] == "cc-by-sa-4.0"
    assert "- text/zh-wikipedia: Wikipedia | its authors" in card
    assert "(and 1 more files) | tiny |" in card
    assert inherited_data(None) == []


def test_weights_of_others_keep_the_name_and_the_licence_of_their_card(tmp_path: Path) -> None:
    found = inherited_data(minilm_folder())
    assert [(one["name"], one["licence"], one["language"]) for one in found] == [
        ("all-MiniLM-L6-v2", "apache-2.0", "en")
    ]
    card = model_card(_saved(tmp_path, Provenance(data=[WIKIPEDIA, *found])))
    assert "- all-MiniLM-L6-v2: weights that training started from." in card
    assert _front(card)["base_model"] == ["all-MiniLM-L6-v2"]
    assert _front(card)["datasets"] == ["text/zh-wikipedia"]
    assert _front(card)["license"] == "cc-by-sa-4.0"


@pytest.mark.parametrize("card", ["no front matter", "---\n[\n---\n# Broken\n", "---\n- a list\n---\n"])
def test_a_card_that_says_nothing_is_no_data(tmp_path: Path, card: str) -> None:
    (tmp_path / "README.md").write_text(card, "utf-8")
    assert inherited_data(tmp_path) == []


def test_a_sentence_encoder_is_shown_with_its_own_library(tmp_path: Path) -> None:
    encoder = SentenceEncoder(Encoder(EncoderConfig(50, 24, 1, 3, 40, 16)))
    card = model_card(_saved(tmp_path, model=encoder))
    assert _front(card)["pipeline_tag"] == "sentence-similarity"
    assert 'SentenceTransformer("tiny")' in card


def test_a_checkpoint_that_does_not_say_how_it_was_made_gets_no_card(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dizuo\.json"):
        model_card(_saved(tmp_path, made=None))
