"""On what two questions disagree, though they share nearly all their words."""

import pytest

from dizuo.gateway.agreement import Facts, Lexicon, disagreement, language_of
from dizuo.gateway.verifier import Verifier, disagree
from dizuo.knowledge.analyze import fold, terms
from dizuo.knowledge.rarity import rarity

LEXICON = Lexicon(fold, terms, rarity)
VERIFIER = Verifier(LEXICON)


def between(a: str, b: str) -> str:
    """What keeps one answer from fitting both, in a word."""
    there, back = (disagreement(Facts(x, LEXICON), Facts(y, LEXICON)) for x, y in ((a, b), (b, a)))
    assert there == back
    return there


@pytest.mark.parametrize(
    ("why", "a", "b"),
    [
        ("direction", "Flights from Paris to Rome", "Flights from Rome to Paris"),
        ("direction", "Does Alice owe Bob money?", "Does Bob owe Alice money?"),
        ("direction", "从北京到上海的高铁", "从上海到北京的高铁"),
        ("direction", "张三借给李四钱了吗", "李四借给张三钱了吗"),
        ("negation", "Which mushrooms are edible?", "Which mushrooms are not edible?"),
        ("negation", "Why can I log in?", "Why can't I log in?"),
        ("negation", "哪些蘑菇能吃", "哪些蘑菇不能吃"),
        ("number", "What is 15 percent of 80?", "What is 50 percent of 80?"),
        ("number", "How many eggs have 12 calories?", "How many calories have 12 eggs?"),
        ("number", "房租三千元贵吗", "房租四千元贵吗"),
        ("number", "5公里等于多少米", "5米等于多少公里"),
        ("date", "Is the bank open on Monday?", "Is the bank open on Sunday?"),
        ("date", "明天会下雨吗", "后天会下雨吗"),
        ("unit", "What does 5 kg of rice cost?", "What does 5 lb of rice cost?"),
        ("unit", "水的沸点是多少摄氏度", "水的沸点是多少华氏度"),
        ("name", "How do I install it on Ubuntu?", "How do I install it on Windows?"),
        ("name", "怎么安装Redis", "怎么安装Kafka"),
        ("opposite", "How do I enable the alarm?", "How do I disable the alarm?"),
        ("opposite", "Is it a legal move?", "Is it an illegal move?"),
        ("opposite", "怎么打开飞行模式", "怎么关闭飞行模式"),
        ("kind", "When does the bridge open?", "Where does the bridge open?"),
        ("kind", "How long does a transfer take?", "How much does a transfer take?"),
        ("kind", "发烧要去医院吗", "发烧要去哪家医院"),
        ("tense", "Who is the president?", "Who was the president?"),
        ("tense", "I want to go there", "I wanted to go there"),
        ("tense", "Should I be careful?", "Should I have been careful?"),
        ("person", "Where is my book?", "Where is your book?"),
        ("person", "你去哪里", "我去哪里"),
        ("question", "您是学生吗", "您是学生"),
        ("question", "Which is your book?", "This book is yours."),
        ("language", "Python tutorial", "Python 教程在哪里"),
    ],
)
def test_what_an_answer_hangs_from_is_seen(why: str, a: str, b: str) -> None:
    assert between(a, b) == why


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Find flights from Paris to Rome", "Find flights to Rome from Paris"),
        ("How do I switch on the alarm?", "How do I enable the alarm?"),
        ("What does 1,000 dollars buy?", "What does one thousand dollars buy?"),
        ("Why was my card declined?", "Why has my card been declined?"),
        ("Could you tell me whether or not it is open?", "Could you tell me whether it is open?"),
        ("怎么修改密码", "如何修改密码"),
        ("为什么电脑这么慢", "电脑为什么这么慢"),
        ("北京今天天气好吗", "今天北京天气好吗"),
        ("能不能退款", "能退款吗"),
        ("三千块够吗", "3000块够吗"),
    ],
)
def test_what_only_puts_it_in_other_words_is_let_through(a: str, b: str) -> None:
    assert between(a, b) == ""


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("How far away is the moon?", "How far away is the planet?"),
        ("How do I order a card?", "How do I order a virtual card?"),
        ("鸡蛋要煮多久", "鸭蛋要煮多久"),
        ("怎么给兰花浇水", "怎么给兰花施肥"),
    ],
)
def test_a_telling_word_that_only_one_has_makes_it_another_question(a: str, b: str) -> None:
    assert between(a, b) == ""
    assert disagree(VERIFIER.view(a), VERIFIER.view(b)) == "word"


@pytest.mark.parametrize(
    ("text", "language"),
    [("Where is it?", "en"), ("在哪里", "zh"), ("怎么安装 Redis", "zh"), ("Где это?", "other"), ("42", "en")],
)
def test_the_language_is_told_by_the_letters(text: str, language: str) -> None:
    assert language_of(text) == language
