"""Ours: files come in by the durable job, through parser, chunker, keyword index and embedder."""

from pathlib import Path

from harness import compete

from dizuo.wiring import House


class Dizuo:
    """A home of its own. As with a running server, the jobs' worker, the parser and the model are up."""

    def __init__(self, store: Path) -> None:
        self.house = House.open({"DIZUO_HOME": str(store)})
        self.house.jobs.start()
        assert self.house.embedder is not None
        self.house.embedder.embed(["warm"])
        warm = store / "warm.txt"
        warm.write_text("warm", "utf-8")
        self._add("warm", warm)

    def index(self, folder: Path) -> None:
        self._add("passages", folder)

    def _add(self, name: str, path: Path) -> None:
        *_, job = self.house.jobs.watch(self.house.library.add(name, [path]).id)
        assert job.status == "done", job
        assert job.failed == 0, job

    def search(self, question: str, limit: int) -> list[str]:
        return [hit.document.rsplit("/", 1)[-1] for hit in self.house.library.search("passages", question, limit).hits]


compete(Dizuo)
