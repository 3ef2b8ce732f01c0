"""/api/routes: whoever may, makes names for several models; everyone asks them like a model."""

from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.api.conftest import Served, error_of
from tests.api.upstream import Upstream

NOWHERE = "http://127.0.0.1:9/v1"


@pytest.fixture
def _providers(server: Served) -> Iterator[Upstream]:
    upstream = Upstream(lambda _body: {"content": "In France."})
    with upstream.serving() as url:
        server.house.providers.add("down", base_url=NOWHERE)
        server.house.providers.add("well", base_url=url)
        yield upstream
        for name in ("down", "well"):
            server.house.providers.remove(name)


@pytest.mark.usefixtures("_providers")
def test_a_route_is_made_asked_changed_and_removed(client: httpx.Client, ai: openai.OpenAI) -> None:
    body = {"name": "fast", "targets": [{"model": "down/m"}], "fallbacks": ["well/m"], "options": {"total_s": 20}}
    made = client.post("/api/routes", json=body)
    assert (made.status_code, made.json()["options"]["total_s"]) == (201, 20)
    assert "down/m" in next(one.note for one in ai.models.list() if one.id == "fast")  # pyright: ignore

    said = client.post(
        "/v1/chat/completions", json={"model": "fast", "messages": [{"role": "user", "content": "Where is Paris?"}]}
    )
    assert said.json()["choices"][0]["message"]["content"] == "In France."
    assert said.headers["x-dizuo-model"] == "well/m"
    down = next(one for one in client.get("/api/health").json()["models"] if one["model"] == "down/m")
    assert (down["failures"], down["in_flight"]) == (1, 0)
    assert "127.0.0.1:9 cannot be reached" in down["said"]

    changed = client.put("/api/routes/fast", json={"targets": [{"model": "well/m", "weight": 2}]})
    assert changed.json()["targets"] == [{"model": "well/m", "weight": 2.0}]
    assert client.get("/api/routes").json()["routes"] == [changed.json()] == [client.get("/api/routes/fast").json()]
    assert client.delete("/api/routes/fast").json() == changed.json()
    assert error_of(client.get("/api/routes/fast"), 404)["code"] == "not_found"


@pytest.mark.usefixtures("_providers")
def test_when_no_model_answers_the_last_error_is_the_answer(client: httpx.Client) -> None:
    client.post("/api/routes", json={"name": "lost", "targets": [{"model": "down/m"}], "options": {"tries": 1}})
    asked = {"model": "lost", "messages": [{"role": "user", "content": "?"}], "stream": True}
    error = error_of(client.post("/v1/chat/completions", json=asked), 502)
    assert error["code"] == "model_down"
    client.delete("/api/routes/lost")


@pytest.mark.usefixtures("_providers")
def test_what_cannot_be_a_route_is_refused_with_the_reason(client: httpx.Client) -> None:
    taken = {"name": "taken", "targets": [{"model": "well/m"}]}
    client.post("/api/routes", json=taken)
    assert error_of(client.post("/api/routes", json=taken), 409)
    assert "no slash" in error_of(client.post("/api/routes", json={**taken, "name": "a/b"}), 400)["message"]
    unknown = {"name": "x", "targets": [{"model": "nobody/m"}]}
    assert error_of(client.post("/api/routes", json=unknown), 404)
    weightless = {"name": "x", "targets": [{"model": "well/m", "wieght": 2}]}
    assert "Nearest: weight" in error_of(client.post("/api/routes", json=weightless), 422)["message"]
    client.delete("/api/routes/taken")


def test_a_member_sees_routes_and_changes_none(member: httpx.Client) -> None:
    assert member.get("/api/routes").status_code == 200
    seen = member.get("/api/health").json()["models"]
    assert seen
    assert all((one["last_error"], one["said"]) == (None, "") for one in seen)
    body = {"targets": [{"model": "well/m"}]}
    assert error_of(member.post("/api/routes", json={"name": "mine", **body}), 403)
    assert error_of(member.put("/api/routes/mine", json=body), 403)
    assert error_of(member.delete("/api/routes/mine"), 403)
