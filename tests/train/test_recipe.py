"""Recipes: read, checked, overridden; every shipped one runs."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dizuo.core.errors import UserError
from dizuo.train.recipe import as_yaml, load_recipe, parse_recipe, shipped_recipes
from tests.tiny_models import save_bert, save_llama, tiny_encoder
from tests.train.tuning import run, write_rows

LEAST: dict[str, Any] = {"stage": "pretrain", "data": [{"name": "guide"}], "steps": 3}


def test_an_unknown_key_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match=r"no key 'model\.chanels'\. \('channels'\?\)"):
        parse_recipe({**LEAST, "model": {"chanels": 3}})
    with pytest.raises(UserError, match=r"no key 'options\.objektive'\. \('objective'\?\)"):
        parse_recipe({**LEAST, "options": {"objektive": "causal"}})


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"steps": "many"}, "steps is 'many'; it takes a whole number"),
        ({"steps": 0}, "steps is 0; the least is 1"),
        ({"compile": 3}, "compile is 3; it takes true or false"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; it can be adamw, muon"),
        ({"stage": "dream"}, "stage is 'dream'; there are pretrain"),
        ({"data": "guide"}, "data is 'guide', not a list"),
        ({"data": []}, "lists no data"),
        ({"model": 7}, "model is 7, not keys and values"),
    ],
)
def test_a_wrong_value_is_named(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_recipe({**LEAST, **raw})


def test_overrides_reach_into_keys_and_lists_and_read_numbers_as_people_write_them() -> None:
    recipe = load_recipe("tiny", ["model.layers=1", "lr=1e-3", "data.0.weight=2", "options.objective=masked"])
    assert (recipe.model.layers, recipe.lr, recipe.data[0].weight) == (1, 1e-3, 2.0)
    assert recipe.options["objective"] == "masked"
    for wrong in ("layers", "lr.peak=3", "data.7.weight=1"):
        with pytest.raises(UserError, match="--set"):
            load_recipe("tiny", [wrong])


def test_a_missing_or_broken_recipe_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"No recipe is named 'tiney'.*\('tiny'\?\)"):
        load_recipe("tiney")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [", "utf-8")
    with pytest.raises(UserError, match="not valid YAML"):
        load_recipe(broken)


def test_recipes_are_read_without_torch() -> None:
    code = "import sys, dizuo.train.process as p; p.main(['--resolve', 'starter']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_says_what_it_is_in_both_languages_and_survives_being_written(
    name: str, tmp_path: Path
) -> None:
    recipe = load_recipe(name)
    assert set(recipe.description) == {"en", "zh"}
    file = tmp_path / f"{name}.yaml"
    file.write_text(as_yaml(recipe), "utf-8")
    assert load_recipe(file) == recipe


READING = {"question": "Who?", "passage": "Anna did it.", "answers": [{"text": "Anna", "answer_start": 0}]}
CHAT = {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "Good day."}]}
ROWS: dict[str, list[dict[str, Any]]] = {
    "read": [READING] * 20,
    "sft": [CHAT] * 20,
    "classify": [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(40)],
    "pairs": [{"origin": f"one {n}", "similar": f"other {n}"} for n in range(40)],
    "translate": [{"en": f"word {n}", "zh": f"词{n}", "de": f"Wort {n}"} for n in range(40)],
}
SMALL_MODEL: dict[str, Any] = {"channels": 32, "layers": 1, "heads": 2, "hidden": 64}
SMALL: dict[str, Any] = {"length": 64, "batch": 4, "accumulate": 1, "warmup": 1}


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_runs_scaled_down(name: str, tmp_path: Path) -> None:
    raw = vars(load_recipe(name)) | SMALL
    options = dict(raw["options"])
    if "vocab_size" in options:
        options["vocab_size"] = 400
    data = "guide"
    if raw["stage"] != "pretrain":
        data = write_rows(tmp_path / "rows.jsonl", ROWS[raw["stage"]])
    model = {"family": raw["model"].family, "kv_heads": None, **SMALL_MODEL}
    if raw["model"].start:
        decoder = raw["stage"] in ("sft", "pretrain")
        small = save_llama(tmp_path / "m") if decoder else save_bert(tmp_path / "m", tiny_encoder())
        model = {"start": str(small)}
    raw |= {"model": model, "data": [{"name": data}], "options": options, "precision": "float32"}
    for key in ("steps", "evaluate_every", "checkpoint_every"):
        del raw[key]
    lines = run(tmp_path / "run", raw, 2)
    assert [line["step"] for line in lines] == [1, 2]
    assert (tmp_path / "run" / "model" / "config.json").is_file()
