import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dizuo.core.errors import UserError
from dizuo.data.packing import Batch, PackedBatches, _Piece, best_fit, permuted
from dizuo.data.shards import Shards, write_shards
from dizuo.nn.cross_entropy import IGNORED
from tests.data.conftest import CHINESE, ENGLISH

_LENGTH, _ROWS = 32, 4


def _shards(folder: Path, tokenizer_file: Path, texts: list[str]) -> Shards:
    write_shards(texts, tokenizer_file, folder, source={"name": folder.name}, shard_tokens=3000)
    return Shards(folder)


@pytest.fixture(scope="module")
def english(tokenizer_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    texts = [f"{n} {ENGLISH * (n % 9 == 0)}{ENGLISH[: n % 60]}" for n in range(300)]
    return _shards(tmp_path_factory.mktemp("english"), tokenizer_file, texts)


@pytest.fixture(scope="module")
def chinese(tokenizer_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return _shards(tmp_path_factory.mktemp("chinese"), tokenizer_file, [f"{n}{CHINESE[: n % 20]}" for n in range(99)])


def _first(count: int, source: Any, **options: Any) -> list[tuple[Batch, dict[str, Any]]]:
    packed = PackedBatches(source, _LENGTH, options.pop("batch", _ROWS), options.pop("seed", 0), **options)
    return list(itertools.islice(packed, count))


def _same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in Batch.__dataclass_fields__)


def test_one_epoch_teaches_every_token_of_every_document_once(english: Shards) -> None:
    expected: Counter[tuple[int, int]] = Counter()
    for i in range(len(english)):
        tokens = english.document(i).tolist()
        expected.update(itertools.pairwise(tokens))
    seen: Counter[tuple[int, int]] = Counter()
    for batch, _state in PackedBatches(english, _LENGTH, _ROWS, 0, epochs=1):
        taught = batch.targets != IGNORED
        seen.update(zip(batch.ids[taught].tolist(), batch.targets[taught].tolist(), strict=True))
    assert seen == expected


def test_a_target_is_the_next_input_of_the_same_document_and_positions_start_anew(english: Shards) -> None:
    for batch, _state in _first(20, english):
        same = (batch.documents[:, 1:] == batch.documents[:, :-1]) & (batch.documents[:, 1:] >= 0)
        assert torch.equal(batch.targets[:, :-1][same], batch.ids[:, 1:][same])
        starts = (batch.documents[:, 1:] != batch.documents[:, :-1]) & (batch.documents[:, 1:] >= 0)
        assert (batch.positions[:, 1:][starts] == 0).all()
        assert (batch.positions[:, 0] == 0).all()
        assert torch.equal(batch.positions[:, 1:][same], batch.positions[:, :-1][same] + 1)
        nothing = batch.documents < 0
        assert (batch.targets[nothing] == IGNORED).all()
        assert (batch.ids[nothing] == 0).all()


def test_only_a_document_that_is_longer_than_a_row_is_cut(english: Shards) -> None:
    fits = sum(english.length(i) <= _LENGTH for i in range(len(english)))
    whole = 0
    for batch, _state in PackedBatches(english, _LENGTH, _ROWS, 0, epochs=1):
        for row in range(_ROWS):
            for piece in range(int(batch.documents[row].max()) + 1):
                targets = batch.targets[row][batch.documents[row] == piece]
                starts_with_mark = batch.ids[row][batch.documents[row] == piece][0] == 0
                whole += bool(starts_with_mark and targets[-1] == 0)
    assert whole == fits


def test_little_of_a_row_is_padding(english: Shards) -> None:
    batches = _first(40, english)
    share = sum((batch.documents < 0).float().mean().item() for batch, _state in batches) / len(batches)
    assert share < 0.05


@pytest.mark.parametrize("stop", [1, 7, 30])
def test_going_on_from_a_state_gives_the_very_batches_that_would_have_come(
    english: Shards, chinese: Shards, stop: int
) -> None:
    mixture = [(english, 3.0), (chinese, 1.0)]
    whole = _first(60, mixture)  # more than an epoch of both
    state = json.loads(json.dumps(whole[stop - 1][1]))
    rest = _first(60 - stop, mixture, state=state)
    assert all(_same(one, other) and a == b for (one, a), (other, b) in zip(whole[stop:], rest, strict=True))
    assert whole[-1][1]["sources"][1]["epoch"] >= 1


@pytest.mark.parametrize("world", [2, 4])
def test_the_ranks_together_see_the_batch_of_one_process(english: Shards, chinese: Shards, world: int) -> None:
    mixture = [(english, 3.0), (chinese, 1.0)]
    alone = _first(12, mixture)
    ranks = [_first(12, mixture, rank=rank, world=world) for rank in range(world)]
    for step, (batch, state) in enumerate(alone):
        parts = [rank[step] for rank in ranks]
        assert all(part_state == state for _part, part_state in parts)
        assert torch.equal(torch.cat([part.ids for part, _state in parts]), batch.ids)


def test_a_mixture_keeps_its_weights_to_one_row(english: Shards, chinese: Shards) -> None:
    for _batch, state in _first(30, [(english, 3.0), (chinese, 1.0)]):
        total = sum(state["taken"])
        assert abs(state["taken"][0] - 0.75 * total) <= 1


def test_every_epoch_has_an_order_of_its_own_and_a_seed_repeats_it(chinese: Shards) -> None:
    def order(seed: int) -> list[bytes]:
        return [batch.ids.numpy().tobytes() for batch, _state in _first(40, chinese, seed=seed)]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert len(set(order(1))) == 40


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seed": 5}, "seed was 0 then and is 5 now"),
        ({"batch": 8}, "batch was 4 then and is 8 now"),
    ],
)
def test_a_state_of_another_run_is_refused(english: Shards, options: dict[str, int], told: str) -> None:
    state = _first(1, english)[0][1]
    with pytest.raises(UserError, match=told):
        _first(1, english, state=state, **options)


def test_a_state_of_other_data_is_refused(english: Shards, chinese: Shards) -> None:
    state = _first(1, english)[0][1]
    with pytest.raises(UserError, match=r"data was .* then"):
        _first(1, chinese, state=state)


def test_what_cannot_be_packed_is_refused(
    english: Shards, chinese: Shards, tokenizer_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"4 rows .* cannot be shared evenly by 3 processes"):
        _first(1, english, world=3)
    with pytest.raises(UserError, match="must be above 0"):
        _first(1, [(english, 0.0)])
    with pytest.raises(UserError, match="every source of the mixture a weight, or none"):
        _first(1, [(english, 1.0), (chinese, None)])
    with pytest.raises(UserError, match="holds no documents"):
        _first(1, _shards(tmp_path, tokenizer_file, []))


@given(st.integers(1, 500), st.integers(0, 1 << 64))
@settings(max_examples=25, deadline=None)
def test_the_order_of_an_epoch_names_every_document_once(count: int, seed: int) -> None:
    assert sorted(permuted(i, count, seed) for i in range(count)) == list(range(count))


def test_the_order_of_an_epoch_looks_random() -> None:
    places = [permuted(i, 10_000, 3) for i in range(1000)]
    assert 4500 < sum(places) / 1000 < 5500
    assert sum(abs(a - b) < 100 for a, b in itertools.pairwise(places)) < 50  # of 999; 20 by chance


@given(st.lists(st.integers(1, 20), max_size=60))
@settings(max_examples=50, deadline=None)
def test_best_fit_loses_no_piece_and_overfills_no_row(lengths: list[int]) -> None:
    pieces = [_Piece(i, 0, length) for i, length in enumerate(lengths)]
    rows = best_fit(pieces, 20)
    assert sorted(piece.document for row in rows for piece in row) == list(range(len(lengths)))
    assert all(sum(map(len, row)) <= 20 for row in rows)
    assert len(rows) <= 1.7 * sum(lengths) / 20 + 1
