"""Documented programs that make training rows: the same rows for the same seed, as many in English as in Chinese.

No row is copied from an evaluation set (tests/data/test_programs.py measures the overlap of word 13-grams). `train`,
`validation` and `test` differ in seed; in `test` the tools and kinds of documents are such as `train` never shows.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from dizuo.core.errors import UserError
from dizuo.data.overlap import Overlap, evaluation_texts
from dizuo.data.programs import chat, composed, elsewhere, grounded, reading, recall, sheets, tools
from dizuo.data.reading import PARTS, read_reading
from dizuo.data.sources import read

SEED = 20261124
PREFIX = "programs/"
_TEXT = {"en": "text/en-wikipedia", "zh": "text/zh-wikipedia"}
_TEXT_SPLIT = {"train": "train", "validation": "val", "test": "val"}
# Encyclopedia articles are skipped so that the three splits read different ones.
_SKIPPED = {"train": 0, "validation": 0, "test": 120}
# Of the evaluation sets these quote encyclopedias: 4 in 100 Chinese articles share 13 words with one.
_SCORED = ("squad_v2_en", "cmrc2018_zh", "kdconv_zh")
_TATOEBA = "translation/tatoeba-en-zh"
_SILENT = 0.25
# Questions to one passage in a conversation: each answer then costs its question only. Fewer of them are silent than
# those of a reader, which says beside each span how sure it is: a small chat model refused nearly everything.
_PER_PASSAGE, _REFUSED = 6, 0.15
_ROUNDS = 4  # in which people's questions, which are few, come in other orders
_ELSEWHERE = 3  # passages that a question is asked of in vain
# Of the conversations in the form of `dizuo ask`, whose rules take more tokens than a passage.
_PRODUCT = 0.15
# Passages of a reader that is pretrained are short: a window then costs half, and twice as many are seen in the time.
_PRETRAIN_CHARACTERS = {"en": 560, "zh": 260}


@dataclass(frozen=True)
class Program:
    """`rows(split, data)` are endless or end with the text; the first `counts[split]` are the set."""

    about: str
    licence: str
    sources: tuple[str, ...]  # catalogue names of the text that is quoted
    counts: Mapping[str, int]
    rows: Callable[[str, Path | None], Iterator[dict[str, Any]]]


def program_rows(name: str, split: str, data: Path | None) -> Iterator[dict[str, Any]]:
    """The rows of a program, named `programs/…`; `data` is the folder of the texts that it quotes.

    Raises UserError for an unknown program or split.
    """
    program = PROGRAMS.get(name)
    if program is None:
        raise UserError("No program is named {name!r}. Programs: {known}.", name=name, known=", ".join(PROGRAMS))
    if split not in program.counts:
        raise UserError("The set {name} has no split {split!r}; it has {known}.", name=name, split=split,
                        known=", ".join(program.counts))  # fmt: skip
    return islice(program.rows(split, data), program.counts[split])


def _articles(
    language: str, split: str, data: Path | None, longest: int | None = None
) -> Iterator[list[reading.Paragraph]]:
    """Passages of encyclopedia articles, less those that share a run of words with the sets for scores."""
    scored = _scored(data)
    documents = islice(read(_TEXT[language], _TEXT_SPLIT[split], data), _SKIPPED[split], None)
    clean = (document for document in documents if not scored.hits(document["text"]))
    return reading.paragraphs(clean, language, longest)


@cache
def _scored(data: Path | None) -> Overlap:
    return Overlap(evaluation_texts(data, _SCORED))


def _in_turn(*streams: Iterator[Any]) -> Iterator[Any]:
    """One of each in turn, until the shortest ends."""
    for group in zip(*streams, strict=False):
        yield from group


def _reading(language: str, split: str, data: Path | None) -> Iterator[dict[str, Any]]:
    """Rows to pretrain a reader on: two of each passage, masks and twisted questions among them."""
    articles = _articles(language, split, data, _PRETRAIN_CHARACTERS[language])
    return reading.rows(articles, language, SEED, natural=False, per_passage=2, silent=_SILENT)


def _sheets(language: str, split: str, _data: Path | None) -> Iterator[dict[str, Any]]:
    return (row for row in sheets.rows(split, SEED) if row["lang"] == language)


def _grounded(split: str, data: Path | None) -> Iterator[dict[str, Any]]:
    """Answers in a passage's words: half about encyclopedia paragraphs, half about made-up documents."""
    encyclopedia = _in_turn(*(
        _by_passage(
            reading.rows(
                _articles(one, split, data, 600), one, SEED, natural=True, per_passage=_PER_PASSAGE, silent=_REFUSED
            )
        )
        for one in ("en", "zh")
    ))  # fmt: skip
    made_up = _by_passage(sheets.rows(split, SEED + 1, _REFUSED))
    others: dict[str, list[dict[str, Any]]] = {"en": [], "zh": []}  # the last passages by language
    for n, rows in enumerate(_in_turn(encyclopedia, made_up)):
        chance = random.Random(f"{SEED}:{split}:{n}")  # noqa: S311  # no secret
        row = rows[0]
        near = others[row["lang"]]
        if chance.random() >= _PRODUCT or not near:
            made = grounded.short(rows, chance)
        else:
            made = grounded.product(row, chance.sample(near, min(len(near), chance.choice((0, 1, 1, 2)))), chance)
        others[row["lang"]] = [row, *near[:5]]
        yield {"id": f"grounded:{split}:{n}", "lang": row["lang"], **made}


def _cloze(split: str, data: Path | None) -> Iterator[dict[str, Any]]:
    """Masked sentences and twisted questions, those to one passage together, in both languages."""
    streams = (
        _by_passage(
            reading.rows(
                _articles(one, split, data, 600), one, SEED + 2, natural=False, per_passage=_PER_PASSAGE, silent=0
            )
        )
        for one in ("en", "zh")
    )
    for n, rows in enumerate(_in_turn(*streams)):
        chance = random.Random(f"{SEED}:cloze:{split}:{n}")  # noqa: S311  # no secret
        yield {"id": f"cloze:{split}:{n}", "lang": rows[0]["lang"], **grounded.short(rows, chance)}


def _open_calls(split: str, data: Path | None) -> Iterator[dict[str, Any]]:
    passages = {one: (passage for article in _articles(one, split, data, 600) for passage in article)
                for one in ("en", "zh")}  # fmt: skip
    return composed.open_rows(passages, split, SEED)


def _by_passage(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The questions to one passage together."""
    for _passage, group in itertools.groupby(rows, key=lambda row: row["passage"]):
        yield list(group)


def _asked(split: str, data: Path | None) -> Iterator[dict[str, Any]]:
    """Questions of people about encyclopedia passages: those to one passage together, in `train` several times in
    other orders and forms; some also as `dizuo ask` puts them. `test` are the passages that evals/reading.py scores."""
    others: list[dict[str, Any]] = []
    for round_, name in itertools.product(range(_ROUNDS if split == "train" else 1), PARTS):
        language = "en" if name.endswith("_en") else "zh"
        chance = random.Random(f"{SEED}:asked:{name}:{split}:{round_}")  # noqa: S311  # no secret
        found = ({**row, "lang": language} for row in read_reading(name, split, data))
        for n, rows in enumerate(_by_passage(found)):
            named = f"asked:{name}:{split}:{round_}:{n}"
            # SQuAD's half without an answer would teach to refuse: as many stay as a third of the others.
            answered = [row for row in rows if row["answers"]]
            silent = [row for row in rows if not row["answers"]]
            kept = answered + chance.sample(silent, min(len(silent), -(-len(answered) // 3)))
            chance.shuffle(kept)
            for first in range(0, len(kept), _PER_PASSAGE):
                made = grounded.short(kept[first : first + _PER_PASSAGE], chance)
                yield {"id": f"{named}:{first}", "lang": language, **made}
            if chance.random() >= _PRODUCT or not kept:
                continue
            row = kept[0]
            near = chance.sample(others, min(len(others), chance.choice((0, 0, 1))))
            yield {"id": named, "lang": language, **grounded.product(row, near, chance)}
            others = [row, *others[:5]]


def _elsewhere(language: str, split: str, data: Path | None) -> Iterator[dict[str, Any]]:
    (name,) = (one for one in PARTS if one.endswith(f"_{language}"))
    return elsewhere.rows([{**row, "lang": language} for row in read_reading(name, split, data)], _ELSEWHERE)


def _recall(split: str, data: Path | None) -> Iterator[dict[str, Any]]:
    """Tables, sentences and repetitions made of encyclopedia paragraphs, in turn, each in both languages."""
    passages = {one: (passage for article in _articles(one, split, data, 600) for passage in article)
                for one in ("en", "zh")}  # fmt: skip
    n = 0
    for kind in itertools.cycle((recall.table, recall.table, recall.sentence, recall.repeat)):
        for language in ("en", "zh"):
            chance = random.Random(f"{SEED}:recall:{split}:{n}")  # noqa: S311  # no secret
            made = next((row for passage in passages[language] if (row := kind(passage, language, chance))), None)
            if made is None:
                return
            yield {"id": f"recall:{split}:{n}", "lang": language, **made}
            n += 1


def _small_talk(split: str, data: Path | None) -> Iterator[dict[str, Any]]:
    """Talk, definitions, small jobs and translations, in turn, each in both languages."""
    pairs = read(_TATOEBA, split, data)
    articles = {one: _articles(one, split, data) for one in ("en", "zh")}
    n = 0
    while True:
        chance = random.Random(f"{SEED}:talk:{split}:{n}")  # noqa: S311  # no secret
        for language in ("en", "zh"):
            defined = next((made for article in articles[language]
                            if (made := chat.definition(article, language, chance))), None)  # fmt: skip
            pair = next(pairs, None)
            if defined is None or pair is None:
                return
            for made in (
                chat.talk(language, chance),
                chat.job(language, chance),
                chat.job(language, chance),
                defined,
                chat.translation(pair, chance),
            ):
                yield {"id": f"small-talk:{split}:{n}", "lang": language, **made}
                n += 1


def _counts(train: int, held_out: int) -> Mapping[str, int]:
    return {"train": train, "validation": held_out, "test": held_out}


_WIKIPEDIA = "CC BY-SA 4.0 (Wikipedia)"
PROGRAMS: Mapping[str, Program] = {
    "programs/tool-calls": Program(
        "typed signatures, requests and calls; asking back; no fitting tool",
        "Apache-2.0",
        (),
        _counts(24_000, 400),
        lambda split, _data: tools.rows(split, SEED),
    ),
    "programs/grounded": Program(
        "passages with questions, quoted answers and refusals, as conversations",
        _WIKIPEDIA,
        tuple(_TEXT.values()),
        _counts(24_000, 400),
        _grounded,
    ),
    "programs/composed-calls": Program(
        "signatures put together from verbs, things and parameters; requests and calls",
        "Apache-2.0",
        (),
        _counts(24_000, 400),
        lambda split, _data: composed.rows(split, SEED),
    ),
    "programs/open-calls": Program(
        "signatures, requests and calls about things that are made up from words of a text, no tool twice",
        _WIKIPEDIA,
        tuple(_TEXT.values()),
        _counts(24_000, 400),
        _open_calls,
    ),
    "programs/cloze": Program(
        "passages with masked sentences and twisted questions, answered by a span, as conversations",
        _WIKIPEDIA,
        tuple(_TEXT.values()),
        _counts(24_000, 400),
        _cloze,
    ),
    "programs/asked": Program(
        "questions of people about encyclopedia passages, with quoted answers and refusals, as conversations",
        "CC BY-SA 4.0 (SQuAD 2.0, CMRC 2018)",
        tuple(PARTS),
        _counts(10_000, 10_000),
        _asked,
    ),
    "programs/recall": Program(
        "names and values, sentences and repetitions to be found in a text and copied, as conversations",
        _WIKIPEDIA,
        tuple(_TEXT.values()),
        _counts(40_000, 400),
        _recall,
    ),
    "programs/small-talk": Program(
        "greetings, identity, definitions, small jobs, translations",
        f"{_WIKIPEDIA}, CC BY 2.0 FR (Tatoeba)",
        (*_TEXT.values(), _TATOEBA),
        _counts(20_000, 400),
        _small_talk,
    ),
    **{
        f"programs/reading-{language}": Program(
            "recurring spans and rule-made questions over encyclopedia paragraphs, with silent ones",
            _WIKIPEDIA,
            (_TEXT[language],),
            _counts(60_000, 400),
            lambda split, data, language=language: _reading(language, split, data),
        )
        for language in ("en", "zh")
    },
    **{
        f"programs/elsewhere-{language}": Program(
            "questions of people asked of passages that do not answer them",
            f"CC BY-SA 4.0 ({credit})",
            (name,),
            {**_counts(6_000, 400), "fold-0": 6_000, "fold-1": 6_000},
            lambda split, data, language=language: _elsewhere(language, split, data),
        )
        for language, name, credit in (("en", "squad_v2_en", "SQuAD 2.0"), ("zh", "cmrc2018_zh", "CMRC 2018"))
    },
    **{
        f"programs/sheets-{language}": Program(
            "made-up documents with a question each",
            "Apache-2.0",
            (),
            _counts(6_000, 400),
            lambda split, data, language=language: _sheets(language, split, data),
        )
        for language in ("en", "zh")
    },
}
