"""Conversations that are answered by finding a place in the text and copying from it.

A model must be able to do this before it can read or fill in a call, and plain text teaches it slowly:

    table      lines of names and what belongs to each, then several names in another order
               (multi-query associative recall: Arora et al. 2024, "Zoology", arXiv:2312.04927, §3)
    sentence   a passage, then some of the words of one of its sentences: that sentence
    repeat     a text, and the same text again (Olsson et al. 2022, "In-context learning and induction heads")
"""

import random
import re
from typing import Any

from dizuo.data.programs.questions import sentences
from dizuo.data.programs.reading import Paragraph
from dizuo.data.programs.values import value

_WORD = re.compile(r"[A-Za-z][a-z’'-]{2,}")
_HAN = re.compile(r"[\u4e00-\u9fff]{2,}")
_VALUES = ("city", "date", "time", "number", "code", "person", "email", "int:2:900", "order")
_ASK_SENTENCE = {
    "en": ("{passage}\n\nWhich sentence says: {words}?", "{passage}\n\nQuote the sentence about {words}.",
           "Find the sentence with {words} in this text:\n\n{passage}"),
    "zh": ("{passage}\n\n哪一句提到：{words}？", "{passage}\n\n请引用提到{words}的那句话。",
           "在下面的文字中找出含有{words}的句子：\n\n{passage}"),
}  # fmt: skip
_ASK_REPEAT = {
    "en": ("Repeat: {text}", "{text}\n\nSay this again, word for word.", "Copy this text:\n{text}"),
    "zh": ("重复一遍：{text}", "{text}\n\n请一字不差地再说一遍。", "抄写下面的文字：\n{text}"),
}
_MOST_REPEATED = {"en": 260, "zh": 100}  # characters


def table(passage: Paragraph, language: str, chance: random.Random) -> dict[str, Any] | None:
    """Names and values in lines, then a turn for each of some of the names. None for a passage with too few words."""
    keys = names(passage.text, language, chance)
    if len(keys) < 4:
        return None
    words = names(passage.text, language, chance)
    pairs = []
    for name in keys[: chance.randint(4, 9)]:
        held = chance.choice(words) if chance.random() < 0.5 else value(chance.choice(_VALUES), language, chance).text
        pairs.append((name, held))
    joint = chance.choice((": ", " - ", " = ", "\t", " | ") if language == "en" else ("：", " - ", "=", "\t", " | "))
    listing = "\n".join(f"{name}{joint}{held}" for name, held in pairs)
    asked = chance.sample(pairs, min(len(pairs), chance.randint(3, 6)))
    turns: list[dict[str, Any]] = []
    for n, (name, held) in enumerate(asked):
        question = f"{listing}\n\n{name}" if n == 0 else name
        turns += [{"role": "user", "content": question + chance.choice(("?" if language == "en" else "？", ""))},
                  {"role": "assistant", "content": held}]  # fmt: skip
    return {"messages": turns, "tools": []}


def sentence(passage: Paragraph, language: str, chance: random.Random) -> dict[str, Any] | None:
    """Two turns that each ask for a sentence by words of it. None for a passage of fewer than three sentences."""
    found = [passage.text[start:end] for start, end in sentences(passage.text)]
    if len(found) < 3:
        return None
    turns: list[dict[str, Any]] = []
    for n, one in enumerate(chance.sample(found, 2)):
        words = names(one, language, chance)[: chance.randint(2, 4)]
        if not words:
            return None
        told = (", " if language == "en" else "、").join(words)
        asked = chance.choice(_ASK_SENTENCE[language]).format(passage=passage.text, words=told)
        turns += [{"role": "user", "content": asked if n == 0 else told}, {"role": "assistant", "content": one}]
    return {"messages": turns, "tools": []}


def repeat(passage: Paragraph, language: str, chance: random.Random) -> dict[str, Any]:
    """A stretch of the passage, or its words in a random order, once more."""
    text = passage.text[: chance.randint(30, _MOST_REPEATED[language])]
    if chance.random() < 0.5:
        text = (" " if language == "en" else "").join(names(text, language, chance)) or text
    asked = chance.choice(_ASK_REPEAT[language]).format(text=text)
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": text}], "tools": []}


def names(text: str, language: str, chance: random.Random) -> list[str]:
    """Different words of the text, or pieces of two to four Chinese characters, in a random order."""
    if language == "en":
        found = _WORD.findall(text)
    else:
        found = []
        for run in _HAN.findall(text):
            while len(run) > 1:
                size = chance.randint(2, 4)
                found.append(run[:size])
                run = run[size:]
    found = list(dict.fromkeys(one for one in found if len(one) > 1))
    chance.shuffle(found)
    return found
