"""The embedder that comes with Dizuo."""

import subprocess
import sys

import numpy as np
import pytest

from dizuo.core.protocols import Embedder
from dizuo.gateway.local import LocalEmbedder


def test_like_meanings_are_near_and_vectors_have_length_one() -> None:
    embedder: Embedder = LocalEmbedder()
    vectors = embedder.embed(["How many holidays do I get?", "Staff have 25 days of paid leave.", "The pump is red."])
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, embedder.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("plain English, 100 %", 1.0),
        ("naïve café", 1.0),
        ("ＡＢＣ", 1.0),
        ("差旅费什么时候报销", 0.0),
        ("ab中文", 0.5),
        ("Что это", 0.0),
        ("2024-11-24", 1.0),
        ("?!… 🙂", 0.0),
        ("", 0.0),
    ],
)
def test_coverage_is_the_share_of_latin_letters(text: str, share: float) -> None:
    assert LocalEmbedder().coverage(text) == pytest.approx(share)


def test_making_one_and_asking_for_coverage_loads_nothing_heavy() -> None:
    code = (
        "import sys; from dizuo.gateway.local import LocalEmbedder; e = LocalEmbedder(); e.coverage('x');"
        "assert not {'torch', 'tokenizers', 'transformers', 'sentence_transformers'} & set(sys.modules);"
        "e.embed(['x']); assert not {'transformers', 'sentence_transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
