"""Tasks for the researcher: the right value with the right document, and silence where they are silent."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dizuo.core.messages import Message
from dizuo.evals.agent_task import Check, Said, Script, Seen, Task, results

AGENT = "researcher"
REPORT = "report.md"
_SOURCES = re.compile(r"^\W*(sources|references|来源|参考)\W*$", re.IGNORECASE | re.MULTILINE)
_SOURCE = re.compile(r"^\W{0,3}\[(\d+)\][\s:：.\-–]*(.+)$", re.MULTILINE)
_MARK = re.compile(r"\[(\d+)\]")
_PASSAGE = re.compile(r"^\[\d+\] (.+)\n", re.MULTILINE)
_SILENT = {
    "en": re.compile(
        r"\b(do|does|did) not (say|mention|state|contain|tell|cover|give|specify|include)\b|\bsilent\b|"
        r"\bno (information|mention|document|passage)\b|\bnot (mentioned|found|stated|covered|specified)\b|"
        r"n't (say|mention)",
        re.IGNORECASE,
    ),
    "zh": re.compile(r"(没有|未|并未|没)(提到|提及|说明|规定|记载|找到|相关|说|涉及)|无相关"),
}
_SAYS_SILENT = {
    "en": "The documents do not say it. I searched for: {queries}.",
    "zh": "文档中没有提到。我检索过：{queries}。",
}
_HEADING = {"en": "Sources", "zh": "来源"}


@dataclass(frozen=True)
class Fact:
    """What a report must say, as a pattern, and the document that says it."""

    pattern: str
    document: str


# name, goal, queries of the script, facts (none: the documents are silent), and what would be made up.
_TASKS: Mapping[str, Sequence[tuple[str, str, Sequence[str], Sequence[Fact], str]]] = {
    "en": [
        ("price", "What does a single crossing cost for an adult? Write a report.", ["price of a single crossing"],
         [Fact(r"\b14\b", "tickets.md")], "It costs 19 crowns"),
        ("luggage", "How heavy may a piece of luggage be? Write a report.", ["weight of luggage"],
         [Fact(r"\b23\b", "luggage.md")], "It may have 30 kilograms"),
        ("leave", "How many days of leave does the crew have? Write a report.", ["paid leave of the crew"],
         [Fact(r"\b28\b", "crew-leave.md")], "It has 20 days"),
        ("last boat", "When does the last boat leave in January? Write a report.", ["last boat in winter"],
         [Fact(r"19[:.]40", "winter.md")], "It leaves at 21:00"),
        ("refund", "Until when do I get all my money back? Write a report.", ["refund of a ticket in full"],
         [Fact(r"\b48\b", "refunds.md")], "Until 24 hours before"),
        ("founder", "Who founded the company? Write a report.", ["founder of the company"],
         [Fact(r"Ada Holm", "history.md")], "John Smith founded it"),
        ("vessel", "How many people fit on the Dunlin? Write a report.", ["passengers on the Dunlin"],
         [Fact(r"\b155\b", "fleet.md")], "It carries 300 passengers"),
        ("drill", "On which days is there a safety drill? Write a report.", ["safety drill"],
         [Fact(r"second Tuesday", "safety.md")], "There is one on Mondays"),
        ("two prices", "What do I pay for a bicycle, and what for parking my car for a day? Write a report.",
         ["bicycle crowns", "car park cost a day"],
         [Fact(r"\b5\b", "bicycles.md"), Fact(r"\b4\b", "parking.md")], "A bicycle is 8 and a place 11 crowns"),
        ("two years", "When was the company founded, and when was its newest vessel built? Write a report.",
         ["company founded", "newest vessel built"],
         [Fact(r"\b1934\b", "history.md"), Fact(r"\b2019\b", "fleet.md")], "In 1950 and in 2021"),
        ("silent: pension", "How much does the company pay into the pension of its crew? Write a report.",
         ["pension of the crew", "retirement"], [], "It pays 8 percent"),
        ("silent: uniform", "Which colour are the crew's uniforms? Write a report.",
         ["colour of uniforms", "clothes of the crew"], [], "They are navy blue"),
    ],
    "zh": [
        ("price", "成人单程船票多少钱？请写一份报告。", ["单程船票 成人"],
         [Fact(r"十四元|14\s*元", "船票.md")], "十九元"),
        ("luggage", "一件行李最重可以多少？请写一份报告。", ["行李 重量 公斤"], [Fact(r"23", "行李.md")], "30公斤"),
        ("leave", "船员每年有多少天休假？请写一份报告。", ["船员 带薪休假"], [Fact(r"28", "船员休假.md")], "20天"),
        ("last boat", "一月份末班船几点开？请写一份报告。", ["冬季 末班船"],
         [Fact(r"19[:：]40", "冬季时刻表.md")], "21:00"),
        ("refund", "最晚什么时候退票可以全额退款？请写一份报告。", ["退票 全额退款"],
         [Fact(r"48", "退票.md")], "24小时"),
        ("founder", "公司的创始人是谁？请写一份报告。", ["公司 创始人"], [Fact(r"何雅达", "历史.md")], "张三"),
        ("vessel", "滨鹬号能坐多少人？请写一份报告。", ["滨鹬号 载客"], [Fact(r"155", "船队.md")], "300人"),
        ("drill", "安全演习在什么时候举行？请写一份报告。", ["安全演习"], [Fact(r"星期二", "安全.md")], "每周一"),
        ("two prices", "带自行车乘船和停车一天各要多少钱？请写一份报告。", ["自行车 收费", "停车场 每天 收费"],
         [Fact(r"5\s*元", "自行车.md"), Fact(r"4\s*元", "停车.md")], "8元和11元"),
        ("two years", "公司哪年成立，最新的船哪年建造？请写一份报告。", ["公司 成立", "最新的船 建于"],
         [Fact(r"1934", "历史.md"), Fact(r"2019", "船队.md")], "1950年和2021年"),
        ("silent: pension", "公司为船员缴纳多少养老金？请写一份报告。", ["船员 养老金", "退休"], [], "百分之八"),
        ("silent: uniform", "船员的制服是什么颜色？请写一份报告。", ["制服 颜色", "船员 服装"], [], "深蓝色"),
    ],
}  # fmt: skip


def tasks() -> list[Task]:
    """All of them, in both languages."""
    return [
        Task(
            agent=AGENT,
            language=language,
            name=name,
            goal=goal,
            check=_cites(facts) if facts else _silent(language, wrong),
            strong=_researches(language, goal, queries, facts),
            careless=_makes_up(language, wrong),
        )
        for language, those in _TASKS.items()
        for name, goal, queries, facts, wrong in those
    ]


def documents(language: str) -> Mapping[str, str]:
    """The documents of a language, by name."""
    import yaml

    text = Path(__file__).with_name("agent_documents.yaml").read_text("utf-8")
    return yaml.safe_load(text)[language]


# --- checks ---------------------------------------------------------------------------------------------------


def _cites(facts: Sequence[Fact]) -> Check:
    def check(seen: Seen) -> list[str]:
        if REPORT not in seen.files:
            return [f"there is no {REPORT}"]
        faults = [] if seen.did("search_knowledge") else ["it has not searched"]
        report = seen.files[REPORT].decode("utf-8", "replace")
        body, listed = _parted(report)
        if not listed:
            return [*faults, "the report lists no sources"]
        if loose := {*_MARK.findall(body)} ^ {*listed}:
            faults.append(f"marks without a source, or sources without a mark: {sorted(loose)}")
        for fact in facts:
            if not re.search(fact.pattern, seen.answer):
                faults.append(f"the answer does not say {fact.pattern}")
            if not any(_cited(line, fact, listed) for line in body.splitlines()):
                faults.append(f"the report does not say {fact.pattern} with {fact.document}")
        if not _MARK.search(seen.answer):
            faults.append("the answer has no mark")
        return faults

    return check


def _cited(line: str, fact: Fact, listed: Mapping[str, str]) -> bool:
    """Whether a mark of the right document follows the fact in its line, with no other document's between."""
    for found in re.finditer(fact.pattern, _MARK.sub(lambda mark: f"\0m{mark[1]}\0", line)):
        after = re.search(r"\0m(\d+)\0", found.string[found.end() :])
        if after and fact.document.removesuffix(".md") in listed.get(after[1], ""):
            return True
    return False


def _parted(report: str) -> tuple[str, Mapping[str, str]]:
    """The text, and the sources by their numbers."""
    headings = list(_SOURCES.finditer(report))
    if not headings:
        return report, {}
    at = headings[-1]
    return report[: at.start()], {number: name.strip() for number, name in _SOURCE.findall(report[at.end() :])}


def _silent(language: str, wrong: str) -> Check:
    def check(seen: Seen) -> list[str]:
        faults = [] if seen.did("search_knowledge") else ["it has not searched"]
        if not _SILENT[language].search(seen.answer):
            faults.append("it does not say that the documents are silent")
        if REPORT in seen.files:
            faults.append("it has written a report all the same")
        if wrong in seen.answer:
            faults.append("it makes something up")
        return faults

    return check


# --- scripts --------------------------------------------------------------------------------------------------


def _researches(language: str, goal: str, queries: Sequence[str], facts: Sequence[Fact]) -> Script:
    """Searches, takes what the passages say word for word, and where they do not say it says so."""

    def script(messages: Sequence[Message]) -> Said:
        found = results(messages)
        if len(found) < len(queries):
            return [("search_knowledge", {"query": queries[len(found)]})]
        quoted = [_quoted(found[: len(queries)], fact.pattern) for fact in facts]
        known = [one for one in quoted if one is not None]
        if not known or len(known) < len(quoted):
            return _SAYS_SILENT[language].format(queries="; ".join(queries))
        names = [*dict.fromkeys(name for name, _sentence in known)]
        body = "\n\n".join(f"{sentence} [{names.index(name) + 1}]" for name, sentence in known)
        listed = "\n".join(f"[{n}] {name}" for n, name in enumerate(names, 1))
        text = f"{body}\n\n## {_HEADING[language]}\n\n{listed}\n"
        if len(found) == len(queries):
            return [("write_file", {"path": REPORT, "text": f"# {goal}\n\n{text}"})]
        return text

    return script


def _quoted(found: Sequence[str], pattern: str) -> tuple[str, str] | None:
    """The first passage's document, and its sentence that holds the pattern."""
    for result in found:
        parts = _PASSAGE.split(result)[1:]
        for name, passage in zip(parts[::2], parts[1::2], strict=True):
            for sentence in re.split(r"(?<=[.。])\s*", passage):
                if re.search(pattern, sentence):
                    return name.split(", page ")[0], " ".join(sentence.split())
    return None


def _makes_up(language: str, wrong: str) -> Script:
    """Writes a report without looking."""

    def script(messages: Sequence[Message]) -> Said:
        text = f"{wrong} [1].\n\n## {_HEADING[language]}\n\n[1] handbook.md\n"
        return text if results(messages) else [("write_file", {"path": REPORT, "text": text})]

    return script
