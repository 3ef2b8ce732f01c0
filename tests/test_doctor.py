"""`dizuo doctor` names what is wrong, says what to do about it, and goes on with the rest."""

import dataclasses
import http.server
import json
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dizuo import doctor
from dizuo.agents.sandbox import Sandbox
from dizuo.core.documents import Note
from dizuo.core.errors import UserError
from dizuo.platform import revisions
from dizuo.platform import settings as settings_table
from dizuo.platform.catalogue import translate
from dizuo.wiring import House


def examine(home: Path, **changes: Any) -> Iterator[doctor.Check]:
    loaded = settings_table.load({}, {"home": home})
    port = changes.pop("port", free_port())
    values = dataclasses.replace(loaded.values, port=port, **changes)
    return doctor.examine(lambda: settings_table.LoadedSettings(values, loaded.sources))


def check(name: str, home: Path, **changes: Any) -> doctor.Check:
    """One check; those after it, such as the slow ones, are not made."""
    return next(check for check in examine(home, **changes) if check.name == name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def plain_home(tmp_path: Path) -> Path:
    """Where an instance on SQLite would be."""
    return tmp_path / "plain"


@pytest.fixture
def http_server() -> Iterator[Any]:
    """Starts servers that answer every GET with one JSON document; gives their port."""
    servers: list[http.server.HTTPServer] = []

    def start(status: int, document: Any, seen: "list[str] | None" = None) -> int:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if seen is not None:
                    seen.append(f"{self.path} {self.headers.get('Authorization')}")
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server.server_address[1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_fresh_machine_has_nothing_that_failed(plain_home: Path) -> None:
    checks = list(examine(plain_home))
    assert [check.name for check in checks if check.status == "failed"] == []
    assert len({check.name for check in checks}) == len(checks) >= 14
    assert not plain_home.exists(), "looking must not leave anything behind"


def test_a_used_instance_is_in_order_and_stays_as_it_is(house: House, home: Path, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\nA sentence.\n", "utf-8")
    list(house.jobs.watch(house.library.add("kb", [tmp_path / "a.md"]).id))
    before = sorted(path.name for path in home.iterdir())
    checks = {check.name: check for check in examine(home)}
    assert {name for name, check in checks.items() if check.status != "ok"} <= {"Memory", "Disk space", "Sandbox"}
    assert str(checks["Database"].found) in {f"{kind}, schema {revisions.head()}" for kind in ("SQLite", "PostgreSQL")}
    assert "a process does them" in str(checks["Jobs"].found)
    assert sorted(path.name for path in home.iterdir()) == before


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("DELETE FROM chunk_terms", "The keyword index is out of step"),
        ("DELETE FROM vectors", "Passages lack the vectors of local/minilm"),
    ],
)
def test_a_search_index_that_is_behind_is_a_warning_until_it_is_repaired(
    house: House, home: Path, tmp_path: Path, damage: str, expected: str
) -> None:
    assert check("Search", home).status == "ok"
    (tmp_path / "a.md").write_text("# Leave\n\nEmployees have 25 days of paid leave a year.\n", "utf-8")
    assert list(house.jobs.watch(house.library.add("kb", [tmp_path / "a.md"]).id))[-1].status == "done"
    assert check("Search", home).status == "ok"
    with house.database.write() as connection:
        connection.exec_driver_sql(damage)
    found = check("Search", home)
    assert (found.status, str(found.found).startswith(expected)) == ("warning", True)
    house.library.repair()
    assert check("Search", home).status == "ok"


def test_every_text_has_chinese(plain_home: Path) -> None:
    for one in examine(plain_home, embedder="", data="/nowhere"):
        shown = [translate(note.template, "zh", **note.params) for note in (one.found, one.advice) if note]
        assert translate(one.name, "zh")
        if one.name not in ("Python", "SQLite", "Clock"):
            assert any(ord(character) > 0x2E7F for text in shown for character in text), one


def test_a_damaged_database_is_found_and_the_rest_goes_on(plain_home: Path) -> None:
    plain_home.mkdir(mode=0o700)
    (plain_home / "dizuo.db").write_bytes(b"not a database at all" * 1000)
    checks = {check.name: check for check in examine(plain_home, embedder="")}
    assert checks["Database"].status == "failed"
    assert "dizuo restore" in str(checks["Database"].advice)
    assert checks["Document formats"].status == "ok"


def test_a_newer_schema_is_named(plain_home: Path) -> None:
    House.open({"DIZUO_HOME": str(plain_home)}).close()
    with sqlite3.connect(plain_home / "dizuo.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    found = check("Database", plain_home)
    assert found.status == "failed"
    assert "9999" in str(found.found)


def test_an_unreachable_postgresql_is_said_without_its_password(plain_home: Path) -> None:
    found = check("Database", plain_home, database_url=f"postgresql://me:hunter2@127.0.0.1:{free_port()}/d")
    assert found.status == "failed"
    assert "hunter2" not in str(found.found)


def test_bad_settings_are_the_finding() -> None:
    def load() -> settings_table.LoadedSettings:
        raise UserError("Setting {name} is bad.", name="port")

    last = list(doctor.examine(load))[-1]
    assert (last.name, last.status, str(last.found)) == ("Settings", "failed", "Setting port is bad.")


def test_a_home_that_is_no_folder_fails(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file", "utf-8")
    assert check("Data folder", tmp_path / "home").status == "failed"


def test_a_home_that_others_may_read_is_a_warning_with_the_command_that_closes_it(plain_home: Path) -> None:
    plain_home.mkdir()
    plain_home.chmod(0o755)
    (plain_home / "dizuo.db").touch(0o644)
    found = check("Permissions", plain_home)
    assert found.status == "warning"
    assert "dizuo.db" in str(found.found)
    assert str(found.advice).endswith(f"chmod -R go= {plain_home}")


def test_jobs_that_nobody_does_are_a_warning(house: House, home: Path, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n", "utf-8")
    house.library.add("kb", [tmp_path / "a.md"])
    found = check("Jobs", home)
    assert (found.status, found.found.params) == ("warning", {"count": 1})


@pytest.mark.parametrize(("kind", "found"), [("monty", "pure computations only"), ("none", "agents run no code")])
def test_a_machine_without_bubblewrap_is_told_what_agents_can_do_and_what_to_install(
    plain_home: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, found: str
) -> None:
    reason = Note(template="The program bwrap is not installed.")
    monkeypatch.setattr("dizuo.agents.sandbox.available", lambda: Sandbox(kind=kind, reason=reason))
    sandbox = check("Sandbox", plain_home)
    assert sandbox.status == "warning"
    assert found in str(sandbox.found)
    assert "The program bwrap is not installed." in str(sandbox.found)
    assert "apt-get install bubblewrap" in str(sandbox.advice)


def test_the_server_is_told_from_another_program(home: Path, http_server: Any) -> None:
    assert "does not run" in str(check("Server", home).found)
    ready = check("Server", home, port=http_server(200, {"ready": True, "missing": []}))
    assert (ready.status, "runs at" in str(ready.found)) == ("ok", True)
    half = check("Server", home, port=http_server(503, {"ready": False, "missing": ["embedder"]}))
    assert (half.status, "embedder" in str(half.found)) == ("warning", True)
    port = http_server(200, ["something else"])
    other = check("Server", home, port=port)
    assert (other.status, other.advice and other.advice.params) == ("warning", {"other": port + 1})


def test_the_provider_is_asked_for_its_models_and_the_key_never_shown(home: Path, http_server: Any) -> None:
    def model(status: int, document: Any) -> doctor.Check:
        url = f"http://127.0.0.1:{http_server(status, document, seen)}/v1"
        return check("Chat model", home, model="local-server/qwen", model_base_url=url, model_api_key="sk-secret")

    seen: list[str] = []
    assert model(200, {"data": [{"id": "qwen"}]}).status == "ok"
    assert seen == ["/v1/models Bearer sk-secret"]
    other = model(200, {"data": [{"id": "llama"}]})
    assert (other.status, "llama" in str(other.found)) == ("warning", True)
    assert model(404, {}).status == "warning"
    refused = model(401, {"error": "sk-secret is wrong"})
    assert refused.status == "failed"
    assert "sk-secret" not in str(refused)


def test_a_provider_that_is_not_there_fails(home: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    assert check("Chat model", home, model="ollama/qwen", model_base_url=url).status == "failed"
    assert check("Chat model", home, model="nonsense").status == "failed"


def test_an_embedder_that_does_not_load_fails_with_the_way_round(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("model.safetensors is missing")

    monkeypatch.setattr("dizuo.gateway.local.LocalEmbedder.embed", broken)
    found = check("Embedding model", home)
    assert (found.status, "model.safetensors" in str(found.found)) == ("failed", True)
    assert check("Embedding model", home, embedder="").status == "warning"


def test_the_command_prints_json_and_fails_when_a_check_does(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file", "utf-8")
    arguments = ["--home", str(tmp_path / "home"), "doctor", "--json"]
    ran = subprocess.run([sys.executable, "-m", "dizuo", *arguments], capture_output=True, text=True)
    report = json.loads(ran.stdout)
    assert (ran.returncode, report["ok"]) == (1, False)
    assert all(row.keys() == {"name", "status", "found", "advice"} for row in report["checks"])


def test_a_model_of_an_added_provider_is_asked_there(house: House, home: Path) -> None:
    from tests.openai_server import FakeProvider

    with FakeProvider(key="sk-good-0123456789").serving() as provider:
        house.providers.add("acme", base_url=provider.url, key="sk-good-0123456789")
        found = check("Chat model", home, model="acme/tiny-chat", database_url=house.settings.database_url)
    assert found.status == "ok", found
