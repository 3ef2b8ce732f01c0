"""/api/memories, as a client sees it."""

from tests.api.conftest import Served


def test_a_memory_is_kept_found_changed_and_deleted(server: Served) -> None:
    with server.client() as client, server.client(server.member_key) as member:
        for one in (client, member):
            one.delete("/api/memories")  # how runs of other tests went
        made = client.post("/api/memories", json={"about": "home", "text": "She lives in Lisbon."})
        assert made.status_code == 201
        number = made.json()["id"]
        found = client.get("/api/memories", params={"query": "Where does she live?"}).json()["memories"]
        assert [one["text"] for one in found] == ["She lives in Lisbon."]
        changed = client.patch(f"/api/memories/{number}", json={"text": "She lives in Porto."}).json()
        assert changed["text"] == "She lives in Porto."
        assert member.get("/api/memories").json() == {"memories": []}
        assert member.patch(f"/api/memories/{number}", json={"text": "x"}).status_code == 404
        assert client.delete(f"/api/memories/{number}").json() == {"deleted": 1}
        assert client.get(f"/api/memories/{number}").status_code == 404
        assert client.delete("/api/memories").json() == {"deleted": 0}
