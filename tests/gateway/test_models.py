"""The catalogue of models."""

from pathlib import Path

import pytest

from dizuo.core.errors import NotFound, UserError
from dizuo.gateway.models import LOCAL_EMBEDDER, Models
from tests.tiny_models import save_llama

SHIPPED = [LOCAL_EMBEDDER, "local/reader", "local/starter"]


def test_without_settings_there_are_the_models_that_ship() -> None:
    assert [(info.name, info.kind) for info in Models().list()] == [
        *zip(SHIPPED, ("embedding", "reader", "chat"), strict=True)
    ]


def test_the_chat_model_of_the_settings_is_listed_and_made() -> None:
    models = Models("ollama/qwen3:4b")
    assert [info.name for info in models.list()] == [*SHIPPED, "ollama/qwen3:4b"]
    assert models.chat("ollama/qwen3:4b").name == "ollama/qwen3:4b"


def test_another_chat_model_is_not_found_and_the_known_one_is_named() -> None:
    with pytest.raises(NotFound, match=r"'acme/gpt'.*There are: local/starter, ollama/qwen3\..*DIZUO_MODEL"):
        Models("ollama/qwen3").chat("acme/gpt")


@pytest.mark.parametrize("name", ["qwen3", "/qwen3", "ollama/"])
def test_a_model_without_provider_or_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="must be provider/name"):
        Models(name).chat(name)


def test_a_provider_whose_address_nobody_gave_is_refused() -> None:
    with pytest.raises(UserError, match="DIZUO_MODEL_BASE_URL"):
        Models("acme/large").chat("acme/large")
    assert Models("acme/large", "https://models.example.com/v1").chat("acme/large").name == "acme/large"


def test_the_catalogue_knows_where_a_provider_of_the_settings_is_and_how_another_is_added() -> None:
    assert Models("deepseek/deepseek-chat", api_key="sk-x").chat("deepseek/deepseek-chat").name
    with pytest.raises(NotFound, match="dizuo provider add qwen"):
        Models().chat("qwen/qwen-max")


def test_the_embedder_is_the_same_object_each_time_and_no_other_is_known() -> None:
    models = Models()
    assert models.embedder(LOCAL_EMBEDDER) is models.embedder(LOCAL_EMBEDDER)
    with pytest.raises(NotFound, match=r"'local/other'.*local/minilm"):
        models.embedder("local/other")


def test_a_card_that_is_a_link_out_of_the_folder_is_not_shown(tmp_path: Path) -> None:
    folder = save_llama(tmp_path / "models/tiny")
    (tmp_path / "secret").write_text("key")
    (folder / "README.md").unlink(missing_ok=True)
    (folder / "README.md").symlink_to(tmp_path / "secret")
    assert Models(folder=folder.parent).card("local/tiny") == ""
    (folder / "README.md").unlink()
    (folder / "README.md").write_text("# Tiny")
    assert Models(folder=folder.parent).card("local/tiny") == "# Tiny"
