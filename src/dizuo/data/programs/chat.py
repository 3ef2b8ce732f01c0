"""Small conversations: greetings, who it is, definitions, small jobs on a text, translations.

Definitions are the opening sentence of an encyclopedia article, word for word (CC BY-SA); translations are Tatoeba's
(CC BY 2.0 FR). The assistant says that it is small and may be wrong, because it is.
"""

import json
import random
import re
from collections.abc import Mapping
from typing import Any

from dizuo.data.programs.questions import sentences
from dizuo.data.programs.reading import Paragraph
from dizuo.data.programs.values import lists, value

_NAME = {"en": "Dizuo's starter model", "zh": "底座（Dizuo）自带的入门模型"}
_TALK = {
    "en": (
        (
            ("Hi", "Hello", "Hello!", "Hi there", "Good morning", "Good evening", "Hey", "Hey there!"),
            ("Hello! What can I do for you?", "Hi! How can I help?", "Hello! Ask me something about your documents."),
        ),
        (
            ("Who are you?", "What are you?", "What is your name?", "Tell me about yourself.", "Are you a person?",
             "Which model is this?", "Who am I talking to?", "Are you ChatGPT?"),
            ("I am {name}: a small language model that was trained from scratch on one machine. I make mistakes.",
             "I am {name}, a small model. I can quote from documents and call tools, but I know little by myself.",
             "You are talking to {name}. I am small, so please check what I say."),
        ),
        (
            ("What can you do?", "How can you help me?", "What are you good at?", "Help"),
            ("I can answer from passages that I am given, call tools, and do small jobs on a text. I am small, so "
             "please check what I say.",
             "Give me a passage and a question, a tool to call, or a short text to work on."),
        ),
        (
            ("Thanks", "Thank you!", "Thanks a lot", "That helps, thank you.", "Great, thanks"),
            ("You are welcome.", "Glad to help.", "You're welcome! Ask on whenever you like."),
        ),
        (
            ("Bye", "Goodbye", "See you", "Good night", "That is all."),
            ("Goodbye!", "See you!", "Goodbye, and thanks for asking."),
        ),
        (
            ("How are you?", "How are you doing?", "Are you well?"),
            ("I am a program, so I have no feelings, but I am ready to help.", "All is well. What can I do for you?"),
        ),
        (
            ("What will the stock market do tomorrow?", "Who will win the next election?", "What am I thinking of?",
             "What did I eat yesterday?", "What is my password?", "What is the news today?", "What time is it?"),
            ("I cannot know that.", "I don't know that, and I have no way to look it up here.",
             "That is something I cannot know."),
        ),
        (
            ("Do you speak Chinese?", "Which languages do you speak?", "Can I write in Chinese?"),
            ("Yes, English and Chinese.", "I was trained on English and Chinese text."),
        ),
        (
            ("Are you always right?", "Can I trust you?", "Do you make mistakes?"),
            ("No. I am a small model and often wrong; check what I say against the source.",
             "I make mistakes. Where I quote a document, look at the quotation."),
        ),
    ),
    "zh": (
        (
            ("你好", "您好", "你好！", "嗨", "早上好", "晚上好", "在吗", "哈喽"),
            ("您好！有什么可以帮您？", "你好！请问需要什么？", "您好！可以问我关于您文档的问题。"),
        ),
        (
            ("你是谁？", "你是什么？", "你叫什么名字？", "介绍一下你自己。", "你是真人吗？", "这是什么模型？",
             "我在和谁说话？", "你是ChatGPT吗？"),
            ("我是{name}，一个在单台机器上从零训练的小模型，难免出错。",
             "我是{name}。我会引用文档、调用工具，但自己知道的不多。",
             "我是{name}，规模很小，我说的话请您核对。"),
        ),
        (
            ("你能做什么？", "你会什么？", "你能帮我什么？", "帮助"),
            ("我可以根据给出的资料回答问题、调用工具，也能处理简短的文字。我是小模型，结果请核对。",
             "给我一段资料和一个问题、一个可调用的工具，或者一段要处理的文字。"),
        ),
        (
            ("谢谢", "谢谢你！", "多谢", "很有帮助，谢谢。", "太好了，谢谢"),
            ("不客气。", "很高兴能帮上忙。", "不用谢，有问题随时问我。"),
        ),
        (("再见", "拜拜", "晚安", "就这些了。", "回头见"), ("再见！", "再见，欢迎随时再来。", "回见！")),
        (
            ("你好吗？", "你最近怎么样？", "今天过得好吗？"),
            ("我是程序，没有感受，不过随时可以帮忙。", "一切正常。需要我做什么？"),
        ),
        (
            ("明天股市会怎样？", "下届选举谁会赢？", "我现在在想什么？", "我昨天吃了什么？", "我的密码是什么？",
             "今天有什么新闻？", "现在几点？"),
            ("这个我无法知道。", "我不知道，这里也没有办法查到。", "这不是我能知道的。"),
        ),
        (
            ("你会说英语吗？", "你会哪些语言？", "可以用英文写吗？"),
            ("可以，我会中文和英文。", "我是用中文和英文文本训练的。"),
        ),
        (
            ("你说的都对吗？", "我能相信你吗？", "你会出错吗？"),
            ("不一定。我是小模型，经常出错，请对照来源核对。", "我会出错。引用文档的地方，请看原文。"),
        ),
    ),
}  # fmt: skip
_DEFINE = {
    "en": ("What is {topic}?", "Who or what is {topic}?", "Tell me about {topic}.", "Explain {topic} in one sentence."),
    "zh": ("什么是{topic}？", "{topic}是什么？", "介绍一下{topic}。", "用一句话解释{topic}。"),
}
_IS = re.compile(r"\b(?:is|was|are|were)\b|[是为]")


def talk(language: str, chance: random.Random) -> dict[str, Any]:
    """A greeting, a question about the model, thanks; sometimes two of them."""
    turns: list[dict[str, Any]] = []
    for asked, said in chance.sample(_TALK[language], chance.choice((1, 1, 2))):
        turns += _turn(chance.choice(asked), chance.choice(said).format(name=_NAME[language]))
    return {"messages": turns, "tools": []}


def definition(article: list[Paragraph], language: str, chance: random.Random) -> dict[str, Any] | None:
    """What an article is about, in the words of its first sentence; None where that defines nothing."""
    first = article[0]
    ends = sentences(first.text)
    said = first.text[ends[0][0] : ends[0][1]] if ends else ""
    if not (first.topic in said[: len(first.topic) + 30] and _IS.search(said) and 15 <= len(said) <= 260):
        return None
    return {"messages": _turn(chance.choice(_DEFINE[language]).format(topic=first.topic), said), "tools": []}


def translation(pair: Mapping[str, str], chance: random.Random) -> dict[str, Any]:
    """A sentence pair, either way."""
    english, chinese = pair["en"], pair["zh"]
    if chance.random() < 0.5:
        asked = chance.choice(
            ("Translate into Chinese: {}", "Put this into Chinese: {}", "把这句话翻译成中文：{}", "{}\n翻译成中文")
        )
        return {"messages": _turn(asked.format(english), chinese), "tools": []}
    asked = chance.choice(
        ("Translate into English: {}", "{}\nWhat is this in English?", "把这句话翻译成英文：{}", "{}\n翻译成英文")
    )
    return {"messages": _turn(asked.format(chinese), english), "tools": []}


def job(language: str, chance: random.Random) -> dict[str, Any]:
    """A small job on a text whose result is certain: list to JSON, count, capitals, order, fields of a record."""
    asked, said = chance.choice(_JOBS)(language, chance)
    return {"messages": _turn(asked, said), "tools": []}


def _turn(asked: str, said: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]


def _words(language: str, chance: random.Random, least: int = 3, most: int = 6) -> list[str]:
    kind = chance.choice(("item", "food", "city", "room", "topic", "person", "chore"))
    return chance.sample(lists()[kind][language], chance.randint(least, most))


def _list(language: str, words: list[str]) -> str:
    return (", " if language == "en" else "、").join(words)


def _to_json(language: str, chance: random.Random) -> tuple[str, str]:
    words = _words(language, chance)
    form = "Write this as a JSON list: {}" if language == "en" else "写成 JSON 列表：{}"
    return form.format(_list(language, words)), json.dumps(words, ensure_ascii=False)


def _count(language: str, chance: random.Random) -> tuple[str, str]:
    words = _words(language, chance, 2, 8)
    form = "How many entries are there? {}" if language == "en" else "一共有几项？{}"
    return form.format(_list(language, words)), str(len(words))


def _capitals(language: str, chance: random.Random) -> tuple[str, str]:
    text = chance.choice(lists()["sentence"]["en"])
    if chance.random() < 0.5:
        return ("Write in capitals: {}" if language == "en" else "改成大写：{}").format(text), text.upper()
    return ("Write in small letters: {}" if language == "en" else "改成小写：{}").format(text.upper()), text.lower()


def _bullets(language: str, chance: random.Random) -> tuple[str, str]:
    words = _words(language, chance)
    form = "Make a bulleted list of: {}" if language == "en" else "列成项目清单：{}"
    return form.format(_list(language, words)), "\n".join(f"- {word}" for word in words)


def _reverse(language: str, chance: random.Random) -> tuple[str, str]:
    words = _words(language, chance, 3, 5)
    form = "Give the list in reverse order: {}" if language == "en" else "把顺序倒过来：{}"
    return form.format(_list(language, words)), _list(language, words[::-1])


def _pick(language: str, chance: random.Random) -> tuple[str, str]:
    """The date, address, amount or name in a note."""
    person, day = value("person", language, chance).text, value("date", language, chance).text
    address, amount = value("email", language, chance).text, value("thousands", language, chance).text
    wanted = {
        "en": {"date": day, "e-mail address": address, "amount": amount, "name": person},
        "zh": {"日期": day, "邮箱": address, "金额": amount, "姓名": person},
    }[language]
    what = chance.choice(list(wanted))
    if language == "en":
        note = chance.choice((
            f"{person} paid {amount} euros on {day}; the receipt went to {address}.",
            f"On {day}, {person} ({address}) ordered goods for {amount} euros.",
        ))  # fmt: skip
        return f"Pick out the {what}: {note}", wanted[what]
    note = chance.choice((
        f"{person}于{day}支付了{amount}元，收据发至{address}。",
        f"{day}，{person}（{address}）订购了{amount}元的商品。",
    ))  # fmt: skip
    return f"找出其中的{what}：{note}", wanted[what]


def _record(language: str, chance: random.Random) -> tuple[str, str]:
    """A line of words to a JSON object."""
    person, city, order = (value(kind, language, chance).text for kind in ("person", "city", "order"))
    if language == "en":
        keys = {"name": person, "city": city, "order": order}
        asked = f"Write as JSON with the keys name, city, order: {person} from {city} asks about order {order}."
    else:
        keys = {"姓名": person, "城市": city, "订单": order}
        asked = f"写成 JSON，键为姓名、城市、订单：{city}的{person}询问订单{order}。"
    return asked, json.dumps(keys, ensure_ascii=False)


def _longest(language: str, chance: random.Random) -> tuple[str, str]:
    words = sorted(dict.fromkeys(_words(language, chance, 3, 5)), key=len)
    while len(words) > 1 and len(words[-1]) == len(words[-2]):
        words.pop()
    asked = words.copy()
    chance.shuffle(asked)
    form = "Which of these is the longest? {}" if language == "en" else "哪一个最长？{}"
    return form.format(_list(language, asked)), words[-1]


def _first(language: str, chance: random.Random) -> tuple[str, str]:
    words = _words(language, chance)
    n = chance.randrange(len(words))
    last = n == len(words) - 1
    if language == "en":
        which = "last" if last else ("first", "second", "third", "fourth", "fifth", "sixth")[n]
        return f"What is the {which} entry? {_list(language, words)}", words[n]
    return f"{'最后' if last else f'第{n + 1}'}{'一' if last else ''}项是什么？{_list(language, words)}", words[n]


_JOBS = (_to_json, _count, _capitals, _bullets, _reverse, _pick, _pick, _record, _longest, _first)
