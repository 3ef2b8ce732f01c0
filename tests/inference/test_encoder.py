"""Texts to vectors, with the real weights."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from dizuo.gateway.local import LocalEmbedder
from dizuo.inference.encoder import TextEncoder
from dizuo.inference.packed import PackedLinear, fastest_type, pack

TEXTS = [
    "A cat sat on the mat.",
    "",
    "Employees have 25 days of paid leave a year; what is left over expires in March. " * 12,
    "日本語 and 中文 between English words",
    "naïve café — 3.14",
]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return LocalEmbedder()._engine


def test_vectors_are_those_of_the_reference_implementation(encoder: TextEncoder) -> None:
    transformers = pytest.importorskip("transformers")
    folder = encoder._folder
    model = transformers.BertModel.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    expected = []
    for text in TEXTS:  # one by one: no padding that could hide a mistake of ours in it
        encoded = tokenizer(text, return_tensors="pt", truncation=True, max_length=512)
        with torch.no_grad():
            pooled = model(**encoded).last_hidden_state.mean(dim=1)
        expected.append(torch.nn.functional.normalize(pooled, dim=-1)[0].numpy())
    ours = encoder.encode(TEXTS)
    if fastest_type() == torch.float32:
        np.testing.assert_allclose(ours, np.stack(expected), atol=1e-4)
    assert (ours * np.stack(expected)).sum(axis=1).min() > 0.9999  # the cosine


def test_a_vector_does_not_depend_on_what_is_embedded_beside_it(encoder: TextEncoder) -> None:
    many = [f"{text} {n}" for n in range(20) for text in TEXTS]
    together, alone = encoder.encode(many)[:10], np.stack([encoder.encode([text])[0] for text in many[:10]])
    # In bfloat16 a processor with AMX adds in another order for another shape: 3e-4 was seen.
    np.testing.assert_allclose(together, alone, atol=1e-5 if fastest_type() == torch.float32 else 1e-3)
    assert (together * alone).sum(axis=1).min() > 0.99999  # the cosine


def test_threads_get_the_vectors_of_their_own_texts(encoder: TextEncoder) -> None:
    texts = [f"Sentence number {n}." for n in range(24)]
    expected = encoder.encode(texts)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda text: encoder.encode([text])[0], texts))
    np.testing.assert_allclose(found, expected, atol=1e-5 if fastest_type() == torch.float32 else 1e-3)


def test_no_texts_give_no_vectors(encoder: TextEncoder) -> None:
    assert encoder.encode([]).shape == (0, 384)


def test_a_text_past_the_longest_is_cut_there(encoder: TextEncoder) -> None:
    long = "word " * 600
    np.testing.assert_allclose(encoder.encode([long]), encoder.encode([long + "and a tail " * 5000]), atol=1e-5)


def test_tokens_are_counted_without_loading_the_weights(encoder: TextEncoder) -> None:
    fresh = TextEncoder(Path(encoder._folder), max_tokens=8)
    assert fresh.count_tokens("hello world " * 10) == 20
    assert "_loaded" not in fresh.__dict__


def test_a_packed_layer_computes_what_the_plain_one_does() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(48, 96), torch.nn.Linear(96, 40)).eval().requires_grad_(False)
    for rows in (1, 7, 200):
        x = torch.randn(rows, 48)
        expected = model(x)
        packed = torch.nn.Sequential(*model)
        pack(packed)
        torch.testing.assert_close(packed(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch is built without oneDNN")
def test_every_linear_layer_is_packed() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Sequential(torch.nn.Linear(8, 4)))
    pack(model)
    kinds = [type(module) for module in model.modules() if not isinstance(module, torch.nn.Sequential)]
    assert kinds == [PackedLinear, PackedLinear]
