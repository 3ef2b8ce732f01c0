"""Runs Python code under bubblewrap: behind namespaces of its own, with nothing of this machine but an interpreter.

Linux only. One process, which may have threads and starts no other; so limits on a process hold for all there is. What
no limit of the kernel counts (files without number) is looked at from outside while it runs.
"""

import asyncio
import contextlib
import itertools
import os
import re
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path

from dizuo.agents import seccomp
from dizuo.core.errors import Unavailable

# Packages that code may import, where they are installed here, with what they need themselves.
_PACKAGES = ("numpy", "pandas", "matplotlib")

_CHILD = Path(__file__).with_name("sandbox_child.py")
_DEEPEST = 32  # folders in folders
_MOST_LISTED = 20_000
_WATCH_S = 0.1
_DISK_RESERVE = 256 << 20  # bytes that are to stay free: a file that was unlinked while open is in no listing
_DRAINED = 16 << 20  # bytes of output that are read and thrown away before it is stopped


@dataclass(frozen=True)
class Limits:
    """What one call may use. Sizes in bytes."""

    wall_s: float = 60
    cpu_s: int = 30
    memory: int = 1 << 30  # address space
    file: int = 64 << 20
    workspace: int = 256 << 20
    files: int = 2000  # in the workspace, with folders; and in /tmp
    tmp: int = 64 << 20
    open_files: int = 64
    threads: int = 32  # none under root
    output: int = 24_000  # kept; what lies between its first two thirds and its last third is cut


@dataclass(frozen=True)
class Outcome:
    """What came of it. `stopped`: why it did not end by itself; empty where it did."""

    output: str
    status: int
    stopped: str = ""


@dataclass
class Listing:
    """What is in a folder. `files`: path -> what changes when its content does."""

    files: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    entries: int = 0
    size: int = 0  # bytes on the disk
    depth: int = 0


async def run(code: str, workspace: Path, limits: Limits) -> Outcome:
    """Runs the code with `workspace` as its folder. When this returns or is cancelled, nothing of it runs any more.

    Raises Unavailable where bubblewrap is missing or cannot do it.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise Unavailable("The program bwrap is not installed.")
    if not seccomp.known():
        raise Unavailable("There is no filter of system calls for this kind of processor.")
    stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    kept = Kept(limits.output)
    # RLIMIT_NPROC does not hold root, not even in a namespace of users, and a look from outside may come when thousands
    # of threads are there and keep all else from going on. So under root there are none.
    with _pipe(seccomp.program(threads=os.geteuid() != 0)) as filter_fd, _pipe() as (info_fd, info_in):
        process = await asyncio.create_subprocess_exec(
            *_command(bwrap, workspace, limits, filter_fd, info_in),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=(filter_fd, info_in),
            env={},
            cwd="/",
            start_new_session=True,
        )
        watch = _Watch(info_fd, workspace, limits)
        tasks = [asyncio.ensure_future(one) for one in (_feed(process, code), _read(process, kept, stop))]
        watching = asyncio.ensure_future(watch.look(stop))
        ended = asyncio.ensure_future(process.wait())
        try:
            # Also when it can be watched no longer.
            await asyncio.wait({ended, stop, watching}, timeout=limits.wall_s, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
            if not ended.done() and not stop.done():
                stop.set_result(f"after {limits.wall_s:g} s")
        finally:
            watching.cancel()
            if process.returncode is None:  # its death is that of all behind it (--die-with-parent)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await asyncio.wait({ended, *tasks}, timeout=5)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, watching, return_exceptions=True)
            await watch.gone()
            _cut(workspace)
        watch.take_in()
    status = process.returncode or 0
    if not watch.ran() and not stop.done():
        raise Unavailable("bubblewrap does not work here: {reason}", reason=kept.text().strip()[:500] or f"{status}")
    return Outcome(kept.text(), status, stop.result() if stop.done() else _ended_by(status, limits))


def _ended_by(status: int, limits: Limits) -> str:
    """What an exit status says that stands for a signal, as bubblewrap passes it on."""
    match status - 128:
        case signal.SIGKILL:
            return f"by the system: over {limits.cpu_s} s of processor time, or out of memory"
        case number if number in {one.value for one in signal.Signals}:
            return f"by the signal {signal.Signals(number).name}"
    return ""


# --- the command ----------------------------------------------------------------------------------------------


def _command(bwrap: str, workspace: Path, limits: Limits, filter_fd: int, info_fd: int) -> Sequence[str]:
    """The order matters: each mount lies over those before it."""
    hard = {
        "AS": limits.memory, "CPU": limits.cpu_s, "FSIZE": limits.file, "NOFILE": limits.open_files,
        "NPROC": limits.threads, "CORE": 0, "MEMLOCK": 0, "MSGQUEUE": 0,
    }  # fmt: skip
    environment = {
        "HOME": "/workspace", "LANG": "C.UTF-8", "LD_LIBRARY_PATH": "/python/lib", "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": "/tmp", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",  # noqa: S108  (that of the sandbox)
    }  # fmt: skip
    return [
        bwrap,
        *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        *("--uid", "1000", "--gid", "1000", "--cap-drop", "ALL", "--hostname", "sandbox"),
        *("--die-with-parent", "--new-session", "--seccomp", str(filter_fd), "--json-status-fd", str(info_fd)),
        "--clearenv",
        *(part for name, value in environment.items() for part in ("--setenv", name, value)),
        *_system(),
        *_python(),
        *(part for name, path in _packages().items() for part in ("--ro-bind", path, f"/packages/{name}")),
        *("--ro-bind", str(_CHILD), "/run.py"),
        # No /proc and no /sys: there is nothing in them that a computation needs. Of /dev, what has no memory.
        *(part for name in ("null", "zero", "urandom") for part in ("--dev-bind", f"/dev/{name}", f"/dev/{name}")),
        *("--size", str(limits.tmp), "--tmpfs", "/tmp"),  # noqa: S108
        *("--bind", str(workspace), "/workspace", "--chdir", "/workspace"),
        *("--remount-ro", "/"),  # a tmpfs without a limit, else
        *("--", "/python/bin/python3", "-I", "-S", "-B", "-X", "utf8", "/run.py"),
        *(f"{name}={value}" for name, value in hard.items()),
    ]


@cache
def _system() -> Sequence[str]:
    """The shared libraries, the time zones, the fonts."""
    binds: list[str] = []
    for name in ("/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/usr/share/fonts", "/etc/ld.so.cache"):
        if os.path.exists(name):
            binds += ["--ro-bind", name, name]
    for name in ("/lib", "/lib64"):
        if os.path.islink(name):
            binds += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            binds += ["--ro-bind", name, name]
    return binds


@cache
def _python() -> Sequence[str]:
    """The interpreter and its standard library, at a place that tells nothing of where they lie here."""
    program = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    library = str(Path(os.__file__).parent)
    inside = f"/python/{sys.platlibdir}/{Path(library).name}"
    binds = ["--ro-bind", program, "/python/bin/python3", "--ro-bind", library, inside]
    if os.path.isdir(f"{library}/site-packages"):  # others' packages are nobody's business
        binds += ["--tmpfs", f"{inside}/site-packages", "--remount-ro", f"{inside}/site-packages"]
    for shared in Path(sys.base_prefix, "lib").glob("libpython3*.so*"):
        binds += ["--ro-bind", str(shared), f"/python/lib/{shared.name}"]
    return binds


@cache
def _packages() -> dict[str, str]:
    """Top-level name -> where it lies, of every package that code may import."""
    found: dict[str, str] = {}
    left, seen = list(_PACKAGES), set[str]()
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        left += [
            match[0].lower()
            for line in distribution.requires or ()
            if "extra ==" not in line and (match := re.match(r"[\w.-]+", line))
        ]
        for top in {file.parts[0] for file in distribution.files or ()}:
            path = str(distribution.locate_file(top))
            if top not in ("..", "__pycache__") and not top.endswith((".dist-info", ".pth")) and os.path.exists(path):
                found[top] = path
    return found


@contextlib.contextmanager
def _pipe(content: bytes | None = None) -> Iterator:
    """The end to read of a pipe that holds `content`; or both ends of an empty one, of which the first never waits."""
    out, into = os.pipe()
    try:
        if content is not None:
            os.write(into, content)  # far less than a pipe holds
            os.close(into)
            into = -1
            yield out
        else:
            os.set_blocking(out, False)
            yield out, into
    finally:
        for fd in (out, into):
            if fd >= 0:
                os.close(fd)


# --- while it runs --------------------------------------------------------------------------------------------


class Kept:
    """The beginning and the end of an output, and how long it was."""

    def __init__(self, most: int) -> None:
        self._most_head, self._most_tail = most * 2 // 3, most // 3
        self._head = self._tail = b""
        self.total = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = self._most_head - len(self._head)
        self._head += data[:room]
        self._tail = (self._tail + data[room:])[-self._most_tail :]

    def text(self) -> str:
        cut = self.total - len(self._head) - len(self._tail)
        between = f"\n[cut: {cut} bytes]\n".encode() if cut else b""
        return (self._head + between + self._tail).decode("utf-8", "replace")


async def _feed(process: asyncio.subprocess.Process, code: str) -> None:
    assert process.stdin is not None
    with contextlib.suppress(ConnectionError):
        process.stdin.write(code.encode("utf-8", "replace"))
        await process.stdin.drain()
    process.stdin.close()


async def _read(process: asyncio.subprocess.Process, kept: Kept, stop: "asyncio.Future[str]") -> None:
    assert process.stdout is not None
    while data := await process.stdout.read(1 << 16):
        kept.add(data)
        if kept.total > _DRAINED and not stop.done():
            stop.set_result(f"when it had printed {_DRAINED >> 20} MiB")


class _Watch:
    """Looks from outside at what the kernel counts for nobody."""

    def __init__(self, info_fd: int, workspace: Path, limits: Limits) -> None:
        self._info_fd = info_fd
        self._info = b""
        self._workspace = workspace
        self._limits = limits
        before = listing(workspace)  # one that is full already may be tidied up
        self._most_bytes = max(limits.workspace, before.size)
        self._most_files = max(limits.files, before.entries)

    async def look(self, stop: "asyncio.Future[str]") -> None:
        """Says once why it is to be stopped."""
        while not stop.done():
            began = time.perf_counter()
            if (why := self._why()) and not stop.done():
                stop.set_result(why)
            await asyncio.sleep(max(_WATCH_S, 4 * (time.perf_counter() - began)))

    def _why(self) -> str:
        there = listing(self._workspace)
        if there.size > self._most_bytes:
            return f"when its files had over {self._most_bytes >> 20} MiB"
        if there.entries > self._most_files:
            return f"when there were over {self._most_files} files"
        if self._in_tmp() > self._limits.files:
            return f"when there were over {self._limits.files} files in /tmp"
        if there.depth > _DEEPEST:
            return f"when its folders lay over {_DEEPEST} deep"
        if shutil.disk_usage(self._workspace).free < _DISK_RESERVE:
            return "when the disk was full"
        return ""

    def take_in(self) -> None:
        """Takes what bubblewrap has told by now."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._info_fd, 4096):
                self._info += data

    def ran(self) -> bool:
        """Whether the code came to an end, however it did; not where bubblewrap itself gave up before it."""
        return b'"exit-code"' in self._info

    def _first(self) -> int:
        """The process that is the first of the sandbox, as the system outside numbers it; 0 before there is one."""
        self.take_in()
        match = re.search(rb'"child-pid": (\d+)\D', self._info)
        return int(match[1]) if match else 0

    async def gone(self) -> None:
        """Waits for the end of the sandbox's first process, before which the kernel ends all others."""
        try:
            process = os.pidfd_open(self._first())
        except OSError:  # long gone
            return
        end = select.poll()
        end.register(process, select.POLLIN)
        try:
            for _ in range(200):
                if end.poll(0):
                    return
                await asyncio.sleep(0.01)
        finally:
            os.close(process)

    def _in_tmp(self) -> int:
        """Files in /tmp. 0 where that cannot be known: it is gone, or not there yet."""
        with contextlib.suppress(OSError):
            there = os.statvfs(Path("/proc", str(self._first()), "root", "tmp"))
            # Before it is mounted, that is a folder of this machine.
            return there.f_files - there.f_ffree if there.f_blocks * there.f_frsize <= self._limits.tmp else 0
        return 0


def listing(folder: Path) -> Listing:
    """What is in a folder that untrusted code writes to. Follows no link; what cannot be read is passed over."""
    found = Listing()
    left = [(str(folder), 1)]
    while left and found.entries <= _MOST_LISTED:
        path, depth = left.pop()
        found.depth = max(found.depth, depth)
        if depth > _DEEPEST:
            continue
        with contextlib.suppress(OSError), os.scandir(path) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    stat = entry.stat(follow_symlinks=False)
                    found.entries += 1
                    found.size += stat.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        left.append((entry.path, depth + 1))
                    elif entry.is_file(follow_symlinks=False):
                        # Not the time of its last change, which its maker can set.
                        found.files[os.path.relpath(entry.path, folder)] = (stat.st_ino, stat.st_size, stat.st_ctime_ns)
    return found


def _cut(folder: Path) -> None:
    """Removes folders that lie deeper than they may. They can be made by the ten thousand before anybody looks, and
    whatever goes through a folder by calling itself breaks on them (shutil.rmtree does)."""
    left = [(str(folder), 1)]
    while left:
        path, depth = left.pop()
        if depth > _DEEPEST:
            _remove(path, folder)
            continue
        with contextlib.suppress(OSError), os.scandir(path) as entries:
            left += [(entry.path, depth + 1) for entry in entries if entry.is_dir(follow_symlinks=False)]


def _remove(path: str, folder: Path) -> None:
    """Takes a folder apart from the top, for names of what is deep in it are longer than a path may be."""
    aside = tempfile.mkdtemp(prefix=".cut-", dir=folder)
    left = [path]
    for number in itertools.count():
        if not left:
            break
        top = left.pop()
        with contextlib.suppress(OSError):
            os.chmod(top, 0o700)
            for place, entry in enumerate(os.listdir(top)):
                inner = os.path.join(top, entry)
                if os.path.isdir(inner) and not os.path.islink(inner):
                    os.chmod(inner, 0o700)
                    left.append(os.path.join(aside, f"{number}-{place}"))
                    os.rename(inner, left[-1])
                else:
                    os.unlink(inner)
            os.rmdir(top)
    os.rmdir(aside)
