"""The labelled questions that the cache is fitted and measured on: what is kept, what is asked, and which fit.

Every set is cut in two by what is asked about, so that nothing of what is measured was seen in fitting:

    banking   Banking77: same intent, same answer; its sibling intents are the hard negatives. Cut by intent
    mock      GPTCache's own sentences and their rewordings. Cut by sentence
    tatoeba   sentences that are translations of one sentence of the other language, in English and in Chinese; every
              other sentence is a negative. Cut by groups that share a translation
    reading   questions on the same passage (SQuAD 2.0, CMRC 2018): none has another's answer. Cut by passage
    frames    our own (caching_frames.json): honest paraphrases, and twins with a reversed direction, a negation, an
              opposite, a changed number, date, name, unit or kind of question. Cut by frame
    blind     frames (caching_blind.json) by an author who had seen neither the cache nor our frames. Cut by frame; no
              rule may be taken from what goes wrong on the half that is measured
    again     frames (caching_again.json) of how people ask the same once more, by authors who had seen neither the
              cache nor any other set. What went wrong on the earlier ones' taught rules, and they are fitted on; the
              last came after that, and theirs are measured

`frames`, `blind` and `again` are asked pair by pair; of the others a part is kept and a part asked, as a cache meets
them. Where labels are wrong, caching_read.json says so: pairs that a person has read, and found to ask the same or not.
"""

import hashlib
import json
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from dizuo.evals.sets import cmrc, rows_of, squad
from dizuo.gateway.writing import normalised
from dizuo.knowledge.analyze import fold

Half = Literal["fit", "test"]
Language = Literal["en", "zh"]

FRAMES, BLIND, AGAIN = "frames", "blind", "again"


@dataclass(frozen=True)
class Kept:
    """A question whose answer is kept. `group`: what it asks; all of a group fit each other."""

    text: str
    group: str


@dataclass(frozen=True)
class Collection:
    """Kept questions, and others that are asked of them."""

    name: str
    language: Language
    kept: Sequence[Kept]
    asked: Sequence[Kept]
    rule: str = ""  # of our own pairs: what makes the twin another question; "same" for paraphrases


def collections(folder: Path, half: Half) -> Iterator[Collection]:
    """Every set's half."""
    yield banking(folder, half)
    yield mock(folder, half)
    yield from (tatoeba(folder, language, half) for language in ("en", "zh"))
    yield reading(folder, "en", half)
    yield reading(folder, "zh", half)
    yield from (one for language in ("en", "zh") for one in frames(language, half))
    yield from (one for language in ("en", "zh") for one in blind(language, half))
    yield from (one for language in ("en", "zh") for one in again(language, half))


def banking(folder: Path, half: Half, most: int = 2000) -> Collection:
    """Banking77 (Casanueva et al., 2020), train and test together."""
    rows = [row for part in ("train", "test") for row in rows_of(folder / "banking77" / f"{part}.jsonl.gz")]
    chosen = sorted((row for row in rows if _half(row["label"]) == half), key=lambda row: _number(row["text"]))
    texts = [Kept(" ".join(row["text"].split()), row["label"]) for row in chosen]
    return Collection("banking", "en", texts[:most], texts[most : 2 * most])


def mock(folder: Path, half: Half) -> Collection:
    """GPTCache's benchmark: the sentences are kept, their rewordings asked. Repeated sentences are one group."""
    kept, asked = {}, []
    for row in rows_of(folder / "gptcache_mock_pairs" / "pairs.jsonl.gz"):
        group = row["origin"].strip().lower()
        if _half(group) == half:
            kept[group] = Kept(row["origin"], group)
            asked.append(Kept(row["similar"], group))
    return Collection("mock", "en", list(kept.values()), asked)


def tatoeba(folder: Path, language: Language, half: Half, most: int = 1200) -> Collection:
    """Of each group of several, one is kept and up to four asked; as many single sentences are kept and asked."""
    groups = _tatoeba(folder)[language]
    chosen = [sorted(group, key=_number) for key, group in sorted(groups.items()) if _half(key) == half]
    several = sorted((g for g in chosen if len(g) > 1), key=lambda g: _number(g[0]))[:most]
    single = sorted((g for g in chosen if len(g) == 1), key=lambda g: _number(g[0]))[: 2 * most]
    kept = [Kept(g[0], g[0]) for g in several] + [Kept(g[0], g[0]) for g in single[:most]]
    asked = [Kept(one, g[0]) for g in several for one in g[1:5]] + [Kept(g[0], g[0]) for g in single[most:]]
    return Collection("tatoeba", language, kept, asked)


def reading(folder: Path, language: Language, half: Half, most: int = 1500) -> Collection:
    """Questions on passages: of each passage's, every other one is kept."""
    of_passage: dict[str, list[str]] = defaultdict(list)
    for asked in (squad if language == "en" else cmrc)(folder).questions:
        if _half(asked.passage) == half:
            of_passage[asked.passage].append(asked.text.strip())
    kept: list[Kept] = []
    others: list[Kept] = []
    for passage in sorted(of_passage, key=_number):
        for n, text in enumerate(dict.fromkeys(of_passage[passage])):
            (others if n % 2 else kept).append(Kept(text, text))
    return Collection("reading", language, kept[:most], others[:most])


def frames(language: Language, half: Half) -> Iterator[Collection]:
    """Our own pairs, each a collection of one kept question and one asked; once, for the order changes nothing."""
    yield from _pair_by_pair(FRAMES, language, half)


def blind(language: Language, half: Half) -> Iterator[Collection]:
    """The pairs of the author who had not seen the cache; `frames` for the rest."""
    yield from _pair_by_pair(BLIND, language, half)


def again(language: Language, half: Half) -> Iterator[Collection]:
    """The pairs of how people ask once more; `frames` for the rest."""
    yield from _pair_by_pair(AGAIN, language, half)


def _pair_by_pair(name: str, language: Language, half: Half) -> Iterator[Collection]:
    for frame in _frames_of(name, language, half):
        yield from (_asked_once(name, language, *pair) for pair in _pairs(frame))


def _frames_of(name: str, language: Language, half: Half) -> Sequence[Mapping[str, Any]]:
    kept = _json(f"caching_{name}.json")
    if name == AGAIN:  # cut by author
        return kept[half][language]
    if name == BLIND:
        return [frame for frame in kept[language] if _half(frame["same"][0]) == half]
    return kept[language][0 if half == "fit" else 1 :: 2]


def _pairs(frame: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What is kept, what is asked, and the rule that makes it another question, or "same"."""
    filled = [[form.format(**slot) for form in frame["same"]] for slot in frame["slots"]]
    for slot, forms in zip(frame["slots"], filled, strict=True):
        yield from ((a, b, "same") for a, b in combinations(forms, 2))
        for rule, form in frame["other"]:
            yield from ((one, form.format(**slot), rule) for one in forms)
    for forms, others in combinations(filled, 2):
        yield from ((a, b, frame["by"]) for a in forms for b in others)


def framed(name: str, language: Language, half: Half) -> Collection:
    """The pairs of such a set in one store: the first wording of every filling is kept, the others and the
    twins are asked."""
    kept: list[Kept] = []
    asked: list[Kept] = []
    for number, frame in enumerate(_frames_of(name, language, half)):
        for n, slot in enumerate(frame["slots"]):
            first, *others = (form.format(**slot) for form in frame["same"])
            group = f"{number} {n}"
            # Every other filling is only asked: what is kept of its siblings fits it in all but the slot.
            if n % 2 == 0:
                kept.append(Kept(first, group))
            asked += [Kept(other, group) for other in others]
            asked += [Kept(form.format(**slot), f"{group} {m}") for m, (_rule, form) in enumerate(frame["other"])]
    return Collection(name, language, kept, asked)


def _asked_once(name: str, language: Language, kept: str, asked: str, rule: str) -> Collection:
    return Collection(name, language, [Kept(kept, "a")], [Kept(asked, "a" if rule == "same" else "b")], rule)


def fits(asked: Kept, kept: Kept) -> bool:
    """Whether the kept answer fits what is asked: by the label, or by those who have read the pair."""
    read = _read().get(frozenset((_plain(asked.text), _plain(kept.text))))
    return asked.group == kept.group if read is None else read


@cache
def _read() -> Mapping[frozenset[str], bool]:
    pairs = _json("caching_read.json")["pairs"]
    return {frozenset((_plain(a), _plain(b))): same for a, b, same in pairs}


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _json(name: str) -> Any:
    return json.loads(Path(__file__).with_name(name).read_text("utf-8"))


def _number(text: str) -> int:
    """A number of the text's own: an order that neither the machine nor the file decides."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def _half(key: str) -> Half:
    return "fit" if _number("half " + key) % 2 == 0 else "test"


@cache
def _tatoeba(folder: Path) -> Mapping[Language, Mapping[str, Sequence[str]]]:
    """Sentences of each language that share a translation, by the component's first sentence."""
    pairs = [
        (row["en"].strip(), row["zh"].strip())
        for part in ("train", "validation", "test")
        for row in _lines(folder / "translation" / f"tatoeba-en-zh.{part}.jsonl.zst")
    ]
    found: dict[Language, Mapping[str, Sequence[str]]] = {}
    sides: tuple[tuple[Language, int], ...] = (("en", 0), ("zh", 1))
    for language, of in sides:
        by_other: dict[str, list[str]] = defaultdict(list)
        for pair in pairs:
            by_other[pair[1 - of]].append(pair[of])
        alike: dict[str, list[str]] = defaultdict(list)  # 等一下！ and 等一下。
        for pair in pairs:
            alike[normalised(pair[of], fold)].append(pair[of])
        found[language] = _components([*by_other.values(), *alike.values()])
    return found


def _components(links: Iterable[Sequence[str]]) -> Mapping[str, Sequence[str]]:
    leader: dict[str, str] = {}

    def head(text: str) -> str:
        while leader.setdefault(text, text) != text:
            text = leader[text]
        return text

    for group in links:
        for one in group:
            leader[head(one)] = head(group[0])
    found: dict[str, list[str]] = defaultdict(list)
    for text in leader:
        found[head(text)].append(text)
    return {min(group): group for group in found.values()}


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    unpacked = subprocess.run(["zstd", "-dc", str(file)], stdout=subprocess.PIPE, check=True).stdout
    yield from map(json.loads, unpacked.decode().splitlines())
