"""Open weights from a hub or a folder: fetched whole, checked, and really run."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.core.jobs import Job
from dizuo.gateway.probe import probe
from dizuo.nn.heads import SentenceEncoder
from dizuo.wiring import House
from tests.hub_server import COMMIT, FakeHub
from tests.tiny_models import save_bert, save_llama, tiny_encoder

NAME = "hf/acme/tiny"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_llama(tmp_path_factory.mktemp("made") / "tiny", positions=512)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")
    return folder


@pytest.fixture
def open_house(home: Path) -> Iterator[Callable[[FakeHub], House]]:
    opened: list[House] = []

    def opening(hub: FakeHub) -> House:
        opened.append(House.open({"DIZUO_HOME": str(home), "DIZUO_HUB": hub.url}))
        opened[-1].hub._pause_s = 0.0
        return opened[-1]

    yield opening
    for house in opened:
        house.close()


def fetched(house: House, **how: Any) -> Job:
    return list(house.jobs.watch(house.hub.add(NAME, **how).id))[-1]


def test_a_model_of_the_hub_is_fetched_listed_and_chats(made: Path, open_house: Callable[[FakeHub], House]) -> None:
    extra = {
        "pytorch_model.bin": b"pickle",
        "evil.py": b"import os",
        "onnx/model.onnx": b"x",
        "sub/model.safetensors": b"y",
    }
    with FakeHub(made, extra=extra).serving() as hub:
        house = open_house(hub)
        with pytest.raises(NotFound, match="dizuo model add hf/acme/tiny"):
            house.models.chat(NAME)
        job = fetched(house)
        assert (job.status, job.error) == ("done", None)
        folder = house.settings.home / "models" / NAME
        assert {path.name for path in folder.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
        assert not {path.name for path in folder.iterdir()} & {
            "pytorch_model.bin",
            "evil.py",
            "onnx",
            "sub",
            "dizuo.json",
        }
        info = house.models.get(NAME)
        assert (info.kind, info.provider, info.problem) == ("chat", "hf", None)
        assert COMMIT[:12] in str(info.note)
        assert house.models.card(NAME).endswith("# Tiny\n")
        said = asyncio.run(probe(house.gateway, NAME))
        assert said.said
        assert [one.name for one in house.models.list() if one.problem] == []
        assert house.models.remove(NAME).name == NAME
        assert not folder.exists()


def test_a_transfer_that_breaks_off_goes_on_where_it_was(made: Path, open_house: Callable[[FakeHub], House]) -> None:
    with FakeHub(made, break_at=[10_000, 20_000]).serving() as hub:
        house = open_house(hub)
        assert fetched(house, revision="main").status == "done"
    ranges = [wanted for path, wanted in hub.asked if path.endswith("model.safetensors")]
    assert ranges == ["", "bytes=10000-", "bytes=30000-"]


def test_what_is_not_the_file_is_thrown_away(made: Path, open_house: Callable[[FakeHub], House]) -> None:
    size = (made / "model.safetensors").stat().st_size
    with FakeHub(made, spoil=b"\0" * size).serving() as hub:
        house = open_house(hub)
        job = fetched(house)
        assert job.status == "failed"
        assert "checksum" in str(job.error)
        assert not (house.settings.home / "models" / NAME).exists()
        hub.spoil = b""
        house.jobs.resume(job.id)
        assert list(house.jobs.watch(job.id))[-1].status == "done"


def test_a_hub_that_is_gone_or_gated_or_has_no_such_model_is_said(
    made: Path, open_house: Callable[[FakeHub], House]
) -> None:
    with FakeHub(made, gated=True).serving() as hub:
        house = open_house(hub)
        assert "HF_TOKEN" in str(fetched(house).error)
        assert "no revision 'v9'" in str(fetched(house, revision="v9").error)
        job = house.hub.add("hf/acme/other")
        assert "has no model hf/acme/other" in str(list(house.jobs.watch(job.id))[-1].error)
    assert "hf-mirror.com" in str(fetched(house).error)


def test_weights_that_can_run_code_are_never_taken(
    made: Path, tmp_path: Path, open_house: Callable[[FakeHub], House]
) -> None:
    (tmp_path / "config.json").write_text((made / "config.json").read_text())
    with FakeHub(tmp_path, extra={"pytorch_model.bin": b"pickle"}).serving() as hub:
        job = fetched(open_house(hub))
        assert "pytorch_model.bin" in str(job.error)
    assert not any("resolve" in path for path, _range in hub.asked)


def test_an_architecture_that_nobody_runs_is_refused_before_its_weights(
    made: Path, tmp_path: Path, open_house: Callable[[FakeHub], House]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["MambaForever"]}))
    with FakeHub(tmp_path, extra={"model.safetensors": b"x" * 1000}).serving() as hub:
        assert "MambaForever" in str(fetched(open_house(hub)).error)
    assert not any(path.endswith(".safetensors") for path, _range in hub.asked)


def test_a_folder_becomes_a_model_without_a_hub(tmp_path: Path, house: House) -> None:
    folder = save_bert(tmp_path / "folder", SentenceEncoder(tiny_encoder()))
    (folder / "old.bin").write_bytes(b"pickle")
    assert fetched(house, folder=folder).status == "done"
    vector = asyncio.run(probe(house.gateway, NAME))
    assert (vector.kind, vector.dimension) == ("embedding", 16)
    assert not (house.settings.home / "models" / NAME / "old.bin").exists()
    with pytest.raises(UserError, match=r"no config\.json"):
        house.hub.add(NAME, folder=tmp_path)


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen3-0.6B", "hf/qwen", "hf/../x", "hf/a/b/c", "hf/.a/b", "local/tiny", "hf/a b/c"]
)
def test_a_name_that_is_none_is_refused(house: House, name: str) -> None:
    with pytest.raises(UserError, match="hf/ORG/NAME"):
        house.hub.add(name)
    assert house.jobs.list() == []


def test_it_is_cancelled_in_the_middle_of_a_file_and_leaves_nothing(
    made: Path, open_house: Callable[[FakeHub], House]
) -> None:
    with FakeHub(made, slow_s=0.05).serving() as hub:
        house = open_house(hub)
        job = house.hub.add(NAME)
        with pytest.raises(Conflict, match="already"):
            house.hub.add(NAME)
        for state in house.jobs.watch(job.id):
            if "safetensors" in state.stage:
                assert " MB" in state.stage
                house.jobs.cancel(job.id)
        assert house.jobs.get(job.id).status == "cancelled"
        assert list((house.settings.home / "models/hf").iterdir()) == []


def test_a_kill_in_the_middle_of_a_file_costs_no_byte(made: Path, home: Path) -> None:
    size = (made / "model.safetensors").stat().st_size
    with FakeHub(made, slow_s=0.05).serving() as hub:
        environment = {**os.environ, "DIZUO_HOME": str(home), "DIZUO_HUB": hub.url}
        process = subprocess.Popen([sys.executable, "-m", "dizuo", "model", "add", NAME, "--json"], env=environment)
        part = home / "models/hf/.adding-acme--tiny/model.safetensors.part"
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size > 0):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept = part.stat().st_size
        assert 0 < kept < size
        hub.slow_s = 0.0
        with House.open({"DIZUO_HOME": str(home), "DIZUO_HUB": hub.url}) as house:
            [job] = house.jobs.list()
            assert list(house.jobs.watch(job.id))[-1].status == "done"
            assert house.models.get(NAME).problem is None
    assert [wanted for path, wanted in hub.asked if path.endswith(".safetensors")][-1] == f"bytes={kept}-"
