"""Parameters as each provider takes them: renamed, left out where that says the same, or refused by name."""

from typing import Any

import pytest

from dizuo.core.errors import UserError
from dizuo.gateway.dialect import dialect
from dizuo.gateway.presets import presets
from dizuo.gateway.remote import OPTIONS


@pytest.mark.parametrize(
    ("preset", "given", "said"),
    [
        ("openai", {"max_tokens": 5}, {"max_completion_tokens": 5}),
        ("mistral", {"max_completion_tokens": 5, "seed": 1}, {"max_tokens": 5, "random_seed": 1}),
        ("ollama", {"max_completion_tokens": 5}, {"max_tokens": 5}),
        ("ollama", {"max_completion_tokens": 5, "max_tokens": 5}, {"max_tokens": 5}),
        ("vllm", {"max_completion_tokens": 5, "seed": 1}, {"max_completion_tokens": 5, "seed": 1}),
        ("", {"max_tokens": 5, "logit_bias": {"1": 2}}, {"max_tokens": 5, "logit_bias": {"1": 2}}),
        ("ollama", {"tool_choice": "auto"}, {}),
        ("minimax", {"presence_penalty": 0, "frequency_penalty": 0.0}, {}),
        ("anthropic", {"response_format": {"type": "text"}, "top_p": 0.5}, {"top_p": 0.5}),
        ("moonshot", {"tool_choice": "none"}, {"tool_choice": "none"}),
    ],
)
def test_what_has_an_equivalent_is_said_in_the_providers_words(preset: str, given: Any, said: Any) -> None:
    assert dialect(preset).spoken(given) == said


@pytest.mark.parametrize(
    ("preset", "given", "named"),
    [
        ("deepseek", {"seed": 1}, "seed"),
        ("mistral", {"logprobs": True}, "logprobs"),
        ("anthropic", {"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ("ollama", {"tool_choice": "required"}, "tool_choice"),
        ("moonshot", {"tool_choice": "required"}, "tool_choice"),
        ("openai", {"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
    ],
)
def test_what_has_none_is_refused_by_name(preset: str, given: Any, named: str) -> None:
    with pytest.raises(UserError, match=named) as refused:
        dialect(preset).spoken(given)
    assert refused.value.params["param"] == named


def test_the_catalogue_speaks_of_parameters_that_there_are() -> None:
    for preset in presets().values():
        without = {one.partition("=")[0] for one in preset.without}
        assert without <= OPTIONS | {"n"}, preset.id
        assert set(preset.renames) <= OPTIONS, preset.id
        assert not without & preset.renames.keys(), preset.id
