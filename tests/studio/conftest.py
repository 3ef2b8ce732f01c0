"""One real server and one Chromium for all tests of the studio; a fresh browser profile for each test."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dizuo.platform.identity import SESSION_COOKIE, User
from dizuo.wiring import House
from tests.api.upstream import Chat, Upstream
from tests.hub_server import FakeHub

# The first that is there: the engine alone, or a whole browser.
CHROMIUM = next(filter(Path.exists, map(Path, ("/usr/bin/chromium-headless-shell", "/usr/bin/chromium"))), None)
_SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",  # it would ask hosts that no test may need
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
_STARTS_WITHIN_S = 60

MANUAL = """# Falcon X200

The warranty of the Falcon X200 lasts 24 months from the day of purchase.

## Care

Clean the lens of the Falcon X200 with a dry cloth. Never use alcohol.
"""
LEAVE = "# 员工手册\n\n## 年假\n\n员工每年有十五天带薪年假。\n\n## 病假\n\n请病假需要提交医院出具的证明。\n"
HOSTILE = """# Hostile <img src=x onerror="document.title='owned'">

The price of the banana is 7 coins <script>document.title='owned'</script><img src=x onerror="document.title='owned'">.
"""


@dataclass
class Studio:
    """A running server, its house as seen from the test's own process, and the hub that it fetches models from."""

    address: str
    house: House
    hub: FakeHub

    def session(self, user: User | None = None) -> str:
        """The token of a new session, as after a sign-in."""
        name = (user or self.house.identity.owner()).name
        return self.house.identity.redeem(self.house.identity.login_link(name), "a good password")

    def add(self, name: str, files: dict[str, str], folder: Path) -> None:
        """Puts files into a knowledge base and waits until they are in."""
        folder.mkdir(parents=True)
        for file, text in files.items():
            (folder / file).write_text(text, "utf-8")
        self.wait(self.house.library.add(name, [folder]).id)

    def come_to(self, run_id: str, status: str) -> None:
        """Waits until a run waits or has ended."""
        runs, jobs = self.house.runs, self.house.jobs
        try:
            wait_until(lambda: runs.get(run_id).status in (status, "ended"))
        except AssertionError:
            log = max(self.house.settings.home.parent.glob("server-*.log"), key=lambda one: one.stat().st_mtime)
            told = log.read_text("utf-8")[-5000:]
            raise AssertionError(runs.get(run_id), runs.steps(run_id), jobs.list(active=True), told) from None
        assert runs.get(run_id).status == status, runs.steps(run_id)

    def wait(self, job_id: str) -> None:
        wait_until(lambda: self.house.jobs.get(job_id).over)

    @contextmanager
    def scripted(self, answer: Chat, provider: str = "acme") -> Iterator["Studio"]:
        """With a provider whose models answer so. No run goes on behind it."""
        with Upstream(answer).serving() as url:
            self.house.providers.add(provider, base_url=url)
            yield self
            for run in self.house.runs.list():
                self.house.runs.cancel(run.id)
            self.house.providers.remove(provider)


def wait_until(come: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while not come():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def serving(home: Path, **settings: str) -> Iterator[str]:
    """The address of a `dizuo up` that is ready."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DIZUO_")}
    environment |= {"DIZUO_HOME": str(home), **settings}
    log = home.parent / f"server-{port}.log"
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "dizuo", "up", "--port", str(port)], env=environment, stdout=lines, stderr=lines
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_ready(address, process, log)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="package")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A server in a home of its own, with a knowledge base in both languages beside the guide."""
    root = tmp_path_factory.mktemp("studio")
    with (
        FakeHub(root / "hub").serving() as hub,
        serving(root / "home", DIZUO_HUB=hub.url) as address,
        House.open({"DIZUO_HOME": str(root / "home")}) as house,
    ):
        made = Studio(address, house, hub)
        files = {"manual.md": MANUAL, "员工手册.md": LEAVE, "hostile.md": HOSTILE}
        made.add("handbook", files, root / "handbook")
        for job in house.jobs.list(active=True):
            made.wait(job.id)
        yield made


def _wait_ready(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while True:
        assert process.poll() is None, log.read_text("utf-8")
        assert time.monotonic() < deadline, log.read_text("utf-8")
        try:
            with urllib.request.urlopen(f"{address}/readyz") as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """The system's Chromium, or a skip with the reason.

    Gone before the tests of another folder: as long as it lives, Playwright runs an event loop in this thread.
    """
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=_SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def owner_session(studio: Studio) -> str:
    return studio.session()


class Visit:
    """Opens pages as somebody, and holds what no page may do: fail in a script, or ask another host for anything."""

    def __init__(self, chromium: Any, studio: Studio, session: str | None) -> None:
        self.studio = studio
        self._chromium = chromium
        self._session = session
        self._contexts: list[Any] = []
        self.wrong: list[str] = []

    def page(
        self, path: str | None = "/", *, locale: str = "en-US", theme: str = "", size: tuple[int, int] = (1280, 800)
    ) -> Any:
        """A page in a browser profile of its own."""
        context = self._chromium.new_context(
            locale=locale, viewport={"width": size[0], "height": size[1]}, base_url=self.studio.address
        )
        context.set_default_timeout(15_000)
        self._contexts.append(context)
        cookies = {SESSION_COOKIE: self._session, "dizuo_theme": theme}
        context.add_cookies([{"name": n, "value": v, "url": self.studio.address} for n, v in cookies.items() if v])
        page = context.new_page()
        page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        page.on("request", self._see_request)
        page.on("console", self._see_message)
        if path is not None:
            page.goto(path)
            page.locator("h1").first.wait_for(state="attached")
        return page

    def _see_request(self, request: Any) -> None:
        if not request.url.startswith((self.studio.address, self.studio.address.replace("http", "ws"), "data:")):
            self.wrong.append(f"asked elsewhere: {request.url}")

    def _see_message(self, message: Any) -> None:
        # A 4xx that a test provokes is told in red as well; what matters here are scripts and the content policy.
        # So is the websocket of a page whose session ends before it is open.
        if message.type == "error" and not any(said in message.text for said in ("status of 4", "code: 403")):
            self.wrong.append(f"console: {message.text}")
        elif message.text.startswith(("reloading because", "Event listeners changed")):
            self.wrong.append(f"built twice: {message.text}")

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture
def visit(chromium: Any, studio: Studio, owner_session: str) -> Iterator[Visit]:
    """The owner's visits to the studio."""
    visit = Visit(chromium, studio, owner_session)
    yield visit
    visit.close()
    assert visit.wrong == []


@pytest.fixture
def stranger(chromium: Any, studio: Studio) -> Iterator[Visit]:
    """Visits of somebody who has not signed in."""
    visit = Visit(chromium, studio, None)
    yield visit
    visit.close()
    assert visit.wrong == []


def ask(page: Any, question: str) -> Any:
    """Asks as a person does, and waits for the answer; returns its element."""
    turns = page.locator(".turn")
    before = turns.count()
    page.fill("#question", question)
    page.press("#question", "Enter")
    turn = turns.nth(before)
    turn.locator(".answer-actions").wait_for()
    return turn
