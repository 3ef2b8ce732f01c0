"""What models are asked about raw text."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dizuo.core.errors import UserError
from dizuo.data.packing import Batch
from dizuo.train.objectives import Causal, Marks, Masked, Spans, cut_spans
from dizuo.train.recipe import parse_recipe

MARKS = Marks(end=0, pad=1, mask=2, sentinels=tuple(range(3, 20)), specials=20, vocab_size=400)


def packed(rows: int, length: int) -> Batch:
    ids = torch.randint(20, 400, (rows, length + 1), generator=torch.Generator().manual_seed(0))
    ids[:, 0] = MARKS.end
    return Batch(
        ids[:, :-1], ids[:, 1:], torch.zeros(rows, length, dtype=torch.long), torch.arange(length).repeat(rows, 1)
    )


def test_masking_hides_fifteen_percent_of_which_most_are_masks_some_wrong_and_some_true() -> None:
    batch = packed(64, 512)
    asked = Masked(MARKS).ask(batch, range(64))
    chosen = asked.targets >= 0
    text = batch.ids != MARKS.end
    assert chosen.sum() / text.sum() == pytest.approx(0.15, abs=0.005)
    assert (asked.ids[chosen] == MARKS.mask).float().mean() == pytest.approx(0.8, abs=0.02)
    assert (asked.ids[chosen] == batch.ids[chosen]).float().mean() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(asked.ids[~chosen], batch.ids[~chosen])
    assert torch.equal(asked.targets[chosen], batch.ids[chosen])
    assert not chosen[:, 0].any()  # the end mark is no text


def test_a_row_is_asked_the_same_whichever_process_has_it() -> None:
    whole, half = packed(4, 64), packed(4, 64)
    half = Batch(*(one[2:] for one in (half.ids, half.targets, half.documents, half.positions)))
    everything, second = Masked(MARKS).ask(whole, range(10, 14)), Masked(MARKS).ask(half, range(12, 14))
    assert torch.equal(everything.ids[2:], second.ids)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100), st.integers(0, 2**30))
def test_spans_put_back_in_the_place_of_their_marks_give_the_text(count: int, seed: int) -> None:
    ids = list(range(20, 20 + count))
    source, target = cut_spans(ids, MARKS, torch.Generator().manual_seed(seed))
    assert source[-1] == target[-1] == MARKS.end
    spans: dict[int, list[int]] = {}
    for token in target[:-1]:
        if token in MARKS.sentinels:
            spans[token] = []
        else:
            spans[max(spans)].append(token)
    assert [i for token in source[:-1] for i in spans.get(token, [token])] == ids
    if count > 1:
        assert sum(map(len, spans.values())) == max(1, round(count * 0.15))


def test_span_batches_have_a_row_for_every_document_and_no_loss_where_nothing_stands() -> None:
    batch = packed(2, 40)
    batch.documents[0, 25:] = 1
    asked = Spans(MARKS).ask(batch, range(2))
    assert len(asked.ids) == 3
    assert torch.equal(asked.mask, asked.ids != MARKS.pad)
    assert (asked.targets == MARKS.end).sum() == 3


@pytest.mark.parametrize(("objective", "family"), [(Causal, "bert"), (Masked, "llama"), (Spans, "llama")])
def test_a_family_that_cannot_answer_is_refused(objective: type, family: str) -> None:
    recipe = parse_recipe({"stage": "pretrain", "data": [{"name": "guide"}], "steps": 1, "model": {"family": family}})
    with pytest.raises(UserError, match=f"{family}.*takes"):
        objective(MARKS).model(recipe)


def test_sizes_that_do_not_divide_are_a_clear_error() -> None:
    raw = {"stage": "pretrain", "data": [{"name": "guide"}], "steps": 1, "model": {"channels": 30, "heads": 4}}
    with pytest.raises(UserError, match="30 channels do not divide into 4 heads"):
        Causal(MARKS).model(parse_recipe(raw))
