"""The grammar of tool calls: what a model may write when it is offered tools."""

from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer
from tokenizers import Tokenizer

from dizuo.gateway import local_tools
from tests.inference.tiny import make_tokenizer

COLOURS: Any = {
    "type": "object",
    "properties": {"colour": {"$ref": "#/$defs/Colour"}},
    "$defs": {"Colour": {"enum": ["red", "blue"]}},
}
TOOLS: Any = [{"function": {"name": "paint", "parameters": COLOURS}}, {"function": {"name": "wait"}}]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


def follows(tokenizer: Tokenizer, text: str, choice: Any) -> bool:
    vocabulary = LLTokenizer(tokenizer.to_str(), n_vocab=tokenizer.get_vocab_size(), eos_token=[0])
    matcher = LLMatcher(vocabulary, local_tools.grammar(TOOLS, choice, True, None) or "", log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.encode_special_tokens = True
    return all(matcher.consume_token(token) for token in plain.encode(text).ids) and matcher.is_accepting()


@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        ('{"name": "paint", "arguments": {"colour": "red"}}', True),  # as pydantic describes a choice, by reference
        ('{"name": "paint", "arguments": {"colour": "pink"}}', False),
        ('{"name": "wait", "arguments": {}}', True),
        ('{"name": "wait", "arguments": {"colour": "red"}}', False),
        ('{"name": "remove", "arguments": {}}', False),
    ],
)
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_a_call_names_a_tool_and_fits_its_schema(tokenizer: Tokenizer, call: str, allowed: bool, choice: str) -> None:
    assert follows(tokenizer, f"<tool_call>{call}</tool_call>", choice) is allowed


def test_text_is_free_but_for_a_beginning_like_a_call(tokenizer: Tokenizer) -> None:
    assert follows(tokenizer, 'See\n<tool_call>{"name": "remove"}', "auto")
    assert not follows(tokenizer, ' <tool_call>{"name": "remove", "arguments": {}}</tool_call>', "auto")
    assert not follows(tokenizer, "no call", "required")
