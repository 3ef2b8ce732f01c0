"""How well knowledge bases find: questions whose passage is known, against the real chunker, index and fusion.

    python -m dizuo.evals.retrieval --data FOLDER

makes three knowledge bases in a folder of its own (English, Chinese, both together), asks every question and prints
at which rank a chunk of the right passage came, for each way of searching by itself and for both fused.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dizuo.core.documents import ParseReport, SearchResult
from dizuo.core.protocols import Embedder
from dizuo.evals import sets
from dizuo.evals.fitting import wilson
from dizuo.knowledge.chunk import chunk
from dizuo.knowledge.retrieve import Retriever
from dizuo.knowledge.store import PreparedDocument, Store, document_id_of, embedded_text
from dizuo.knowledge.vectors import embed_chunks
from dizuo.platform import migrate
from dizuo.platform.blobs import Blobs
from dizuo.platform.database import Database

DEPTH = 50  # hits that are looked through for the right passage; past it a question counts as missed


@dataclass(frozen=True)
class Question:
    """A question and the passage that answers it."""

    text: str
    passage: str


@dataclass(frozen=True)
class Scenario:
    """A collection and what is asked of it."""

    name: str
    passages: Mapping[str, str]  # id -> text
    questions: Sequence[Question]


@dataclass(frozen=True)
class Recall:
    """A share with its 95 % interval (Wilson 1927)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Report:
    """What came of one scenario, for one way of ranking."""

    scenario: str  # "en", or "en in mixed": its questions, asked of the mixed collection
    leg: str  # "keyword", "dense", "fused"
    n: int
    recall: Mapping[int, Recall]  # at 1, 5, 10
    mrr: float  # mean of 1/rank, 0 for a question that was missed
    p50_ms: float = field(compare=False)  # of a search, all legs together
    p95_ms: float = field(compare=False)


def squad(folder: Path) -> Scenario:
    """SQuAD 2.0, the answerable questions of the development set."""
    return _answerable(sets.squad(folder))


def cmrc(folder: Path) -> Scenario:
    """CMRC 2018, the questions of the development and trial sets."""
    return _answerable(sets.cmrc(folder))


def _answerable(of: sets.Collection) -> Scenario:
    return Scenario(of.name, of.passages, [Question(one.text, one.passage) for one in of.questions if one.answers])


def fill(
    store: Store,
    embedder: Embedder | None,
    name: str,
    passages: Mapping[str, str],
    made: dict[str, Any] | None = None,
    *,
    format: str = "text",
) -> None:
    """Makes a knowledge base with a document for each passage, named by its id, cut as an added file is.

    `made` keeps the vector of each text from one call to the next.
    """
    made = {} if made is None else made
    with store.database.write() as connection:
        knowledge_id = store.make(connection, name)
    cut = {}
    for passage, text in passages.items():
        cut[passage] = chunk(
            text,
            document_id=document_id_of(knowledge_id, passage),
            page_starts=(),
            format=format,
            count_tokens=embedder.count_tokens if embedder else len,
        )
    flat = [one for pieces in cut.values() for one in pieces]
    texts = {c.id: embedded_text(c.heading, c.text) for c in flat}
    if embedder and (new := [text for text in dict.fromkeys(texts.values()) if text not in made]):
        made.update(zip(new, embed_chunks(embedder, new), strict=True))
    vectors = {key: made[text] for key, text in texts.items() if made.get(text) is not None}
    with store.database.write() as connection:
        for passage, text in passages.items():
            document = PreparedDocument(
                id=document_id_of(knowledge_id, passage),
                name=passage,
                source=passage,
                media_type="text/plain",
                size_bytes=len(text.encode()),
                blob="",
                text=text,
                report=ParseReport(format="text"),
                meta={},
                chunks=cut[passage],
                vectors=vectors,
            )
            store.write_document(connection, knowledge_id, document, embedder.name if embedder else "")


def ask(search: Callable[[str], SearchResult], scenario: str, questions: Sequence[Question]) -> Sequence[Report]:
    """The reports of the keyword leg, the dense leg and their fusion."""
    ranks: dict[str, list[int | None]] = {"keyword": [], "dense": [], "fused": []}
    seconds: list[float] = []
    for question in questions:
        start = time.perf_counter()
        hits = search(question.text).hits
        seconds.append(time.perf_counter() - start)
        right = [(rank, hit) for rank, hit in enumerate(hits, start=1) if hit.document == question.passage]
        ranks["fused"].append(right[0][0] if right else None)
        for leg in ("keyword", "dense"):
            ranks[leg].append(min((hit.legs[leg].rank for _rank, hit in right if leg in hit.legs), default=None))
    return [_report(scenario, leg, found, seconds) for leg, found in ranks.items()]


def _report(scenario: str, leg: str, ranks: Sequence[int | None], seconds: Sequence[float]) -> Report:
    n = len(ranks)
    by_time = sorted(seconds)
    return Report(
        scenario=scenario,
        leg=leg,
        n=n,
        recall={k: _recall(sum(1 for rank in ranks if rank is not None and rank <= k), n) for k in (1, 5, 10)},
        mrr=sum(1 / rank for rank in ranks if rank is not None) / n,
        p50_ms=1000 * by_time[n // 2],
        p95_ms=1000 * by_time[int(n * 0.95)],
    )


def _recall(found: int, n: int) -> Recall:
    return Recall(found / n, *wilson(found, n))


def measure(scenarios: Sequence[Scenario], embedder: Embedder | None, home: Path) -> Sequence[Report]:
    """Each scenario in a knowledge base of its own, then all passages in one. `home` takes the database."""
    database = Database(f"sqlite:///{home / 'dizuo.db'}")
    blobs = Blobs(home / "blobs")
    migrate.upgrade(database, blobs, home)
    store, retriever = Store(database, blobs), Retriever(database, embedder)
    mixed = {passage: text for scenario in scenarios for passage, text in scenario.passages.items()}
    reports: list[Report] = []
    made: dict[str, Any] = {}
    try:
        for scenario in scenarios:
            fill(store, embedder, scenario.name, scenario.passages, made)
            reports += ask(_search(retriever, scenario.name), scenario.name, scenario.questions)
        if len(scenarios) > 1:
            fill(store, embedder, "mixed", mixed, made)
            for scenario in scenarios:
                reports += ask(_search(retriever, "mixed"), f"{scenario.name} in mixed", scenario.questions)
    finally:
        database.close()
    return reports


def _search(retriever: Retriever, name: str) -> Callable[[str], SearchResult]:
    return lambda query: retriever.search(name, query, DEPTH)


def _table(reports: Sequence[Report]) -> str:
    lines = [
        f"{'questions':14}{'leg':9}{'n':>6}  {'recall@1':>9}{'recall@5':>9}  {'95 %':14}{'@10':>7}{'MRR':>7}{'p50':>9}"
    ]
    for r in reports:
        at5 = r.recall[5]
        lines.append(
            f"{r.scenario:14}{r.leg:9}{r.n:6}  {r.recall[1].value:9.4f}{at5.value:9.4f}  "
            f"{f'{at5.low:.4f}–{at5.high:.4f}':14}{r.recall[10].value:7.4f}{r.mrr:7.4f}{r.p50_ms:6.1f} ms"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m dizuo.evals.retrieval", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets (squad_v2_en, cmrc2018_zh)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="ask every Nth question only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    from dizuo.gateway.local import LocalEmbedder

    scenarios = [
        Scenario(s.name, s.passages, s.questions[:: options.every]) for s in (squad(options.data), cmrc(options.data))
    ]
    with tempfile.TemporaryDirectory() as home:
        reports = measure(scenarios, LocalEmbedder(), Path(home))
    print(json.dumps([asdict(r) for r in reports], indent=1) if options.json else _table(reports))


if __name__ == "__main__":
    main(sys.argv[1:])
