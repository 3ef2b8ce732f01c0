"""Choosing the next token: each filter against its definition, and against transformers."""

import collections
import math

import pytest
import torch

from dizuo.core.errors import UserError
from dizuo.inference.sampling import Sampler, SamplingOptions, choose

VOCAB = 50


def _logits(seed: int = 0) -> torch.Tensor:
    return torch.randn(VOCAB, generator=torch.Generator().manual_seed(seed)) * 2


def _drawn(options: SamplingOptions, logits: torch.Tensor, times: int = 400) -> collections.Counter[int]:
    sampler = Sampler(options, [1, 2, 3])
    return collections.Counter(
        token for _ in range(times) if (token := choose(logits[None].clone(), [sampler])[0]) is not None
    )


def test_temperature_zero_takes_the_likeliest_token() -> None:
    assert set(_drawn(SamplingOptions(temperature=0), _logits(), 5)) == {int(_logits().argmax())}


@pytest.mark.parametrize(
    ("options", "warpers"),
    [
        ({"top_k": 5}, ["TopK(5)"]),
        ({"top_p": 0.6}, ["TopP(0.6)"]),
        ({"top_k": 8, "top_p": 0.7, "temperature": 0.7}, ["Temperature(0.7)", "TopK(8)", "TopP(0.7)"]),
        ({"min_p": 0.2}, ["MinP(0.2)"]),
        ({"top_p": 0.9, "min_p": 0.1, "temperature": 1.5}, ["Temperature(1.5)", "TopP(0.9)", "MinP(0.1)"]),
    ],
)
def test_a_filter_keeps_the_tokens_that_transformers_keeps(options: dict[str, float], warpers: list[str]) -> None:
    process = pytest.importorskip("transformers.generation.logits_process")
    scores = _logits()[None]
    for warper in warpers:
        name, value = warper[:-1].split("(")
        number = float(value) if "." in value else int(value)
        scores = getattr(process, f"{name}LogitsWarper")(number)(torch.tensor([[0]]), scores)
    expected = scores[0].softmax(-1)
    drawn = _drawn(SamplingOptions(**options, seed=1), _logits(), 1500)  # pyright: ignore[reportArgumentType]
    assert set(drawn) <= {i for i, p in enumerate(expected.tolist()) if p}
    for token, count in drawn.items():  # four standard deviations
        p = float(expected[token])
        assert abs(count / 1500 - p) < 4 * math.sqrt(p * (1 - p) / 1500) + 1e-3


def test_top_p_sorts_the_whole_vocabulary_where_the_likeliest_hold_too_little() -> None:
    flat = torch.zeros(5000)
    tokens = {choose(flat[None].clone(), [Sampler(SamplingOptions(top_p=0.99, seed=i), [0])])[0] for i in range(60)}
    assert len(tokens) > 40  # 256 candidates alone would hold a twentieth


def test_repetition_penalty_is_that_of_transformers() -> None:
    process = pytest.importorskip("transformers.generation.logits_process")
    logits = _logits()
    expected = process.RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([[1, 2, 3]]), logits[None].clone())[0]
    Sampler(SamplingOptions(repetition_penalty=1.7), [1, 2, 3]).adjust(logits)
    torch.testing.assert_close(logits, expected)


def test_presence_and_frequency_count_the_text_but_not_the_prompt() -> None:
    sampler = Sampler(SamplingOptions(presence_penalty=0.5, frequency_penalty=0.25), [1, 2, 3])
    sampler.adjust(torch.zeros(VOCAB))
    for token in (7, 7, 9):
        sampler.saw(token)
    logits = torch.zeros(VOCAB)
    sampler.adjust(logits)
    assert [logits[i].item() for i in (1, 7, 9)] == [0, -1.0, -0.75]


def test_a_bias_forces_or_forbids_a_token() -> None:
    assert set(_drawn(SamplingOptions(logit_bias={11: 100}), _logits(), 20)) == {11}
    best = int(_logits().argmax())
    assert best not in _drawn(SamplingOptions(logit_bias={best: -100}), _logits(), 100)


def test_a_seed_repeats_its_draws_whatever_is_beside_it() -> None:
    options = SamplingOptions(seed=5, top_p=0.9)
    alone, beside = Sampler(options, [1]), Sampler(options, [1])
    others = [Sampler(SamplingOptions(seed=i, top_k=i), [1]) for i in range(5)]
    for step in range(20):
        rows = torch.stack([_logits(step) for _ in range(6)])
        assert choose(_logits(step)[None], [alone])[0] == choose(rows, [*others, beside])[-1]


def test_a_row_that_is_not_finite_gives_no_token_and_leaves_the_others() -> None:
    logits = torch.stack([_logits(), torch.full((VOCAB,), torch.nan), _logits()])
    samplers = [Sampler(SamplingOptions(temperature=t), [1]) for t in (0, 1, 0)]
    best = int(_logits().argmax())
    assert choose(logits, samplers) == [best, None, best]


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"top_p": 0},
        {"top_p": 1.1},
        {"min_p": 2},
        {"top_k": -1},
        {"repetition_penalty": 0},
        {"max_tokens": -1},
        {"logit_bias": {1: 101}},
        {"stop": ("",)},
        {"regex": "a", "grammar": "start: A"},
    ],
)
def test_an_option_out_of_its_range_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError, match=rf"{next(iter(wrong)).split('_')[0]}"):
        SamplingOptions(**wrong)  # pyright: ignore[reportArgumentType]


def test_a_grammar_that_fails_leaves_the_others_logits_as_they_were() -> None:
    class Broken:
        def apply(self, logits: torch.Tensor) -> None:
            raise RuntimeError("too large")

    logits = torch.ones(2, VOCAB)
    penalised, failing = SamplingOptions(repetition_penalty=2, seed=1), SamplingOptions()
    with pytest.raises(RuntimeError):
        choose(logits, [Sampler(penalised, [1, 2]), Sampler(failing, [1], Broken())])
    assert bool((logits == 1).all())


@pytest.mark.parametrize("temperature", [1e-300, 1e-38, 1e-6, 1e-5])
def test_a_temperature_next_to_nothing_takes_the_likeliest(temperature: float) -> None:
    logits = _logits()
    options = SamplingOptions(temperature=temperature, seed=1)
    assert choose(logits[None].clone(), [Sampler(options, [])]) == [int(logits.argmax())]
