"""What a question says when its wording is taken off: words that only put it are left out, words that say the same are one.

Two wordings of one question share what is left. Where each has a word that the other lacks, one thing stands in another's
place, and a vector hardly sees it: planet and moon, hundreds and thousands, 鸡蛋 and 鸭蛋.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from dizuo.gateway.word_order import Word

# Stems (Porter 2), as the lexicon makes them from these words.
_LIGHT_EN = """
a an the is are was were be been being am do does did doing have has had having will would shall should can could may might must
i me my mine we us our you your he him his she her it its they them their this that these those there here who whom whose
what which when where why how if whether and or of to in on at for by with from as about into than then so such too also
please kindly hi hello hey thanks thank want need like wish know tell help let explain show get got way ways step steps process
procedure method possible able kind type sort thing things just exactly actually currently would wonder wondering question
some any one ones go going try trying give make made take use using supposed anyone someone anything something people person
long much many still yet already now ever s t re ve ll d m not no don doesn didn won isn aren wasn weren haven hasn hadn
i've i'm you've you're he's she's it's that's there's what's who's where's how's when's why's we've they've they're don't doesn't
didn't won't isn't aren't wasn't weren't haven't hasn't hadn't can't couldn't wouldn't shouldn't pls plz
"""
# Each line: words that may stand for each other in a question.
_SAME_EN = """
buy purchase|begin start commence|big large|small little|phone telephone|movie film|kid child|mom mother mum mommy|dad father daddy
fast quick|fix repair|price cost|vacation holiday|car automobile|sick ill|delete erase|choose select pick|display show
allow permit|require need|change modify alter|obtain receive acquire|supper dinner|answer reply respond|speak talk|shut close
tv television|refund reimburse|mobile cellphone|arrive come appear|reason cause|error mistake|happen occur|finish complete
rapidly quickly|nearby near close|biggest largest|smallest littlest|pretty beautiful|reach contact|photo picture image
generate create|execute run|enable activate|disable deactivate|utilize use|assist help|attempt try|ensure guarantee
located situated|often frequently|usually normally typically|maybe perhaps|everyone everybody|someone somebody|anyone anybody
top-up topup|e-mail email|site website|doc document|repo repository|config configuration|info information|app application
united us usa america|uk britain|student pupil|job employment|wrong incorrect|right correct|hard difficult|easy simple
author writer write wrote written|number count amount quantity|employee employ employed|edible eaten eat|include included
decrease lower reduce|increase raise|boiling boil|freezing freeze|pm afternoon|distance far|money cash|look appear seem
"""
_DROP_ZH = re.compile(
    r"请问一下|请问|麻烦|告诉我|我想知道|我想问一下|想问一下|想问|帮我|帮忙|一下子?|大概|一共|的时候|时候|哪[些一]?[个颗位种只名本条台部家座]?(?=[^里儿年天])"
    r"|[，。？！、；：,.?!;:\s《》“”\"'（）()~～…]|[的了吗呢吧啊呀嘛么着过请得地]|(?<!第)一(?=[个颗位只本条台部座张份封篇首])|(?<=[0-9一二两三四五六七八九十百千万几数这那])[个颗位名只本条台部座层张份封篇首]"
)
_SAME_ZH: tuple[tuple[str, str], ...] = (
    (r"\1", r"([\u3400-\u9fff])[不没]\1"),
    ("我之", r"我的(?=[。！？!?.]?$)"), ("你之", r"[你您]的(?=[。！？!?.]?$)"),
    ("何时", r"什么时候|什么时间|啥时候|何时|几点钟?"),
    ("为何", r"为什么|为何|为啥|是什么原因|什么原因|怎么会?(?=[^样办说么]{0,6}(?:发烫|没到|还没))"),
    ("怎", r"是怎样|是怎么样|怎么样|怎样才能|怎么才能|如何才能|怎样|如何|怎么|咋样?|该怎么|应该怎么"),
    ("哪", r"是?在?(?:哪里|哪儿|何处|什么地方)"),
    ("多久", r"多长时间|多少时间|多久时间|多久"),
    ("能", r"能不能够?|可不可以|能否|可否|可以|能够|允许|能"),
    ("要", r"要不要|需不需要|是否需要|需要|须要|应该|应当|必须|得要|要|需|该"),
    ("是", r"是不是|是否|就是|(?<!于)等于|是"),
    ("有", r"有没有|拥有|具有|有"),
    ("你", r"你们|您们|您|你"),
    ("我们", r"我们|咱们|咱"),
    ("我", r"俺"),
    ("什", r"什么|甚么|啥|哪些|哪种|什"),
    ("里", r"里面|里头|里边|当中|之中|里|中(?![国文午学心间央奖药医])"),
    ("价", r"多少钱|价格是多少|票价是多少|价格|价钱|售价|几块钱?"),
    ("数", r"的数量是多少|数量是多少|是多少|有多少|多少|几"),
    ("电视", r"电视机|电视"), ("电脑", r"计算机|电脑"), ("爸", r"爸爸|父亲|爸"), ("妈", r"妈妈|母亲|妈"),
    ("买", r"购买|买"), ("喜欢", r"喜爱|喜欢"), ("高兴", r"快乐|开心|高兴"), ("学", r"学习|学"), ("现", r"现在|目前|当前|此刻"),
    ("马上", r"立刻|马上|立即"), ("孩子", r"小孩子?|孩子"), ("帮", r"帮助|帮"), ("认为", r"觉得|认为"), ("车", r"汽车|轿车|车"),
    ("把", r"将(?=[^来军要])|把"), ("换", r"兑换成?|换成|转换成?|换"), ("在", r"位于|处于|在"), ("年", r"年份|年"),
    ("漂亮", r"美丽|漂亮"), ("房", r"房子|屋子|房"), ("写", r"作者|写"), ("打", r"拨打|打"), ("班", r"工资|月薪|薪水"),
)  # fmt: skip
_WORD_ZH = re.compile(r"[A-Za-z0-9.+#]+|[\u3400-\u9fff]")
PERSONS_ZH = frozenset("你我他她它")
# Characters that come and go in one question's wordings; any other that is added asks something else.
SOFT_ZH = PERSONS_ZH | frozenset("是在有就也会去上来把给和跟与及想么个件种些而但并且吧")


def _english(terms: Callable[[str], list[str]]) -> tuple[frozenset[str], Mapping[str, str]]:
    light = frozenset(term for word in _LIGHT_EN.split() for term in terms(word))
    same = {
        term: line.split()[0]
        for line in _SAME_EN.replace("\n", "|").split("|")
        for word in line.split()
        for term in terms(word)
    }
    return light - same.keys(), same


class Wording:
    """Takes the wording off questions. `terms` makes stems."""

    def __init__(self, terms: Callable[[str], list[str]]) -> None:
        self._terms = terms
        self._light, self._same = _english(terms)

    def content(self, folded: str, language: str) -> Counter[str]:
        """What is left, counted: stems in English; characters, and words in Latin letters, in Chinese."""
        return Counter(word.term for word in self.words(folded, language))

    def words(self, folded: str, language: str) -> Sequence[Word]:
        """The same in its order, with the light words between."""
        if language == "zh":
            plain = _DROP_ZH.sub("", _DROP_ZH.sub("", _replaced(folded)))
            return [Word(word.lower()) for word in _WORD_ZH.findall(plain)]
        found: list[Word] = []
        before: list[str] = []
        for term in (self._same.get(term, term) for term in self._terms(folded)):
            if term in self._light:
                before.append(term)
            else:
                found.append(Word(term, tuple(before)))
                before = []
        return found


def _replaced(text: str) -> str:
    for plain, pattern in _REPLACE_ZH:
        text = pattern.sub(plain, text)
    return text


_REPLACE_ZH = tuple((plain, re.compile(pattern)) for plain, pattern in _SAME_ZH)
