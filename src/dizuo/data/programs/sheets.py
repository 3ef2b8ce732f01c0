"""Short documents of made-up facts (policies, data sheets, minutes, logs), with a question about one of them.

The answer stands in the document word for word. In the silent ones the fact that is asked for is left out. A fact keeps
its shape, never its value: what is learnt is to look.
"""

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from dizuo.data.programs.values import value

_SLOT = re.compile(r"\{(\w+)\}")
_HELD_OUT = 5  # every fifth kind of document is in `test` only


@cache
def _listing() -> Sequence[Mapping[str, Any]]:
    return json.loads(files("dizuo.data.programs").joinpath("sheets.json").read_text("utf-8"))


def rows(split: str, seed: int, silent: float = 0.25) -> Iterator[dict[str, Any]]:
    """Endless rows with the fields of SQuAD 2.0 and `sentence`, the one that answers ("" for none).

    English and Chinese take turns; `silent` is the share that the document does not answer.
    """
    kinds = [one for n, one in enumerate(_listing()) if (n % _HELD_OUT == _HELD_OUT - 1) == (split == "test")]
    n = 0
    while True:
        language = ("en", "zh")[n % 2]
        chance = random.Random(f"{seed}:{split}:{n}")  # noqa: S311  # no secret
        yield {"id": f"sheets:{split}:{n}", "lang": language, **_row(chance.choice(kinds), language, chance, silent)}
        n += 1


def _row(kind: Mapping[str, Any], language: str, chance: random.Random, silent: float) -> dict[str, Any]:
    title = _SLOT.sub(lambda match: value(match[1], language, chance).text, kind["title"][language])
    facts = chance.sample(kind["facts"], chance.randint(2, len(kind["facts"])))
    if chance.random() < silent and len(facts) > 1:
        asked, *said = facts
    else:
        asked, said = chance.choice(facts), facts
    answer, sentence, lines = "", "", []
    for fact in said:
        made = value(fact["value"], language, chance).text
        line = fact[language]["said"].replace("{v}", made)
        lines.append(line)
        if fact is asked:
            answer, sentence = made, line
    passage = _laid_out(title, lines, language, chance)
    question = chance.choice(asked[language]["asked"])
    at = passage.index(sentence) + sentence.index(answer) if answer else 0
    return {
        "title": title,
        "passage": passage,
        "question": question,
        "answers": [{"text": answer, "answer_start": at}] if answer else [],
        "is_impossible": not answer,
        "sentence": sentence,
    }


def _laid_out(title: str, lines: Sequence[str], language: str, chance: random.Random) -> str:
    form = chance.randrange(4)
    if form == 0:
        return f"{title}\n\n" + "\n".join(f"- {line}" for line in lines)
    if form == 1:
        return f"# {title}\n\n" + "\n".join(f"{n}. {line}" for n, line in enumerate(lines, 1))
    if form == 2:
        return f"{title}\n" + "\n".join(lines)
    return f"{title}{'. ' if language == 'en' else '。'}" + (" " if language == "en" else "").join(lines)
