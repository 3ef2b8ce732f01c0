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
        ("tense", "I've been busy today.", "I am busy today."),
        ("tense", "你去过北京吗", "你去北京吗"),
        ("tense", "下雨了吗", "下雨吗"),
        ("number", "Who is the second in the queue?", "Who is the first in the queue?"),
        ("number", "How do I open the second door?", "How do I open the door?"),
        ("number", "谁排第二名", "谁排第一名"),
        ("negation", "除了周末都上班吗", "周末都上班吗"),
        ("unit", "托运行李超过32kg的怎么办", "托运行李超过32斤的怎么办"),
        ("form", "Can I return it?", "How do I return it?"),
        ("form", "Are there fees for topping up?", "What are the fees for topping up?"),
        ("form", "Do I have to renew my passport?", "Can I renew my passport?"),
        ("form", "Should I take it with food?", "Can I take it with food?"),
        ("form", "When should I take it?", "When can I take it?"),
        ("form", "Who loves Tom?", "Who does Tom love?"),
        ("form", "What eats mice?", "What do mice eat?"),
        ("form", "How do I delete the first row?", "How do I delete all but the first row?"),
        ("form", "How do I select every row?", "How do I select every other row?"),
        ("form", "What can I eat before a run?", "What can I eat for a run?"),
        ("form", "Does he speak English?", "Do you speak English?"),
        ("form", "Were they serious?", "Were you serious?"),
        ("tense", "When was my order delivered?", "When will my order be delivered?"),
        ("tense", "Have I deducted a chair from my taxes?", "Can I deduct a chair from my taxes?"),
        ("tense", "Will she sign the contract?", "Has she signed the contract yet?"),
        ("tense", "Have we moved the interview?", "can we move the interview? thanks"),
        ("form", "Do gifts to suppliers have to be declared?", "Does a gift from a supplier have to be declared?"),
        ("form", "How much less do I pay if I raise it by $50?", "How much less do I pay if I raise it to $50?"),
        ("form", "Which deficiency is caused by beriberi?", "Which deficiency causes beriberi?"),
        ("form", "How did the siege end?", "Can you tell me when the siege ended?"),
        ("form", "How do you ship batteries?", "Can you tell me if you ship batteries?"),
        ("form", "How likely is the highest score?", "What is the highest score?"),
        ("form", "Why did Malik turn down the job?", "Why was Malik turned down for the job?"),
        ("tense", "How often have the plugs been replaced?", "How often should the plugs be replaced?"),
        ("direction", "查哪个进程占用了5432端口", "查进程5432占用了哪个端口"),
        ("form", "要背哪几首古诗", "要背几首古诗"),
        ("name", "“読む”的た形是什么", "请问“読む”的て形是什么"),
        ("name", "How do I type α?", "How do I type β?"),
        ("direction", "外婆给我买保险", "给外婆买保险"),
        ("form", "Write a poem for Emma and me.", "Please write a poem for Emma."),
        ("tense", "Where was I vaccinated?", "Where can I get vaccinated?"),
        ("number", "Give me 4 lasagne recipes.", "Give me a lasagne recipe for 4 people."),
        ("kind", "每周哪几天可以居家办公", "每周可以居家办公几天"),
        ("direction", "这个奖是谁颁的", "这个奖颁给了谁"),
    ],
)
def test_what_an_answer_hangs_from_is_seen(why: str, a: str, b: str) -> None:
    assert between(a, b) == why


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Find flights from Paris to Rome", "Find flights to Rome from Paris"),
        ("How do I switch on the alarm?", "How do I enable the alarm?"),
        ("Can you tell me where I was vaccinated?", "Where was I vaccinated?"),
        ("What is the status of order 48213, please?", "order 48213 status"),
        ("Do I have to return it?", "Must I return it?"),
        ("What time does it leave?", "When does it leave?"),
        ("Why did I get charged a fee?", "Why was I charged a fee?"),
        ("Please tell me where it is.", "Where is it?"),
        ("What does 1,000 dollars buy?", "What does one thousand dollars buy?"),
        ("Why was my card declined?", "Why has my card been declined?"),
        ("Could you tell me whether or not it is open?", "Could you tell me whether it is open?"),
        ("What is a payment element?", "What are payment elements?"),
        ("How many 400mg tablets can I take?", "How many 400 mg tablets can I take?"),
        ("Can you tell me how to cancel it?", "How do I cancel it?"),
        ("Is there a way to cancel it?", "How do I cancel it?"),
        ("How should I cook it?", "How can I cook it?"),
        ("What do I do if I lose my card?", "I lost my card. How do I go on?"),
        ("How long does one second last?", "How long does a second last?"),
        ("How many dollars is 50 pesos?", "50 pesos is how many dollars?"),
        ("这是哪一年废除的", "废除这个是在哪一年"),
        ("保修几年", "保修多少年"),
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
        ("我们的年假有几天", "我的年假有几天"),
        ("他们住在哪里", "他住在哪里"),
        ("怎么统计大于等于60的单元格", "如何统计大于60的单元格"),
    ],
)
def test_a_telling_word_that_only_one_has_makes_it_another_question(a: str, b: str) -> None:
    assert between(a, b) == ""
    assert disagree(VERIFIER.view(a), VERIFIER.view(b)) == "word"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Can my landlord enter my flat?", "Can I enter my landlord's flat?"),
        ("How much notice must I give my landlord?", "How much notice does my landlord have to give me?"),
        ("Can dogs catch colds from people?", "Do people catch colds from dogs?"),
        ("Why do prices rise when wages rise?", "When prices rise, why do wages rise?"),
        ("Is oil soluble in water?", "Is water in oil soluble?"),
        ("老板可以看员工的邮件吗", "员工能看老板的邮件吗"),
        ("我能看他的邮件吗", "他可以看我的邮件吗"),
        ("上海在北京的哪边", "请问北京在上海哪边"),
        ("成都在西安的哪个方向", "西安位于成都的哪个方向"),
        ("1厘米等于多少码", "请问1码是多少厘米"),
        ("看第一部之前要先看第二部吗", "看第二部之前要不要先看第一部"),
        ("谁是老板的老师", "老师的老板是谁"),
        ("谁会喜欢小明呢", "小明喜欢谁"),
        ("为什么下雨会堵车", "堵车为什么会下雨呢"),
        ("下雨了，路为什么会堵", "路堵了，为什么会下雨"),
    ],
)
def test_who_does_what_to_whom_is_told_by_the_order(a: str, b: str) -> None:
    assert disagree(VERIFIER.view(a), VERIFIER.view(b)) == "direction"
    assert disagree(VERIFIER.view(b), VERIFIER.view(a)) == "direction"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("In Python, how do I sort a list?", "How can I sort a list in Python?"),
        ("How do I change the details of my account?", "How do I change my account details?"),
        ("Is a Visa or Mastercard free?", "Is the Mastercard or the Visa free?"),
        ("What does it mean if my payment is pending?", "What is the meaning of a pending payment?"),
        ("How can I play soccer now?", "Now how do I play soccer?"),
        ("I've lost my card. How do I get another?", "I have lost my card. How can I get another?"),
        ("怎么修改邮箱的密码？", "请问邮箱的密码怎么修改？"),
        ("鸡蛋能用微波炉加热吗", "可以用微波炉加热鸡蛋吗？"),
        ("《边城》是谁写的？", "谁写了《边城》"),
        ("深圳办公室有多少员工？", "深圳办公室的员工有多少？"),
    ],
)
def test_an_order_that_grammar_explains_is_let_through(a: str, b: str) -> None:
    assert disagree(VERIFIER.view(a), VERIFIER.view(b)) == ""


@pytest.mark.parametrize(
    ("text", "language"),
    [("Where is it?", "en"), ("在哪里", "zh"), ("怎么安装 Redis", "zh"), ("Где это?", "other"), ("42", "en")],
)
def test_the_language_is_told_by_the_letters(text: str, language: str) -> None:
    assert language_of(text) == language
