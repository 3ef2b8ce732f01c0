"""Batches of separate examples: shuffled, by length, resumable."""

from itertools import islice

import pytest

from dizuo.train.examples import Draws, example_batches

SETS = [[("a", n) for n in range(50)], [("b", n) for n in range(13)]]


def batches(state=None, rank=0, world=1):
    return example_batches(
        SETS, [3, 1], 4, 7, state, rank, world, length=lambda one: one[1] % 5, collate=list
    )  # fmt: skip


@pytest.mark.parametrize("after", [1, 15, 16, 17, 40])
def test_batches_go_on_exactly_where_a_state_says(after: int) -> None:
    whole = list(islice(batches(), 60))
    resumed = list(islice(batches(whole[after - 1][1]), 60 - after))
    assert resumed == whole[after:]


def test_every_example_of_a_set_comes_once_before_any_comes_again() -> None:
    drawn = Draws([5], [1.0], seed=3, state=None)
    rounds = [sorted(n for _s, n in drawn.take(5)) for _ in range(4)]
    assert rounds == [[0, 1, 2, 3, 4]] * 4


def test_processes_share_the_batch_of_one() -> None:
    whole = [batch for batch, _state in islice(batches(), 20)]
    shared = zip(islice(batches(rank=0, world=2), 20), islice(batches(rank=1, world=2), 20), strict=True)
    assert [sorted(a + b) for (a, _s), (b, _t) in shared] == [sorted(batch) for batch in whole]


def test_sets_come_by_their_weights() -> None:
    taken = [name for batch, _state in islice(batches(), 200) for name, _n in batch]
    assert 0.68 < taken.count("a") / len(taken) < 0.82
