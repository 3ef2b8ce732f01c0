"""The catalogue of providers is whole."""

import re
from datetime import date
from urllib.parse import urlsplit

import pytest

from dizuo.gateway.presets import Preset, presets
from dizuo.gateway.providers import RESERVED
from dizuo.gateway.remote_address import checked_base

EXPECTED = {
    "openai", "anthropic", "gemini", "mistral", "deepseek", "qwen", "qwen-intl", "ernie", "glm", "hunyuan", "spark",
    "doubao", "moonshot", "moonshot-intl", "minimax", "minimax-intl", "baichuan", "modelscope", "ollama", "vllm",
    "sglang", "llamacpp", "lmstudio", "xinference",
}  # fmt: skip


def test_the_providers_that_people_look_for_are_there() -> None:
    assert presets().keys() == EXPECTED
    assert not presets().keys() & RESERVED


@pytest.mark.parametrize("preset", presets().values(), ids=lambda preset: preset.id)
def test_an_entry_says_all_that_it_takes(preset: Preset) -> None:
    parts = urlsplit(preset.base_url)
    assert checked_base(preset.base_url, "-") == preset.base_url
    assert preset.local == (parts.hostname == "127.0.0.1") == (parts.scheme == "http")
    assert set(preset.name) == {"en", "zh"}
    assert preset.differs is None or set(preset.differs) == {"en", "zh"}
    assert preset.docs.startswith("https://")
    assert date(2026, 1, 1) <= date.fromisoformat(preset.dated)
    if not preset.local:
        assert re.fullmatch(r"[A-Z][A-Z_]+_(KEY|PASSWORD)", preset.key_variable)
        assert preset.key_page.startswith("https://")


def test_no_two_entries_are_the_same_address() -> None:
    addresses = [preset.base_url for preset in presets().values()]
    assert len(set(addresses)) == len(addresses)


def test_chinese_texts_are_chinese() -> None:
    for preset in presets().values():
        if preset.differs:
            assert re.search(r"[\u4e00-\u9fff]", preset.differs["zh"]), preset.id
