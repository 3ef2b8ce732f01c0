"""Looking after a running instance: health, metrics, doctor, settings, backup, repair."""

from pathlib import Path

import httpx
import pytest

from dizuo.api.server import create_app
from dizuo.wiring import House
from tests.api.conftest import Served, error_of, until


def test_alive_and_ready(server: Served) -> None:
    with server.client("") as stranger:
        assert stranger.get("/healthz").json() == {"status": "ok"}
        assert stranger.get("/readyz").json() == {"ready": True, "missing": []}


def test_a_server_that_still_loads_is_alive_but_not_ready(server: Served) -> None:
    import asyncio

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(server.house, lambda: ["embedder"]))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/readyz")

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "missing": ["embedder"]})


def test_metrics_count_requests_by_route_and_not_by_address(server: Served, client: httpx.Client) -> None:
    client.get("/api/knowledge/handbook")
    client.get("/api/knowledge/a-name-nobody-has")
    client.get("/api/jobs/xyz")
    client.get("/api/no/such/address")
    # A request is counted when its answer is out, which may be a moment after the client has it.
    until(lambda: 'route="/api/{rest:path}",status="404"' in client.get("/metrics").text)
    text = client.get("/metrics").text
    assert 'dizuo_http_requests_total{method="GET",route="/api/knowledge/{name}",status="404"}' in text
    assert 'route="/api/jobs/{job_id}"' in text
    assert "a-name-nobody-has" not in text
    assert "no/such" not in text


def test_metrics_are_for_this_machine_or_a_key(server: Served) -> None:
    far = {"X-Forwarded-For": "203.0.113.7"}  # as a proxy on this machine tells it
    with server.client("") as stranger:
        assert stranger.get("/metrics").status_code == 200
        error_of(stranger.get("/metrics", headers=far), 401)
    with server.client(server.member_key) as known:
        assert known.get("/metrics", headers=far).status_code == 200


def test_the_doctor_says_the_same_as_the_command(client: httpx.Client) -> None:
    found = client.get("/api/doctor").json()
    names = [check["name"] for check in found["checks"]]
    assert {"Python", "Database", "Embedding model"} <= set(names)
    assert found["ok"] == all(check["status"] != "failed" for check in found["checks"])
    in_chinese = client.get("/api/doctor", headers={"Accept-Language": "zh"}).json()["checks"]
    assert "数据库" in [check["name"] for check in in_chinese]


def test_settings_are_shown_with_their_source(client: httpx.Client) -> None:
    shown = {row["name"]: row for row in client.get("/api/config").json()["settings"]}
    assert (shown["max_file_mb"]["value"], shown["max_file_mb"]["source"]) == (2, "environment")


def test_a_backup_that_was_downloaded_can_be_restored(server: Served, client: httpx.Client, tmp_path: Path) -> None:
    answer = client.get("/api/backup")
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert not list(server.house.settings.home.glob("download-*"))
    file = tmp_path / "downloaded.backup"
    file.write_bytes(answer.content)
    with House.open({"DIZUO_HOME": str(tmp_path / "other")}) as other:
        other.restore(file)
    with House.open({"DIZUO_HOME": str(tmp_path / "other")}) as other:
        assert other.library.get("handbook").documents == server.house.library.get("handbook").documents > 0


def test_repair_says_what_it_did_and_search_goes_on(client: httpx.Client) -> None:
    notes = client.post("/api/repair").json()["notes"]
    assert any("keyword index" in note for note in notes)
    assert client.get("/api/knowledge/handbook/search?q=leave").json()["hits"]


def test_snapshots_are_listed(client: httpx.Client) -> None:
    assert isinstance(client.get("/api/snapshots").json()["snapshots"], list)


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_no_page_that_would_load_scripts_from_the_internet(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404
