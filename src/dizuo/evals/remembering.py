"""Whether a later session finds what was said in an earlier one: recall among many memories, beside having none.

    python -m dizuo.evals.remembering

Facts and questions are made by rule, in both languages: what somebody told of twelve people, five things of each, and
later a question that asks for it in other words ("allergic to nuts": "What must my boss not eat?"). A third of the
facts is told again with another value; the earlier one must not come back. Counted: the fact is the first that recall
finds, or among the five; without memory a model has nothing to answer from, whatever model it is.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dizuo.agents.memory import Memories
from dizuo.gateway.local import LocalEmbedder
from dizuo.knowledge.analyze import terms
from dizuo.platform import schema
from dizuo.platform.database import Database


@dataclass(frozen=True)
class Told:
    """A fact, what it is about, and how it is asked for."""

    about: str
    text: str
    again: str  # the same with another value
    question: str
    value: str
    other: str


@dataclass(frozen=True)
class Recalled:
    """Of the questions: how many found their fact first, and among the five; how often an outdated one came back."""

    language: str
    n: int
    first: int
    five: int
    outdated: int


_PEOPLE = {
    "en": "sister brother boss neighbour dentist teacher cousin landlord accountant doctor trainer grandmother",
    "zh": "妹妹 哥哥 老板 邻居 牙医 老师 表弟 房东 会计 医生 教练 奶奶",
}
# what it is about, how it is told, how it is asked for, values
_THINGS = {
    "en": [
        ("job", "My {who} works as a {value}.", "What does my {who} do for a living?",
         "nurse carpenter pilot lawyer baker plumber chemist farmer tailor judge barber editor"),
        ("home", "My {who} has moved to {value}.", "In which city can I visit my {who}?",
         "Porto Lyon Oslo Bergen Turin Graz Lille Gdansk Split Malmo Ghent Bath"),
        ("food", "My {who} is allergic to {value}.", "What must my {who} not eat?",
         "nuts eggs milk shellfish wheat soy sesame celery mustard fish lupin apples"),
        ("birthday", "My {who} was born on {value}.", "When should I congratulate my {who}?",
         " ".join(f"May-{n}" for n in range(3, 15))),
        ("sport", "On Saturdays my {who} goes {value}.", "What hobby does my {who} have at the weekend?",
         "climbing rowing swimming fencing sailing skating cycling running hiking diving surfing boxing"),
    ],
    "zh": [
        ("工作", "我的{who}是一名{value}。", "我的{who}靠什么谋生？",
         "护士 木匠 飞行员 律师 面包师 水管工 药剂师 农民 裁缝 法官 理发师 编辑"),
        ("住处", "我的{who}搬到了{value}。", "我的{who}现在住哪个城市？",
         "苏州 昆明 成都 厦门 大连 青岛 西安 武汉 长沙 南宁 兰州 合肥"),
        ("饮食", "我的{who}对{value}过敏。", "我的{who}不能吃什么？",
         "坚果 鸡蛋 牛奶 贝类 小麦 大豆 芝麻 芹菜 芥末 鱼 羽扇豆 苹果"),
        ("生日", "我的{who}的生日是{value}。", "我该什么时候祝贺我的{who}？",
         " ".join(f"五月{n}日" for n in range(3, 15))),
        ("运动", "我的{who}每周六去{value}。", "我的{who}周末有什么爱好？",
         "攀岩 划船 游泳 击剑 帆船 滑冰 骑车 跑步 徒步 潜水 冲浪 拳击"),
    ],
}  # fmt: skip


def told(language: str) -> list[Told]:
    """The facts of a language, in a fixed order."""
    found = []
    for n, who in enumerate(_PEOPLE[language].split()):
        for about, says, asks, of_each in _THINGS[language]:
            values = of_each.split()
            value, other = values[n], values[(n + 5) % len(values)]
            fact = [says.format(who=who, value=one) for one in (value, other)]
            found.append(Told(f"{who} {about}", fact[0], fact[1], asks.format(who=who), value, other))
    return found


def measure(folder: Path) -> list[Recalled]:
    """Tells everything of both languages to one user, then asks. Uses a database in the folder."""
    database = Database(f"sqlite:///{folder / 'memories.db'}")
    schema.metadata.create_all(database.engine)
    with database.write() as connection:
        values = {"id": 1, "name": "somebody", "role": "owner", "created_at": schema.now()}
        connection.execute(schema.users.insert().values(values))
    embedder = LocalEmbedder()
    memories = Memories(database, lambda: embedder, terms)
    facts = {language: told(language) for language in _PEOPLE}
    for those in facts.values():
        for one in those:
            memories.remember(1, one.text, about=one.about)
    for those in facts.values():
        for one in those[::3]:
            memories.remember(1, one.again, about=one.about)
    found = [_asked(memories, language, those) for language, those in facts.items()]
    database.close()
    return found


def _asked(memories: Memories, language: str, facts: Sequence[Told]) -> Recalled:
    first = five = outdated = 0
    for n, one in enumerate(facts):
        right, stale = (one.again, one.text) if n % 3 == 0 else (one.text, one.again)
        found = [memory.text for memory in memories.recall(1, one.question, limit=5)]
        first += found[:1] == [right]
        five += right in found
        outdated += stale in found
    return Recalled(language, len(facts), first, five, outdated)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = measure(Path(folder))
    if options.json:
        json.dump([asdict(one) for one in outcomes], sys.stdout, indent=1)
        return
    for one in outcomes:
        print(
            f"{one.language}: first {one.first}/{one.n}, among five {one.five}/{one.n}, "
            f"outdated {one.outdated}; without memory 0/{one.n}"
        )


if __name__ == "__main__":
    main()
