"""What the benchmarks share: the peers' packages, and contenders that stay loaded, each in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_MOST_OF_A_COMPLAINT = 3000  # characters


def install_peers(folder: Path, requirements: Path, *, beside: bool = False) -> None:
    """The peers' packages, when they are not there in these versions yet: in an environment of their own, or, with
    `beside`, as a folder for the PYTHONPATH of this one, without what they need that is here already."""
    wanted = requirements.read_text("utf-8")
    stamp = folder / "requirements.installed"
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return
    print(f"making {folder.name} …", file=sys.stderr)
    python: Path | str = sys.executable
    where = ["--no-deps", "--upgrade", "--target", folder]
    if not beside:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python, where = folder / "bin/python", []
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *where, "-r", requirements]
    subprocess.run(install, check=True)
    stamp.write_text(wanted, "utf-8")


def environment(threads: int, packages: Path | None = None) -> dict[str, str]:
    """The same number of threads for everyone, no call home, and no look at a hub."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    limits = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    quiet = {
        "ANONYMIZED_TELEMETRY": "False",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONWARNINGS": "ignore",
    }
    found = {"PYTHONPATH": str(packages)} if packages else {}
    return {**kept, **dict.fromkeys(limits, str(threads)), **quiet, **found}


@dataclass(frozen=True)
class Contender:
    """A process that says a line when it is ready, and one of JSON for each that it is told."""

    name: str
    threads: int
    process: "subprocess.Popen[str]"
    complaints: IO[str]

    def ask(self, line: str) -> dict[str, Any]:
        """What it says to this."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.hear())

    def hear(self) -> str:
        """Its next line. Ends the benchmark when there is none."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        if not said:
            self.complaints.seek(0)
            sys.exit(f"{self.name} failed:\n{self.complaints.read()[-_MOST_OF_A_COMPLAINT:]}")
        return said


def start(name: str, threads: int, command: Sequence[str | Path], packages: Path | None = None) -> Contender:
    """A contender that begins to load."""
    complaints = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  # `ready` closes it
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        text=True,
        env=environment(threads, packages),
    )
    return Contender(name, threads, process, complaints)


@contextmanager
def ready(contenders: Sequence[Contender]) -> Iterator[None]:
    """Waits until all have loaded; ends them at the end."""
    try:
        for one in contenders:
            one.hear()
        yield
    finally:
        for one in contenders:
            one.process.kill()
            one.process.wait()
            one.complaints.close()
