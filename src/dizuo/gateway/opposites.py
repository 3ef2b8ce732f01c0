"""Words of which one in a question and the other in its twin make it another question.

Groups: each word against every other of its line. English forms are written out where the stem does not cover them.
"""

import re

_EN = """
open close|opened closed|opening closing|buy sell|buying selling|bought sold|enable disable|enabled disabled
enabling disabling|increase decrease|increasing decreasing|raise lower reduce|gain lose|start stop end|starting stopping
begin finish|turn on|lock unlock|locked unlocked|block unblock|freeze unfreeze|install uninstall|subscribe unsubscribe
follow unfollow|mute unmute|pin unpin|add remove delete|insert delete|create delete|show hide|accept reject decline
accepted rejected declined|allow forbid block|approve deny|approved denied|send receive|sent received|sending receiving
sender receiver recipient|deposit withdraw|deposits withdrawals|deposit withdrawal|lend borrow|push pull|upload download
import export|encrypt decrypt|encode decode|compress decompress extract|login logout|connect disconnect|attach detach
include exclude|including excluding|with without|before after|above below|over under|inside outside|indoor outdoor
up down|left right|top bottom|front back|first last|next previous|north south east west|northern southern eastern western
left-handed right-handed|more less fewer|most least fewest|many few|maximum minimum|max min|highest lowest|high low
largest smallest|biggest smallest|large small|big small|bigger smaller|larger smaller|longest shortest|long short
longer shorter|oldest youngest newest|old new|old young|older newer younger|earliest latest|early late|earlier later
fastest slowest|fast slow|faster slower|quick slow|quickly slowly|cheapest expensive|cheap expensive|cheaper pricier
hot cold|hotter colder|hottest coldest|warm cool|wet dry|heavy light|heaviest lightest|thick thin|strong weak|rich poor
hard easy|hard soft|difficult easy|good bad|better worse|best worst|best-case worst-case|true false|right wrong
positive negative|advantage disadvantage|pros cons|benefit risk|legal illegal|safe dangerous|safe unsafe|healthy unhealthy
public private|internal external|input output|read write|row column|horizontal vertical|ascending descending
client server|parent child|husband wife|father mother|son daughter|brother sister|male female|man woman|men women|boy girl
king queen|uncle aunt|nephew niece|he she|day night|arrival departure|arrive depart leave|arrives departs|win lose
won lost|winner loser|teacher student|doctor patient|employer employee|buyer seller|landlord tenant|lender borrower
credit debit|physical virtual|breakfast lunch dinner|inhale exhale|melt freeze|numerator denominator|even odd|static dynamic
synchronous asynchronous|local remote|online offline|required optional|mandatory optional|temporary permanent|always never
everyone nobody|all none|both neither|full empty|whole part|success failure|succeed fail|import-side export-side
convex concave|acid base|encode decode|mean median|debit credit|red blue green yellow white black orange purple pink brown
single married|pregnant postpartum|hardware software|frontend backend|gross net|domestic international|primary secondary
introvert extrovert|on off|higher lower|heavier lighter|live die|lived died|born died|follow reject|found destroy|founded destroyed
support reject oppose against|help threaten hinder|unite divide|united divided|promote discourage encourage|like dislike hate love
leave return|left returned|ahead behind|begin end|began ended|beginning end|ally enemy|allies enemies|forbid permit|in out
past future present|attack retreat|isolated connected|with from|remember forget|import export|pass fail|passed failed|build demolish
to from|minimum average maximum|average total|singular plural|uppercase lowercase|upper lower|bright dark|light dark|friend enemy
cat dog|coffee tea|lend borrow|rent buy|hire fire|promote demote|praise criticise|attack defend
sunrise sunset|import export|ingress egress|expand collapse|zoom-in zoom-out|maximise minimise|maximize minimize|sync async
integer float|android ios|windows macos linux|mac windows|python javascript java rust ruby php kotlin swift
english chinese french german spanish japanese korean italian russian arabic portuguese|one-way return|adult child
cancel confirm|cancel reschedule|cancelled confirmed|cold hot|activate deactivate|activated deactivated|charge discharge
contactless chip|cash card|top-up withdrawal|refund payment|lost stolen|incoming outgoing|inbound outbound|monthly yearly
daily weekly monthly yearly annually|daily weekly|annual monthly|theory practice|cause effect|causes effects symptoms
symptom treatment|treat prevent|treatment prevention|lend borrow|plus minus|multiply divide|square cube|area perimeter
radius diameter|speed acceleration|mass weight|sine cosine tangent|stack queue|vowel consonant|noun verb adjective adverb
"""
_ZH = """
打开 关闭|开启 关闭|开门 关门|开机 关机|启用 禁用 停用|启动 停止 关闭|开始 结束 停止|买 卖|购买 出售 出租|买入 卖出|进口 出口|进 出去|上部 下部|上半 下半|上册 下册|上集 下集|生前 死后
入口 出口|增加 减少|增长 下降|上升 下降|升高 降低|提高 降低|涨价 降价|上涨 下跌|涨 跌|加 减|加法 减法 乘法 除法|增肥 减肥|增重 减重
添加 删除|新增 删除|创建 删除|插入 删除|显示 隐藏|锁定 解锁|绑定 解绑|冻结 解冻|安装 卸载|订阅 退订|关注 取关|登录 退出 注册 注销|登录 登出
注册 注销|上传 下载|导入 导出|加密 解密|编码 解码|压缩 解压|连接 断开|接受 拒绝|同意 反对 拒绝|允许 禁止|批准 驳回|发送 接收|发送 收到|发件 收件
寄 收|存款 取款 贷款|存钱 取钱|存 取出|充值 提现 退款|借给 借来|收入 支出|赚 亏|盈利 亏损|赢 输|胜 负|成功 失败|包含 不含|之前 之后|以前 以后
以上 以下|上面 下面|里面 外面|室内 室外|左 右|前面 后面|前门 后门|第一 最后|最早 最晚|最先 最后|上班 下班|上课 下课|上车 下车|上海 北京
北方 南方|东 西 南 北|东部 西部 南部 北部|东边 西边 南边 北边|最多 最少|更多 更少|多 少|最大 最小|更大 更小|大 小|最高 最低|更高 更低|高 低 矮
最长 最短|长 短|最快 最慢|快 慢|更快 更慢|最好 最差|更好 更差|好 坏|优点 缺点|优势 劣势|利 弊|好处 坏处|最贵 最便宜|贵 便宜|冷 热|最冷 最热
暖 凉|湿 干燥|胖 瘦|强 弱|轻 重|厚 薄|新 旧|老 年轻|年老 年轻|早 晚|早上 晚上|白天 晚上 夜里|日出 日落|真 假|对 错|合法 非法|安全 危险|公开 私有
公共 私人|内部 外部|输入 输出|读取 写入|行 列|升序 降序|横向 纵向|水平 垂直|客户端 服务器|父 子|丈夫 妻子|爸爸 妈妈|父亲 母亲|儿子 女儿|哥哥 弟弟
姐姐 妹妹|男 女|男性 女性|老师 学生|医生 病人|买家 卖家|房东 房客 租客|甲方 乙方|国内 国外 国际|到达 出发|来 去|单程 往返|线上 线下|在线 离线
静态 动态|同步 异步|本地 远程|必填 选填|临时 永久|总是 从不|全部 部分|满 空|成年 未成年|单身 已婚|结婚 离婚|硬件 软件|前端 后端|税前 税后
饭前 饭后|餐前 餐后|孕前 产后|早餐 午餐 晚餐|早饭 午饭 晚饭|红 蓝 绿 黄 白 黑 紫|苹果 香蕉 橙子|猫 狗|咖啡 茶|升级 降级|放大 缩小|激活 停用
预订 取消|确认 取消|挂失 补办|每天 每周 每月 每年|理论 实践|原因 结果 症状|预防 治疗|面积 周长|半径 直径|名词 动词 形容词|苹果 安卓|安卓 iOS
英语 中文 汉语 法语 德语 日语 韩语 俄语 西班牙语|英文 中文 法文 德文 日文|阳历 阴历|公历 农历|阳性 阴性|正 负|奇数 偶数|最大值 最小值|凸 凹|酸 碱
"""


def _pairs(groups: str) -> tuple[tuple[str, str], ...]:
    found: dict[tuple[str, str], None] = {}
    for group in groups.replace("\n", "|").split("|"):
        words = group.split()
        found.update({(a, b): None for a in words for b in words if a != b})
    return tuple(found)


# A single character is a word only where it is not the beginning of another: 开始 and 关于 open and close nothing.
OPEN_ZH = re.compile(r"(?<![公召离分展])开(?![始心发放学展玩会头票设明元户源幕支花朗拓创])")
SHUT_ZH = re.compile(r"(?<![有相无海机难攻])关(?![于系键心注联怀节爱税闭])")

OPPOSITES_EN = _pairs(_EN)
OPPOSITES_ZH = _pairs(_ZH)
