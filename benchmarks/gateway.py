"""What the gateway costs: ours beside the LiteLLM proxy and a bare pass-through, over a stub that answers at once.

    .venv/bin/python benchmarks/gateway.py               # under six minutes on two cores
    .venv/bin/python benchmarks/gateway.py --quick       # a minute: one short round, for a first look
    .venv/bin/python benchmarks/gateway.py --soak 20     # minutes under a constant load: does ours keep its memory?

Ours is `dizuo up` in a new home with the settings as they come, except that no answer is taken from the cache: each
request is authenticated by an API key, held to the limits, metered, traced and routed. The LiteLLM proxy has the
settings that its pages name for production (benchmarks/peers/gateway/run_litellm.py) and no database. "bare" is a
FastAPI route that passes bytes on through one shared httpx client. Each is one process with one worker. They take turns
within every round, so that whatever else the machine does meets all of them; stub and load are processes of their own
on the same cores. Added latency is what a percentile has over that of the stub asked directly in the same round;
"first" is until the first byte of a stream. "cpu" is the processor's time of the gateway for a request. LiteLLM's
environment is made in `.peers-gateway` when it is not there.
"""

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contest import Contender, environment, install_peers, ready, start
from startup import free_port, has_active_jobs, machine, resident_mb

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".peers-gateway"
SCRIPTS = ROOT / "benchmarks/peers/gateway"
DIRECT, BARE, OURS, LITELLM = "stub", "bare", "Dizuo", "LiteLLM"
MODEL = "stub/stub-1"
PATH = "/v1/chat/completions"
LEAST_OF_LITELLM, MOST_ADDED_OF_LITELLM, LEAST_OF_BARE = 12.0, 0.1, 0.4
AT_CONNECTIONS = 20  # where throughput is compared
START_LIMIT_S = 120.0
SAMPLE_S = 5.0
QUESTION = [
    {"role": "system", "content": "You answer briefly, in plain words, and say so where you do not know."},
    {
        "role": "user",
        "content": "What should one look at before a house is bought that stood empty for ten years? " * 2,
    },
]
BODIES = {
    "whole": {"model": MODEL, "messages": QUESTION, "temperature": 0.2},
    "stream": {"model": MODEL, "messages": QUESTION, "temperature": 0.2, "stream": True},
}


@dataclass(frozen=True)
class Server:
    """A process that answers on a port."""

    name: str
    port: int
    pid: int
    key: str = "none"

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 20, 50, 200])
    parser.add_argument("--modes", nargs="+", choices=list(BODIES), default=list(BODIES))
    parser.add_argument("--only", nargs="+", choices=[BARE, OURS, LITELLM], default=[BARE, OURS, LITELLM])
    parser.add_argument("--quick", action="store_true", help="one round, short turns, 1 and 20 connections")
    parser.add_argument(
        "--soak", type=float, metavar="MINUTES", nargs="?", const=20.0, help="only ours; 20 if no number"
    )
    parser.add_argument("--per-second", type=float, default=100.0, help="requests of the soak")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.connections = 1, 1.5, [1, AT_CONNECTIONS]
    if options.soak:
        options.only = [OURS]
    if LITELLM in options.only:
        install_peers(PEERS, SCRIPTS / "requirements.txt")
    load = start("load", 1, [sys.executable, SCRIPTS / "load.py"])
    with (
        tempfile.TemporaryDirectory(prefix="dizuo-bench-") as folder,
        ready([load]),
        _servers(Path(folder), options.only) as servers,
    ):
        if options.soak:
            _soak(load, servers[-1], options)
            return
        runs = _rounds(load, servers, options)
    rows, goals = _rows(runs), _goals(runs)
    if options.json:
        print(json.dumps({"machine": machine(), "rows": rows, "goals": goals}, indent=1))
    else:
        _print(rows, goals, options)


# --- the contestants ------------------------------------------------------------------------------------------


@contextmanager
def _servers(folder: Path, names: Sequence[str]) -> Iterator[list[Server]]:
    """The stub and the gateways in front of it, once they answer; they end afterwards."""
    stub_port = free_port()
    started: list[tuple[Server, subprocess.Popen[bytes], Path]] = []
    try:
        for name in (DIRECT, *names):
            port = stub_port if name == DIRECT else free_port()
            command, key, more = _command(name, port, stub_port, folder)
            log = folder / f"{name}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**environment(1), **more}
                )
            started.append((Server(name, port, process.pid, key), process, log))
        for server, process, log in started:
            _wait(server, process, log)
        if OURS in names:  # the first start also reads its own guide
            while has_active_jobs(str(Path(sys.executable).with_name("dizuo")), str(folder / "home")):
                time.sleep(1)
        yield [server for server, _process, _log in started]
    finally:
        for _server, process, _log in started:
            process.terminate()
        for _server, process, _log in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _command(name: str, port: int, stub_port: int, folder: Path) -> tuple[list[str | Path], str, dict[str, str]]:
    """What starts a contestant, the key that it takes, and its environment."""
    mine = Path(sys.executable)
    ports = [str(port), str(stub_port)]
    match name:
        case "stub":
            return [mine, SCRIPTS / "stub.py", str(port)], "none", {}
        case "bare":
            return [mine, SCRIPTS / "run_bare.py", *ports], "none", {}
        case "LiteLLM":
            key = f"sk-{secrets.token_hex(16)}"
            return [PEERS / "bin/python", SCRIPTS / "run_litellm.py", *ports, key, folder], key, {}
    more = {
        "DIZUO_HOME": str(folder / "home"),
        "DIZUO_MODEL": MODEL,
        "DIZUO_MODEL_BASE_URL": f"http://127.0.0.1:{stub_port}/v1",
        "DIZUO_CACHE": "off",  # the same question each time
    }
    dizuo = [mine, "-m", "dizuo"]
    made = subprocess.run(
        [*dizuo, "key", "create", "--name", "benchmark", "--json"],
        env={**environment(1), **more},
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        sys.exit(f"No API key could be made:\n{made.stderr}")
    return [*dizuo, "up", "--port", str(port)], json.loads(made.stdout)["key"], more


def _wait(server: Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until the server answers both kinds of request. Ends the benchmark when it does not."""
    import httpx

    headers = {"Authorization": f"Bearer {server.key}"}
    until = time.monotonic() + START_LIMIT_S
    said = "nothing"
    while time.monotonic() < until and process.poll() is None:
        try:
            for body in BODIES.values():
                url = f"http://127.0.0.1:{server.port}{PATH}"
                answer = httpx.post(url, json=body, headers=headers, timeout=30, trust_env=False)
                said = answer.text
                if "quillwort" not in said:
                    break
            else:
                return
        except httpx.HTTPError as error:
            said = repr(error)
        time.sleep(0.3)
    sys.exit(f"{server.name} does not answer ({said[:500]}):\n{log.read_text('utf-8', 'replace')[-3000:]}")


# --- turns ----------------------------------------------------------------------------------------------------


def _rounds(load: Contender, servers: Sequence[Server], options: argparse.Namespace) -> list[dict[str, Any]]:
    for server in servers:  # caches, pools and lazy imports of everyone are there before it counts
        _turn(load, server, [BODIES[mode] for mode in options.modes], AT_CONNECTIONS, min(options.seconds, 1.5))
    runs: list[dict[str, Any]] = []
    for turn in range(options.rounds):
        order = [*servers[turn % len(servers) :], *servers[: turn % len(servers)]]
        for mode in options.modes:
            for connections in options.connections:
                for server in order:
                    run = _turn(load, server, [BODIES[mode]], connections, options.seconds)
                    runs.append({"name": server.name, "mode": mode, "connections": connections, "round": turn, **run})
                    print(
                        f"round {turn + 1}, {mode}, {connections}: {server.name} {run['per_s']:.0f}/s, "
                        f"p50 {run['p50']:.2f} ms, cpu {run['cpu_ms']:.2f} ms",
                        file=sys.stderr,
                    )
    return runs


def _turn(
    load: Contender, server: Server, bodies: list[dict[str, Any]], connections: int, seconds: float, per_s: float = 0
) -> dict[str, Any]:
    """A turn of asking one server. Ends the benchmark when nothing came back."""
    told = {
        "port": server.port,
        "path": PATH,
        "key": server.key,
        "bodies": bodies,
        "connections": connections,
        "seconds": seconds,
        "per_s": per_s,
    }
    before_s = server.cpu_s()
    said = load.ask(json.dumps(told))
    took_s = server.cpu_s() - before_s
    latencies, firsts = sorted(said["latencies_ms"]), sorted(said["firsts_ms"])
    if not latencies:
        sys.exit(f"{server.name} answered nothing: {said['errors']}")
    return {
        "per_s": len(latencies) / said["seconds"],
        "n": len(latencies),
        "errors": sum(said["errors"].values()),
        "cpu_ms": took_s * 1000 / len(latencies),
        "first": _percentile(firsts, 50),
        **{f"p{p}": _percentile(latencies, p) for p in (50, 95, 99)},
    }


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """By the nearest rank."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


# --- tables ---------------------------------------------------------------------------------------------------


def _rows(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each mode, number of connections and contestant: medians over the rounds; latencies beyond the stub's."""
    direct = {(run["mode"], run["connections"], run["round"]): run for run in runs if run["name"] == DIRECT}
    rows = []
    for mode, connections, name in dict.fromkeys((run["mode"], run["connections"], run["name"]) for run in runs):
        those = [run for run in runs if (run["mode"], run["connections"], run["name"]) == (mode, connections, name)]
        row = {"mode": mode, "connections": connections, "name": name}
        row |= {field: statistics.median(run[field] for run in those) for field in ("per_s", "cpu_ms")}
        for field in ("p50", "p95", "p99", "first"):
            row[field] = statistics.median(
                run[field] - (0 if name == DIRECT else direct[mode, connections, run["round"]][field]) for run in those
            )
        rows.append(row | {"errors": sum(run["errors"] for run in those), "n": sum(run["n"] for run in those)})
    order = [DIRECT, BARE, OURS, LITELLM]
    return sorted(rows, key=lambda row: (list(BODIES).index(row["mode"]), row["connections"], order.index(row["name"])))


def _goals(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The median of each round's ratio, beside what was wanted."""

    def of(name: str, mode: str, connections: int) -> dict[int, dict[str, Any]]:
        wanted = (name, mode, connections)
        return {run["round"]: run for run in runs if (run["name"], run["mode"], run["connections"]) == wanted}

    goals: list[dict[str, Any]] = []

    def compare(what: str, ratios: list[float], at_least: float | None = None, at_most: float | None = None) -> None:
        if ratios:
            ratio = statistics.median(ratios)
            met = (at_least is None or ratio >= at_least) and (at_most is None or ratio <= at_most)
            wanted = f"≥ {at_least:g}" if at_least is not None else f"≤ {at_most:g}"
            spread = {"least": min(ratios), "most": max(ratios)}
            goals.append({"what": what, "ratio": ratio, **spread, "goal": wanted, "met": met})

    for mode in dict.fromkeys(run["mode"] for run in runs):
        ours = of(OURS, mode, AT_CONNECTIONS)
        for peer, least in ((LITELLM, LEAST_OF_LITELLM), (BARE, LEAST_OF_BARE)):
            theirs = of(peer, mode, AT_CONNECTIONS)
            ratios = [ours[turn]["per_s"] / theirs[turn]["per_s"] for turn in ours if turn in theirs]
            compare(f"{mode}: throughput of {peer} at {AT_CONNECTIONS} connections", ratios, at_least=least)
        ours, theirs, stub = (of(name, mode, 1) for name in (OURS, LITELLM, DIRECT))
        ratios = [
            (ours[turn]["p50"] - stub[turn]["p50"]) / (theirs[turn]["p50"] - stub[turn]["p50"])
            for turn in ours
            if turn in theirs
        ]
        compare(f"{mode}: added p50 of {LITELLM} at 1 connection", ratios, at_most=MOST_ADDED_OF_LITELLM)
    return goals


def _print(rows: Sequence[dict[str, Any]], goals: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    print(f"\n{machine()}\n{options.rounds} rounds, turns of {options.seconds:g} s, medians; latencies in ms")
    print(
        f"{'mode':<7}{'conns':>5} {'':<8}{'requests/s':>11}{'added p50':>11}{'p95':>9}{'p99':>9}{'first':>9}"
        f"{'cpu':>8}{'n':>8}{'errors':>8}"
    )
    for row in rows:
        name = "(stub)" if row["name"] == DIRECT else row["name"]
        print(
            f"{row['mode']:<7}{row['connections']:>5} {name:<8}{row['per_s']:>11.0f}{row['p50']:>11.2f}"
            f"{row['p95']:>9.2f}{row['p99']:>9.2f}{row['first']:>9.2f}{row['cpu_ms']:>8.2f}{row['n']:>8}{row['errors']:>8}"
        )
    print("\nOurs as a multiple of theirs")
    for goal in goals:
        print(
            f"{goal['what']:<52}{goal['ratio']:>7.2f} ({goal['least']:.2f} to {goal['most']:.2f}), "
            f"goal {goal['goal']}: {'met' if goal['met'] else 'missed'}"
        )


# --- soak -----------------------------------------------------------------------------------------------------


def _soak(load: Contender, server: Server, options: argparse.Namespace) -> None:
    """Half streams, half whole answers, so many a second; memory is sampled, and a line laid through it."""
    samples: list[tuple[float, float]] = []
    runs: list[dict[str, Any]] = []
    began = time.monotonic()
    until = began + options.soak * 60
    while time.monotonic() < until:
        runs.append(_turn(load, server, list(BODIES.values()), 20, SAMPLE_S, options.per_second))
        samples.append((time.monotonic() - began, resident_mb(server.pid)))
        if len(runs) % 12 == 0:
            print(
                f"{samples[-1][0] / 60:.1f} min: {samples[-1][1]:.1f} MB, {_open_files(server.pid)} open files",
                file=sys.stderr,
            )
    # What is loaded and pooled at first is no leak: the first fifth warms up.
    counted = [sample for sample in samples if sample[0] >= options.soak * 60 / 5] or samples
    slope, error = _slope(counted)
    # Free memory goes back once a minute: in between it rises and falls, and only what is left then can grow.
    floor, floor_error = _slope(_least_of_each_minute(counted))
    figures = {
        "minutes": options.soak,
        "requests": sum(run["n"] for run in runs),
        "errors": sum(run["errors"] for run in runs),
        "per_s": statistics.median(run["per_s"] for run in runs),
        "mb_at_first": counted[0][1],
        "mb_at_last": counted[-1][1],
        "mb_most": max(mb for _at, mb in counted),
        "mb_per_hour": slope,
        "standard_error": error,
        "floor_mb_per_hour": floor,
        "floor_standard_error": floor_error,
        "open_files": _open_files(server.pid),
    }
    if options.json:
        print(json.dumps({"machine": machine(), **figures, "samples": samples}))
        return
    print(
        f"\n{machine()}\n{figures['requests']} requests in {options.soak:g} minutes ({figures['per_s']:.0f}/s), "
        f"{figures['errors']} errors\nmemory after the first fifth: {figures['mb_at_first']:.1f} MB, at the end "
        f"{figures['mb_at_last']:.1f} MB, at most {figures['mb_most']:.1f} MB\n"
        f"slope {slope:+.1f} ± {error:.1f} MB per hour (least squares, standard error); of the least of each minute "
        f"{floor:+.1f} ± {floor_error:.1f}; "
        f"{figures['open_files']} open files"
    )


def _least_of_each_minute(samples: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Without the first and the last, which may be without their trim."""
    least: dict[int, tuple[float, float]] = {}
    for at, mb in samples:
        minute = int(at // 60)
        least[minute] = min(least.get(minute, (at, mb)), (at, mb), key=lambda one: one[1])
    return list(least.values())[1:-1]


def _slope(samples: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """MB per hour by least squares over (seconds, MB), and its standard error."""
    if len(samples) < 3:
        sys.exit("The soak was too short for a slope: give it at least a minute.")
    hours, sizes = [at / 3600 for at, _mb in samples], [mb for _at, mb in samples]
    slope, start_mb = statistics.linear_regression(hours, sizes)
    middle = statistics.fmean(hours)
    rest = sum((mb - start_mb - slope * at) ** 2 for at, mb in zip(hours, sizes, strict=True))
    spread = sum((at - middle) ** 2 for at in hours)
    return slope, (rest / (len(samples) - 2) / spread) ** 0.5


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


if __name__ == "__main__":
    main()
