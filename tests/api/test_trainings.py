"""/api/trainings: start, follow, stop, go on, remove. On the stand-in process of tests/apps; one training is real."""

from typing import Any

import httpx
import pytest

from tests.api.conftest import Served, error_of, until
from tests.apps import stand_in_training
from tests.apps.stand_in_training import SECONDS


@pytest.fixture
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_training.use(monkeypatch)


on_stand_in = pytest.mark.usefixtures("_stand_in")


def start(client: httpx.Client, name: str, *overrides: str) -> dict[str, Any]:
    sent = client.post("/api/trainings", json={"recipe": "tiny", "set": list(overrides), "name": name})
    assert sent.status_code == 202, sent.text
    return sent.json()


def training(client: httpx.Client, name: str) -> dict[str, Any]:
    return client.get(f"/api/trainings/{name}").json()


def wait(client: httpx.Client, name: str) -> dict[str, Any]:
    until(lambda: training(client, name)["state"] not in ("queued", "running"), within_s=60)
    return training(client, name)


def test_a_real_training_becomes_a_real_model(client: httpx.Client, server: Served) -> None:
    sent = client.post("/api/trainings", json={"recipe": "tiny", "set": SECONDS, "name": "real"})
    assert sent.status_code == 202, sent.text
    over = wait(client, "real")
    assert (over["state"], over["error"], over["step"]) == ("done", None, 8)
    points = client.get("/api/trainings/real/metrics").json()["points"]
    assert [point["step"] for point in points] == list(range(1, 9))
    assert points[-1]["val_loss"] < points[3]["val_loss"] < points[0]["loss"]
    folder = server.house.settings.home / "models/real"
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in folder.iterdir()}
    assert any(model["id"] == "local/real" for model in client.get("/v1/models").json()["data"])
    client.delete("/api/trainings/real")


@on_stand_in
def test_a_training_is_planned_started_followed_and_removed(client: httpx.Client, server: Served) -> None:
    assert client.get("/api/recipes").json()["recipes"][0]["description"] == {"en": "Small.", "zh": "小模型。"}
    plan = client.post("/api/recipes/plan", json={"recipe": "tiny", "set": ["steps=30"]}).json()
    assert (plan["steps"], plan["fits"], plan["parameters"]) == (30, True, 1_000_000)
    begun = start(client, "first", "steps=30")
    assert (begun["name"], begun["state"]) == ("first", "queued")
    done = wait(client, "first")
    assert (done["state"], done["step"], done["model"]) == ("done", 30, "local/first")
    assert (server.house.settings.home / "models/first/config.json").exists()
    points = client.get("/api/trainings/first/metrics", params={"after": 27}).json()["points"]
    assert [point["step"] for point in points] == [28, 29, 30]
    assert len(client.get("/api/trainings/first/metrics", params={"limit": 2}).json()["points"]) < 8
    assert client.delete("/api/trainings/first").status_code == 204
    error_of(client.get("/api/trainings/first"), 404)
    assert client.get("/api/trainings").json() == {"trainings": []}


@on_stand_in
def test_a_training_stops_and_goes_on_and_documents_go_in_meanwhile(client: httpx.Client, server: Served) -> None:
    start(client, "second", "steps=4000", "pause_s=0.01")
    until(lambda: training(client, "second")["step"] >= 3)
    error_of(client.delete("/api/trainings/second"), 409)
    job = server.upload("handbook", ("note.md", b"# Note\n\nThe lift is out of order.\n"))
    assert (job["status"], job["failed"]) == ("done", 0)
    assert training(client, "second")["state"] == "running"
    assert client.post("/api/trainings/second/stop").json()["stopping"]
    stopped = wait(client, "second")
    assert (stopped["state"], stopped["model"]) == ("stopped", None)
    assert client.post("/api/trainings/second/resume").status_code == 202
    until(lambda: training(client, "second")["step"] > stopped["step"])
    client.post("/api/trainings/second/stop")
    wait(client, "second")
    assert client.delete("/api/trainings/second").status_code == 204


@on_stand_in
def test_everyone_looks_and_the_owner_alone_acts(member: httpx.Client) -> None:
    for path in ("/api/recipes", "/api/trainings"):
        assert member.get(path).status_code == 200
    for method, path in (
        ("POST", "/api/trainings"),
        ("POST", "/api/recipes/plan"),
        ("POST", "/api/trainings/x/stop"),
        ("POST", "/api/trainings/x/resume"),
        ("DELETE", "/api/trainings/x"),
    ):
        error_of(member.request(method, path, json={"recipe": "tiny"} if path[-1] != "x" else None), 403)


@on_stand_in
def test_a_member_does_not_reach_a_training_by_its_job(client: httpx.Client, member: httpx.Client) -> None:
    job = start(client, "third", "steps=4000", "pause_s=0.01")["job"]
    for action in ("cancel", "resume"):
        error_of(member.post(f"/api/jobs/{job}/{action}"), 403)
    assert client.post(f"/api/jobs/{job}/cancel").status_code == 200
    assert wait(client, "third")["state"] == "stopped"
    client.delete("/api/trainings/third")


@on_stand_in
def test_what_is_wrong_with_a_training_is_told_by_name(client: httpx.Client) -> None:
    for body, status, said in (
        ({"recipe": "tinny"}, 404, "Nearest: tiny"),
        ({"recipe": "/nowhere.yaml"}, 404, "no recipe file"),
        ({"recipe": "tiny", "set": ["stepz=1"]}, 400, "nearest steps"),
        ({"recipe": "tiny", "set": ["steps"]}, 422, "set[0]"),
        ({"recipe": "tiny", "name": "../up"}, 422, "name"),
        ({"recipe": "tiny", "nane": "up"}, 422, "Nearest: name"),
    ):
        assert said in error_of(client.post("/api/trainings", json=body), status)["message"]
