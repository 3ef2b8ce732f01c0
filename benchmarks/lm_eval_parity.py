"""The same scores by lm-eval through our server and through its own `hf` backend, on the same weights.

    .venv/bin/python benchmarks/lm_eval_parity.py                       # a tiny model that is trained first
    .venv/bin/python benchmarks/lm_eval_parity.py --model FOLDER        # any decoder's checkpoint folder

Two real sets from the folder that DIZUO_DATA names: TruthfulQA as multiple choice (acc, acc_norm: log-likelihoods of
the choices) and WikiText-2 (word and byte perplexity: rolling log-likelihoods). lm-eval is installed into an
environment of its own, `.peers-lm-eval`, when it is not there. Exits 1 when a score differs by more than the tolerance.
"""

import argparse
import gzip
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".peers-lm-eval"
REQUIREMENTS = ("lm-eval[api]==0.4.13", "transformers==5.23.0", "torch==2.13.0", "accelerate")
NAME = "parity"
SEED = 20261124
TOLERANCE = 1e-3  # of accuracies absolute, of perplexities relative
STEPS = 150  # of the tiny model: enough for log-probabilities that are no longer all alike
CONTEXT = 512


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="checkpoint folder of a decoder")
    parser.add_argument("--questions", type=int, default=100, help="of TruthfulQA")
    parser.add_argument("--pages", type=int, default=8, help="articles of WikiText-2")
    parser.add_argument("--batch", type=int, default=8, help="requests that lm-eval sends at once")
    given = parser.parse_args()
    data = Path(os.environ.get("DIZUO_DATA") or ROOT.parent / "shared/data")
    python = _environment()
    with tempfile.TemporaryDirectory(prefix="dizuo-lm-eval-") as scratch:
        work = Path(scratch)
        folder = given.model.resolve() if given.model else _tiny(work / "tiny")
        positions = json.loads((folder / "config.json").read_text("utf-8"))["max_position_embeddings"]
        length = min(positions, 2048)
        tasks = _tasks(work / "tasks", data, given.questions, given.pages)
        shared = ["--tasks", "parity_truthfulqa,parity_wikitext", "--include_path", str(tasks), "--seed", str(SEED)]
        began = time.monotonic()
        theirs = _lm_eval(
            python,
            [*shared, "--model", "hf", "--batch_size", "8", "--device", "cpu", "--model_args"],
            # The API's backend keeps a token for the answer and one for the context of a window: the same windows.
            f"pretrained={folder},dtype=float32,max_length={length - 2}",
            work / "hf",
        )
        between = time.monotonic()
        with _serving(work / "home", folder) as (url, key):
            ours = _lm_eval(
                python,
                [*shared, "--model", "local-completions", "--batch_size", str(given.batch), "--model_args"],
                f"model=local/{NAME},base_url={url}/v1/completions,tokenizer={folder},tokenizer_backend=huggingface,"
                f"num_concurrent=1,max_length={length}",
                work / "ours",
                OPENAI_API_KEY=key,
            )
        print(f"hf {between - began:.0f} s, ours over HTTP {time.monotonic() - between:.0f} s (with loading)")
    return _compare(theirs, ours)


def _environment() -> Path:
    python = PEERS / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
    return python


def _tiny(folder: Path) -> Path:
    """A Llama of 0.4 M parameters, trained on our own guide for some seconds."""
    import torch

    from dizuo.data.tokenizer import train_tokenizer
    from dizuo.nn.checkpoint import save_model
    from dizuo.nn.decoder import Decoder, DecoderConfig

    torch.manual_seed(SEED)
    texts = [file.read_text("utf-8") for file in sorted((ROOT / "src/dizuo/guide").rglob("*.md"))]
    tokenizer = train_tokenizer(texts, 1024)
    ids = torch.tensor([token for text in texts for token in [0, *tokenizer.encode(text).ids]])
    config = DecoderConfig(
        family="llama", vocab_size=1024, channels=96, layers=3, heads=4, kv_heads=2, hidden=256, positions=CONTEXT,
        bos_id=0, eos_ids=(0,), pad_id=1,
    )  # fmt: skip
    model = Decoder(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loss = torch.zeros(())
    for _step in range(STEPS):
        starts = torch.randint(0, len(ids) - 129, (16,))
        rows = torch.stack([ids[start : start + 129] for start in starts])
        loss = torch.nn.functional.cross_entropy(model.logits(model(rows[:, :-1])).flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"trained a tiny model: loss {loss.item():.2f}")
    source = folder.with_name("tokenizer")
    source.mkdir()
    tokenizer.save(str(source / "tokenizer.json"))
    marks = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|pad|>"}
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT, **marks}
    (source / "tokenizer_config.json").write_text(json.dumps(said), "utf-8")
    save_model(model, folder, tokenizer=source)
    return folder


def _tasks(folder: Path, data: Path, questions: int, pages: int) -> Path:
    """Two tasks of lm-eval over local files."""
    import zstandard

    folder.mkdir()
    chance = random.Random(SEED)
    with gzip.open(data / "truthfulqa/test.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][:questions]
    with (folder / "truthfulqa.jsonl").open("w", encoding="utf-8") as out:
        for row in rows:
            choices = [row["best_answer"], *row["incorrect_answers"][:3]]
            chance.shuffle(choices)
            said = {"question": row["question"], "choices": choices, "gold": choices.index(row["best_answer"])}
            out.write(json.dumps(said) + "\n")
    with zstandard.open(data / "text/eval-wikitext2.jsonl.zst", "rt", encoding="utf-8") as lines:
        whole = "\n".join(json.loads(line)["text"] for line in lines)
    articles = re.split(r"(?<=\n)(?= = [^=\n]+ = \n)", whole)  # a heading of the first rank begins one
    texts = [article for article in articles if len(article) > 1000][:pages]
    with (folder / "wikitext.jsonl").open("w", encoding="utf-8") as out:
        for text in texts:
            out.write(json.dumps({"page": text}) + "\n")
    (folder / "truthfulqa.yaml").write_text(
        "task: parity_truthfulqa\ndataset_path: json\ndataset_kwargs:\n  data_files:\n"
        f"    test: {folder / 'truthfulqa.jsonl'}\noutput_type: multiple_choice\ntest_split: test\n"
        'doc_to_text: "Q: {{question}}\\nA:"\ndoc_to_choice: "{{choices}}"\ndoc_to_target: gold\n'
        "metric_list:\n  - metric: acc\n  - metric: acc_norm\nmetadata:\n  version: 1.0\n"
    )
    (folder / "wikitext.yaml").write_text(
        "task: parity_wikitext\ndataset_path: json\ndataset_kwargs:\n  data_files:\n"
        f"    test: {folder / 'wikitext.jsonl'}\noutput_type: loglikelihood_rolling\ntest_split: test\n"
        'doc_to_text: ""\ndoc_to_target: "{{page}}"\n'
        "metric_list:\n  - metric: word_perplexity\n  - metric: byte_perplexity\n  - metric: bits_per_byte\n"
        "metadata:\n  version: 1.0\n"
    )
    return folder


def _lm_eval(python: Path, arguments: Sequence[str], model_args: str, out: Path, **environ: str) -> dict[str, Any]:
    command = [python, "-m", "lm_eval", "run", *arguments, model_args, "--output_path", str(out), "--log_samples"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(out.parent / "hf-home")}
    done = subprocess.run(command, env={**os.environ, **offline, **environ}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"lm-eval failed:\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}")
    [results] = out.rglob("results_*.json")
    return json.loads(results.read_text("utf-8"))["results"]


@contextmanager
def _serving(home: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """Address and key of a server that has the folder as local/parity."""
    import socket

    import uvicorn

    from dizuo.api.server import create_app
    from dizuo.wiring import House

    (home / "models").mkdir(parents=True)
    (home / "models" / NAME).symlink_to(folder)
    with House.open({"DIZUO_HOME": str(home)}) as house, socket.create_server(("127.0.0.1", 0)) as listening:
        house.identity.owner()
        _key, secret = house.identity.create_key("lm-eval")
        server = uvicorn.Server(uvicorn.Config(create_app(house), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", secret
        finally:
            server.should_exit = True
            thread.join()


def _compare(theirs: dict[str, Any], ours: dict[str, Any]) -> int:
    """Prints both scores side by side; 1 when one differs."""
    print(f"{'task':20} {'metric':16} {'lm-eval hf':>12} {'our server':>12} {'difference':>12}")
    worst = 0.0
    for task, scores in theirs.items():
        for metric, value in scores.items():
            if not isinstance(value, float) or "stderr" in metric:
                continue
            other = ours[task][metric]
            scale = 1.0 if metric.startswith("acc") else abs(value)
            worst = max(worst, abs(value - other) / scale)
            name = metric.removesuffix(",none")
            print(f"{task:20} {name:16} {value:12.5f} {other:12.5f} {other - value:12.2e}")
    print(f"largest difference {worst:.1e}, tolerance {TOLERANCE:.0e}")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
