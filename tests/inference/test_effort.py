"""Processor time: what the engines say they took is what their threads took."""

import time
from pathlib import Path

import pytest

from dizuo.core import effort
from dizuo.inference.sampling import SamplingOptions


def test_texts_share_the_processor_time_of_their_engine(tmp_path: Path) -> None:
    from dizuo.inference.engine import TextEngine
    from tests.inference.tiny import make_checkpoint

    engine = TextEngine(make_checkpoint(tmp_path), slots=4)
    began_s = time.process_time()
    texts = [engine.generate([1, 2, 3, 4], SamplingOptions(max_tokens=n, temperature=0)) for n in (2, 8)]
    short, long = [text.wait().cpu_s for text in texts]
    engine.close()
    assert 0 < short < long
    assert short + long <= time.process_time() - began_s


@pytest.mark.parametrize("texts", [1, 40])
def test_an_embedding_tells_its_processor_time(texts: int) -> None:
    from dizuo.gateway.local import LocalEmbedder

    embedder = LocalEmbedder()
    embedder.embed(["loads the weights"])
    began_s = time.process_time()
    with effort.counted() as spent:
        embedder.embed(["one two three four five six seven " * 20] * texts)
    assert 0 < spent.cpu_s <= time.process_time() - began_s
