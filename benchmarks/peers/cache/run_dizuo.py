"""Dizuo's cache on SQLite, as the gateway calls it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from worker import Found, serve

from dizuo.core.events import Done, TextDelta
from dizuo.gateway.agreement import Lexicon
from dizuo.gateway.cache import Cache, Question
from dizuo.gateway.local import LocalEmbedder
from dizuo.knowledge.analyze import fold, terms
from dizuo.knowledge.rarity import rarity
from dizuo.platform import migrate
from dizuo.platform.blobs import Blobs
from dizuo.platform.database import Database


def main() -> None:
    embedder = LocalEmbedder()
    lexicon = Lexicon(fold, terms, rarity)
    state: dict[str, Cache] = {}

    def keep(texts: Sequence[str]) -> None:
        home = Path(tempfile.mkdtemp(prefix="dizuo-bench-cache-"))
        database = Database(f"sqlite:///{home / 'dizuo.db'}")
        migrate.upgrade(database, Blobs(home / "blobs"), home)
        state["cache"] = cache = Cache(
            database, lambda: embedder, lexicon, policy="semantic", ttl_s=86_400, limit_mb=256
        )
        for number, text in enumerate(texts):
            cache.keep(_question(text), "", [TextDelta(text=str(number)), Done()], ())

    def look(text: str) -> Found | None:
        found = state["cache"].find(_question(text))
        if found is None:
            return None
        (said, _done) = found.events
        assert isinstance(said, TextDelta)
        return int(said.text), found.score, found.kind == "semantic"

    serve(keep, look)


def _question(text: str) -> Question:
    return Question("bench/model", "", text)


if __name__ == "__main__":
    main()
