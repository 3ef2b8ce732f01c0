"""Text that obeys a JSON schema, a regular expression or a grammar: llguidance says which tokens may come next.

A text that ended by itself (`finish_reason` "stop") always parses. One that max_tokens cut (`"length"`) may not.
"""

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from dizuo.core.errors import UserError
from dizuo.inference.sampling import SamplingOptions

if TYPE_CHECKING:
    import torch
    from llguidance import LLMatcher
    from tokenizers import Tokenizer

# Between the parts of a JSON text at most one space: small models like to go on with blank lines for ever.
_JSON_BLANKS = r"[ ]?"
# The compiler calls itself for every rule that a rule names, and a stack that is full ends the whole process: with
# 8 MB that was a schema of 1,000 references. These two together were measured to hold the worst of many shapes.
_RULE_CHARS = 128 << 10
_STACK_BYTES = 512 << 20  # reserved, and taken only as far as it is used

Result = TypeVar("Result")
_stack_size = threading.Lock()  # one setting for the whole process


class Constraints:
    """Compiles constraints for one tokenizer. Made once a model (0.1 to 1 s), used by every request."""

    def __init__(self, tokenizer: "Tokenizer", vocab_size: int, eos_ids: Sequence[int]) -> None:
        """Raises UserError when the model names no token that ends a text: nothing could end a constrained one."""
        from llguidance import LLTokenizer

        if not eos_ids:
            raise UserError(
                "The model names no token that ends a text (eos_token_id), so its output cannot be held to a schema "
                "or grammar. Add eos_token_id to its config.json."
            )
        self._tokenizer = LLTokenizer(tokenizer.to_str(), n_vocab=vocab_size, eos_token=list(eos_ids))

    def compile(self, options: SamplingOptions) -> "Constraint":
        """What rules one text. Raises UserError with the compiler's reason when the rule is wrong or too large."""
        from llguidance import LLMatcher

        try:
            matcher = _with_deep_stack(lambda: LLMatcher(self._tokenizer, _grammar(options), log_level=0))
        except (ValueError, RecursionError) as error:
            raise _wrong(options, str(error)) from error
        if matcher.is_error():
            raise _wrong(options, matcher.get_error())
        return Constraint(matcher)


class Constraint:
    """The state of one text within its grammar."""

    def __init__(self, matcher: "LLMatcher") -> None:
        self._matcher = matcher

    def apply(self, logits: "torch.Tensor") -> None:
        """Makes (V,) logits of tokens that may not come next -inf, in place.

        Raises RuntimeError when the grammar became too large to follow.
        """
        import torch

        allowed = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8)
        if self._matcher.is_error():
            raise RuntimeError(self._matcher.get_error())
        logits[: len(allowed)].masked_fill_(allowed[: len(logits)] == 0, float("-inf"))
        logits[len(allowed) :] = float("-inf")

    def advance(self, token: int) -> bool:
        """Takes a token; returns whether the text is complete and nothing can follow."""
        if not self._matcher.consume_token(token):
            raise RuntimeError(self._matcher.get_error())
        return self._matcher.is_stopped()


def _grammar(options: SamplingOptions) -> str:
    """Raises ValueError or RecursionError for a rule that is too large."""
    from llguidance import LLMatcher

    schema = options.json_schema
    text = options.regex or options.grammar or (schema if isinstance(schema, str) else json.dumps(schema))
    if len(text) > _RULE_CHARS:
        raise ValueError(f"it has {len(text)} characters; at most {_RULE_CHARS} can be followed")
    if options.regex is not None:
        return LLMatcher.grammar_from_regex(options.regex)
    if options.grammar is not None:
        return LLMatcher.grammar_from_lark(options.grammar)
    return LLMatcher.grammar_from_json_schema(text, overrides={"whitespace_pattern": _JSON_BLANKS})


def _with_deep_stack(make: "Callable[[], Result]") -> Result:
    """What `make` returns or raises, called where it may call itself deeply."""
    made: Future[Result] = Future()

    def run() -> None:
        try:
            made.set_result(make())
        except BaseException as error:
            made.set_exception(error)

    with _stack_size:
        usual = threading.stack_size(_STACK_BYTES)
        try:
            thread = threading.Thread(target=run, name="constraint", daemon=True)
            thread.start()
        finally:
            threading.stack_size(usual)
    return made.result()


def _wrong(options: SamplingOptions, reason: str) -> UserError:
    kind = "regex" if options.regex is not None else "grammar" if options.grammar is not None else "json_schema"
    return UserError("The {kind} cannot be followed: {reason}", kind=kind, reason=reason.strip()[:500])
