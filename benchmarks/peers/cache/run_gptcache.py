"""GPTCache as its documentation shows it for similar questions: SQLite, faiss, distance of the vectors; and its own
class for sentence-transformers, with the same weights. It answers with the nearest, whatever its score."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptcache import Cache, Config  # pyright: ignore[reportMissingImports]
from gptcache.adapter.api import get, put  # pyright: ignore[reportMissingImports]
from gptcache.embedding import SBERT  # pyright: ignore[reportMissingImports]
from gptcache.manager import CacheBase, VectorBase, get_data_manager  # pyright: ignore[reportMissingImports]
from gptcache.processor.pre import get_prompt  # pyright: ignore[reportMissingImports]
from gptcache.similarity_evaluation.distance import SearchDistanceEvaluation  # pyright: ignore[reportMissingImports]
from worker import Found, model_folder, serve


class Scored(SearchDistanceEvaluation):
    """Its own, which tells what it said."""

    last = 0.0

    def evaluation(self, src_dict: dict[str, Any], cache_dict: dict[str, Any], **options: Any) -> float:
        self.last = super().evaluation(src_dict, cache_dict, **options)
        return self.last


def main() -> None:
    encoder = SBERT(str(model_folder()))
    scored = Scored()
    state: dict[str, Cache] = {}

    def keep(texts: Sequence[str]) -> None:
        folder = Path(tempfile.mkdtemp(prefix="dizuo-bench-gptcache-"))
        manager = get_data_manager(
            CacheBase("sqlite", sql_url=f"sqlite:///{folder / 'cache.db'}"),
            VectorBase("faiss", dimension=encoder.dimension, index_path=str(folder / "faiss.index")),
        )
        state["cache"] = cache = Cache()
        cache.init(
            pre_embedding_func=get_prompt,
            embedding_func=encoder.to_embeddings,
            data_manager=manager,
            similarity_evaluation=scored,
            config=Config(similarity_threshold=0.0),
        )
        for number, text in enumerate(texts):
            put(text, str(number), cache_obj=cache)

    def look(text: str) -> Found | None:
        found = get(text, cache_obj=state["cache"])
        return None if found is None else (int(found), float(scored.last) / 4, True)

    serve(keep, look)


if __name__ == "__main__":
    main()
