"""Names of persons in Chinese text, by label, title, relation and place in the sentence.

A candidate is a surname with one or two characters of a given name. It is refused where one of
them is a character of diseases, drugs, organs or grammar, or where the candidate begins a word that
only looks like a name.
"""

import re
from collections.abc import Iterator

from doctor_sun.data.privacy.chinese_name_words import (
    AMBIGUOUS,
    CLINICAL,
    COMMON,
    COMPOUND,
    GIVEN,
    HAN,
    KNOWN,
    NOT_LAST,
    NOT_LAST_OF_TWO,
    NOT_NAMES,
    SURNAMES,
)
from doctor_sun.data.privacy.identifier import Identifier, Text

TITLE = re.compile(
    r"(?:副|主管|主治|住院|实习|值班|责任|带教|全科|家庭|社区)?(?:主任(?:医师|护师|药师|技师)?|医师|医生|大夫"
    r"|教授|护士长?|护师|技师|药师|院长|院士|博士|先生|女士|小姐|同志|老师|同学|老太太?|老汉|大爷|大妈|大娘"
    r"|奶奶|爷爷|阿姨|叔叔)"
)
# Names of other peoples, with a middle dot; the last part ends where a sentence goes on.
_GOES_ON = rf"(?=[^{HAN}]|$|因|于|在|的|诉|男|女|系|曾|为|入|出|住|签|本人|同志|医|先生|主|护|大)"
DOTTED = rf"[{HAN}]{{2,7}}[·・•．](?:[{HAN}]{{2,8}}[·・•．])?[{HAN}]{{2,8}}?{_GOES_ON}"
_DOTTED = re.compile(DOTTED)
_DOT = re.compile("[·・•．]")
_COMPOUND = re.compile(COMPOUND)
_HAN = re.compile(rf"[{HAN}]")
_GIVEN = re.compile(rf"[{HAN}]{{1,2}}")
_TYPICAL = frozenset(GIVEN)


def given_of(said: str) -> str:
    """The given name's characters."""
    return said[2:] if len(said) > 2 and _COMPOUND.match(said) else said[1:]


def is_name(said: str, surnames: str = SURNAMES) -> bool:
    """Whether two to four characters can be a name."""
    given = given_of(said)
    if not _GIVEN.fullmatch(given) or (said[0] not in surnames and not _COMPOUND.match(said)):
        return False
    if not CLINICAL.isdisjoint(given) or NOT_NAMES.match(said) or TITLE.match(given):
        return False
    if said[0] in AMBIGUOUS and not (len(given) == 2 and is_typical(said)):
        return False
    refused = NOT_LAST_OF_TWO if len(given) == 1 else NOT_LAST
    return given[-1] not in refused and given[0] not in "因于在诉签被已至未不是与和及或有"


def is_typical(said: str) -> bool:
    """Whether every character of the given name is one that given names have."""
    return _TYPICAL.issuperset(given_of(said))


# What may follow a name that no punctuation ends.
_FOLLOW = re.compile(
    rf"[^{HAN}·•]|$|因|于|在|的|曾|系|诉|代|为|之|签|既往|自|今|现|昨|主诉|入|出院|本人|男|女|同|与|和|及|到|来|至"
    r"|将|已|被|经|行|夜间|突|反复|告知|登录|随访|全家|敬|有|无|出现|发生|术|接受|诊断|收治|住|转|患|欲|要求|拒绝"
    r"|前来|查房|接诊|会诊|开具|表示|先生|女士|医|大夫|教授|主|护士|博士|副|老师|同学|同志|身份|性别|联系|电话|手机"
    r"|体检|就诊|复诊|向|给|称|说|报告|审核|目前|近|对|未|申请|提出|操作|陪|送|带|年龄|病情|生于|病历|抢救|死亡|家"
    r"|确认|负责|建议|嘱|指示|完成|书写|记录|执行|核对|开始|还|也|上午|下午|凌晨|晨|晚|当|一行|等|夫妇|这|那|是|予"
    r"|驾|共|骑|乘|从|最|去|过|用|服|吃|感|前|后|拟|办|领|取|拔|拆|换|输|返|回|做|打|接|查|看|开|遵|阅|巡|协助|参加|核酸|可|不"
    r"|没|很|一|正|仍|均|应|须|多|再|每|上|下"
)


def name_at(text: str, start: int, surnames: str = SURNAMES, strict: bool = False) -> int:
    """Where a name that begins at `start` ends; 0 when none does.

    Three characters (four behind a compound surname) are tried first. What follows must be able to
    follow a name, unless both characters of the given name are typical.

    Args:
        text: half-width text.
        start: where the surname stands.
        surnames: those that may begin a name here.
        strict: whether each character of the given name must be typical.
    """
    longest = 4 if _COMPOUND.match(text, start) else 3
    for length in range(longest, 1, -1):
        said = text[start : start + length]
        if len(said) == length and is_name(said, surnames):
            typical = is_typical(said)
            sure = typical and len(given_of(said)) == 2
            if (typical or not strict) and (sure or _FOLLOW.match(text, start + length)):
                return start + length
    return 0


# Words that a sentence may go on from with one that looks like a name.
_SPOKEN = (
    r"患者|患儿|病人|病员|病友|伤者|死者|逝者|产妇|孕妇|新生儿|婴儿|老人|家属|家长|医师|医生|大夫|主任|教授|专家"
    r"|护士长?|护师|主管|妻子|丈夫|爱人|儿子|女儿|母亲|父亲|哥哥|弟弟|姐姐|妹妹|孙子|孙女|奶奶|爷爷|外婆|外公|姥姥"
    r"|姥爷|舅舅|叔叔|阿姨|婆婆|公公|岳父|岳母|男友|女友|妈妈?|爸爸?|老公|老婆|老伴|同事|邻居|室友|同学|朋友|技师|药师"
    r"|我是|职工|经理|工人|学生|车主|司机|民警|老师|用户|审核|居民|村民|住户|业主|陪护"
)
_ROLES = (
    r"患方代表|院方代表|患者家属|联系人|联络人|监护人|陪同人员?|报警人|投诉人|[收寄][件货款]人|付款人|户名|驾驶员|操作[员者]"
    r"|报告[人者]|复核[人者]|审核[人者]|记录[人者]|签[名字]人?|参[保合]人|投保人|委托人|代理人|预约人|申请[人者]"
    r"|受试者|研究者|执行[人者]|核对[人者]|采[集样][人者]|检验[人者]|[打录][印入][人员]|术者|手术者|主刀|助手|第[一二三]助手"
    r"|[一二三]助|(?:洗手|巡回|器械|责任|值班)护士|麻醉[师者]|(?:送检|报告|审核|经治|接诊|申请|主治|主管|值班|管床|麻醉|病理"
    r"|诊断|检查|会诊|住院|门诊|责任|手术|复诊|首诊|主诊)(?:医师|医生|护师)|技术员|营养师|治疗师|配偶|未婚[夫妻]"
    r"|其[子女妻夫母父兄弟姐妹婿媳]|之[子女母父妻夫]|姓名|名字|名叫|取名|起名|真名|联系方式|我叫|病人叫|叫做|责任人|负责人|经办人|见证人|证明人"
    r"|会诊者|书写者|实习生|学员|志愿者|社工|持有人|接种者|录入员|[护疗]理员"
)
_LABEL = re.compile(
    rf"(?:(?P<role>{_ROLES})|(?P<spoken>{_SPOKEN})|[{HAN}](?P<suffix>[人者员]))"
    r"(?:姓名|签名|签字|本人)?(?:\([^()]{1,8}\))?(?P<mark>\s*(?:[:/]|为|是|叫|系)?\s*)"
)
_FREE = re.compile(
    r"(?:姓名|(?<![一-鿿])名字|真名|曾用名|名叫|(?:家属|患者|医[师生])签[名字])\s*(?P<mark>[为是:])?\s*"
    rf"(?P<it>{DOTTED}|[{HAN}]{{2,4}}?)(?=[^{HAN}·•]|性别|年龄|男|女|$)"
)
_AT_WORK = re.compile(r"于[家门院外当今昨此某上下前后急术入出凌午晨夜早晚年月日社单学工市县省我本]")


def _by_label(text: str, record: bool) -> Iterator[tuple[int, int]]:
    """Behind a role, with a colon or not."""
    for match in _LABEL.finditer(text):
        start, colon = match.end(), ":" in match["mark"]
        dotted = _DOTTED.match(text, start)
        if dotted and (record or colon):
            yield dotted.span()
            continue
        known = (KNOWN if record else COMMON) if match["suffix"] else SURNAMES
        end = name_at(text, start, known, strict=True) if not colon else 0
        if not end and not match["suffix"]:
            end = name_at(text, start, SURNAMES if colon or match["role"] else COMMON)
        if not end and match["spoken"] and record and (long := name_at(text, start, KNOWN)):
            end = long if long - start > 2 else 0
        if end and not _AT_WORK.match(text, start):
            yield start, end
    for match in _FREE.finditer(text):
        said = match["it"]
        free = record and match["mark"] and CLINICAL.isdisjoint(said[1:])
        if is_name(said) or (free and not NOT_NAMES.match(said)):
            yield match.span("it")


_BEFORE_SURNAME = re.compile(rf"(?:^|[^{HAN}]|[院科请由经与和找看让叫位是谢及问跟对被人者])$")


def _by_title(text: str) -> Iterator[tuple[int, int]]:
    """Before a title: full names anywhere, a surname alone where a word ends before it."""
    for match in TITLE.finditer(text):
        end = match.start()
        for length in (4, 3, 2):
            said = text[max(0, end - length) : end]
            wanted = len(said) == length and (length < 4 or _COMPOUND.match(said))
            if wanted and is_name(said) and _begins(text, end - length) and said[0] != "于":
                yield end - length, end
                break
        else:
            alone = text[end - 1 : end] if end else ""
            known = alone and alone in KNOWN and alone not in "于向时任相令当强安温"
            if known and _BEFORE_SURNAME.search(text[max(0, end - 2) : end - 1]):
                yield end - 1, end


def _begins(text: str, start: int) -> bool:
    """Whether a word may begin here."""
    thanks = text[max(0, start - 1) : start + 1] in ("感谢", "谢谢", "多谢", "致谢")
    return not thanks and text[max(0, start - 1) : start] not in set("大小各该某每这那")


# A name by itself, then what a record says next about its person.
_SAID_NEXT = (
    r"(?=\s*[,、 (/|]\s*(?:男|女|\d{1,3}岁|[MF](?![A-Za-z])|住院号|病历号|床号|ID|身份证|性别|年龄"
    r"|电话|父子|母子|女儿"
    r"|儿子|妻子|配偶|丈夫|父亲|母亲|本人|未婚|已婚|离异|丧偶|1[3-9]\d{9})"
    r"|\s(?:男|女)|(?:男|女)[,性 ]|于\d|之[子女母父妻夫]|敬上|全家敬上)"
)
_OPENING = re.compile(
    rf"(?:^|(?<=[^{HAN}])|(?<=患者)|(?<=病人)|(?<=[死伤]者)|(?<=[产孕]妇)|(?<=患儿)|(?<=家属))"
    rf"(?P<it>(?:{COMPOUND})[{HAN}]{{1,2}}|[{SURNAMES}][{HAN}]{{1,2}}){_SAID_NEXT}"
)
_DOTTED_OPENING = re.compile(
    rf"(?:^|(?<=[^{HAN}])|(?<=患者)|(?<=病人)|(?<=[死伤]者)|(?<=[产孕]妇)|(?<=患儿)"
    rf"|(?<=家属))(?P<it>(?!{_SPOKEN}|{_ROLES}){DOTTED}){_SAID_NEXT}"
)
_DOTTED_ALONE = re.compile(
    rf"(?:^|(?<=[^{HAN}]))(?P<it>(?!{_SPOKEN}|{_ROLES}){DOTTED})(?=[^{HAN}]|$)"
)
# Names of other peoples without a surname, where the people is said.
_ETHNIC = re.compile(
    rf"(?:^|[^{HAN}]|{_SPOKEN}|姓名)[:]?\s*(?P<it>[{HAN}]{{2,5}}),\s?(?:[男女]性?,\s?)?"
    rf"(?:\d{{1,3}}岁,\s?)?[{HAN}]{{1,4}}族"
)


def _by_place(text: str, record: bool) -> Iterator[tuple[int, int]]:
    """At the start of a clause, before sex, age, people, number or relation."""
    for match in _OPENING.finditer(text):
        if is_name(match["it"]):
            yield match.span("it")
    if _DOT.search(text):
        for match in _DOTTED_OPENING.finditer(text):
            yield match.span("it")
        for match in _DOTTED_ALONE.finditer(text) if record else ():
            if CLINICAL.isdisjoint(match["it"]):
                yield match.span("it")
    for match in _ETHNIC.finditer(text) if "族" in text else ():
        if CLINICAL.isdisjoint(match["it"]) and not NOT_NAMES.match(match["it"]):
            yield match.span("it")


_LISTED = re.compile(r"\s*[、/]\s*")


def _more(text: str, end: int) -> Iterator[tuple[int, int]]:
    """Further names of a list behind one."""
    while (mark := _LISTED.match(text, end)) and (end := name_at(text, mark.end())):
        yield mark.end(), end


# A record, not a text about somebody known: what must stand in a text whose names have no context.
_RECORD = re.compile(
    r"患者|病人|患儿|入院|住院|出院|主诉|门诊|急诊|签[字名]|护士|电话|手机|身份证|家属|联系人|收件|病历|就诊|复诊|本院|我院|我科"
)
_FORM = re.compile(
    rf"(?<![《〈“\"])(?![于常文易方高万向时温安相和同令别当任华江])[{KNOWN}][{GIVEN}]{{2}}(?![》〉·•])"
)


def _by_form(text: str) -> Iterator[tuple[int, int]]:
    """Three characters that are a name wherever they stand."""
    for match in _FORM.finditer(text):
        if is_name(match[0]):
            yield match.span()


def chinese_names(text: Text, record: bool) -> Iterator[Identifier]:
    """Names of persons by their context.

    Args:
        text: any text.
        record: whether the text holds other identifiers; words for care say the same.
    """
    said = text.text
    if said.isascii() or not _HAN.search(said):
        return
    record = record or bool(_RECORD.search(said))
    found = {*_by_label(said, record), *_by_title(said), *_by_place(said, record)}
    if record:
        found.update(_by_form(said))
    for span in found | {more for _, end in found for more in _more(said, end)}:
        yield Identifier("NAME", *span)
