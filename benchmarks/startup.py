"""How soon the installed server is ready, and what it takes of memory when idle: `python benchmarks/startup.py`.

Each round starts `dizuo up` twice in a home of its own: the first start makes the database, the owner and the sample
knowledge base, the second finds them. The clock runs from the start of the process to the first 200 of /readyz
(database, worker and embedder are there). Memory is what the server and its children hold (RSS) once the jobs are done
and it has been idle for a while.
"""

import argparse
import http.client
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

IDLE_S = 5.0
LIMIT_S = 120.0


@dataclass(frozen=True)
class Start:
    ready_s: float
    idle_mb: float


def machine() -> str:
    """The machine in a line."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{cpu}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, Python {platform.python_version()}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def resident_mb(pid: int) -> float:
    """RSS of a process and of all below it, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    size_mb = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text("ascii").split():
            size_mb += resident_mb(int(child))
    return size_mb


def has_active_jobs(command: str, home: str) -> bool:
    listed = subprocess.run(
        [command, "--home", home, "job", "list", "--active", "--json"], capture_output=True, text=True, check=True
    )
    return bool(json.loads(listed.stdout)["jobs"])


def start(command: str, home: str) -> Start:
    """One start of the server, until it has been idle for a while."""
    port = free_port()
    began_s = time.perf_counter()
    process = subprocess.Popen(
        [command, "--home", home, "up", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not is_ready(port):
            if process.poll() is not None or time.perf_counter() - began_s > LIMIT_S:
                raise SystemExit("the server did not become ready")
            time.sleep(0.01)
        ready_s = time.perf_counter() - began_s
        time.sleep(1)  # the sample is asked for once the server answers
        while has_active_jobs(command, home):
            time.sleep(0.5)
        time.sleep(IDLE_S)
        return Start(ready_s, resident_mb(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    command = str(Path(sys.executable).parent / "dizuo")
    first: list[Start] = []
    second: list[Start] = []
    for _round in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as home:
            first.append(start(command, home))
            second.append(start(command, home))
    figures = {
        "machine": machine(),
        "date": date.today().isoformat(),
        "rounds": arguments.rounds,
        "first_start_to_ready_s": round(statistics.median(s.ready_s for s in first), 2),
        "next_start_to_ready_s": round(statistics.median(s.ready_s for s in second), 2),
        "slowest_start_s": round(max(s.ready_s for s in first + second), 2),
        "idle_rss_mb": round(statistics.median(s.idle_mb for s in first + second)),
    }
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):26} {value}")


if __name__ == "__main__":
    main()
