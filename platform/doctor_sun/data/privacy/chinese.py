"""Identifiers of Chinese text, names apart: numbers, records, addresses, by form and label."""

import re

from doctor_sun.data.privacy import checks
from doctor_sun.data.privacy.identifier import Label, Rule, Shape, Text
from doctor_sun.data.privacy.shared import alone

# Between a label and its value. Texts are half-width here: `:` stands for the full-width one too.
IS = r"[ \t]*(?:\([^()]{1,8}\))?[ \t]*(?:变更为|改为|为|是|系|[:#])?[ \t]*"
NUMBER = r"(?:号码|编号|号|id号?|no\.?|码)"


def label(words: str, number: str = NUMBER) -> re.Pattern[str]:
    """A label that ends in a word for number."""
    return re.compile(rf"(?:{words}){number}{IS}")


def account(text: Text, start: int, end: int) -> bool:
    """Whether a word is an account's: said so by a colon, or no word of a language."""
    return text.text[start - 1] == ":" or bool(re.search(r"[\d_-]", text.text[start:end]))


# --- Numbers of persons ---

_TRAVEL = r"(?<![\dA-Za-z])[A-Z]{1,2}\d{7,8}(?![\dA-Za-z])"
_CARD = r"\d{4}(?:[ -]?\d{3,4}){2,3}(?:[ -]?\d{1,4})?(?![\dA-Za-z])"

PERSON_NUMBERS: tuple[Rule, ...] = (
    Label(
        "ID_NUMBER",
        re.compile(
            rf"(?:身份证件?|身份证明|居民证|公民身份|证件|驾驶证|户口本?|老身份证)(?:{NUMBER})?{IS}"
        ),
        re.compile(
            r"(?P<it>[1-9]\d{5}[ -]?\d{4}[ -]?\d{4}[ -]?\d{3}[\dXx]|[1-9]\d{14})(?![\dA-Za-z])"
        ),
        checks.labelled_resident_id,
        digits=15,
    ),
    Label(
        "ID_NUMBER",
        re.compile(rf"(?:军官|士兵|警官|残疾|军人|文职)证件?(?:{NUMBER})?{IS}"),
        re.compile(r"(?P<it>[一-鿿]{1,2}字第?\d{4,10}号|[A-Za-z\d]{6,20})"),
        digits=4,
    ),
    Label(
        "TRAVEL_DOCUMENT",
        re.compile(
            rf"(?:护照|通行证|回乡证|台胞证|居留证|返乡证|旅行证|签证|居住证)(?:{NUMBER})?{IS}"
        ),
        re.compile(r"(?P<it>[A-Za-z]{0,3}\d{7,18}[A-Za-z]?)(?![\dA-Za-z])"),
        digits=7,
    ),
    Label(
        "CARD_NUMBER",
        re.compile(
            rf"(?:银行卡|信用卡|借记卡|储蓄卡|工资卡|银行账户|银行账号|收款账[号户]|账号|(?<![一-鿿])卡号)(?:{NUMBER})?{IS}"
        ),
        re.compile(rf"(?P<it>{_CARD})"),
        digits=13,
    ),
    Label(
        "ACCOUNT",
        re.compile(rf"(?:微信|wechat|weixin|vx)(?:{NUMBER})?{IS}"),
        re.compile(r"(?P<it>[A-Za-z][A-Za-z0-9_-]{5,19}|1[3-9]\d{9})(?![A-Za-z0-9_-])"),
        account,
    ),
    Label(
        "ACCOUNT",
        re.compile(rf"(?:qq|企鹅|抖音|快手|支付宝|微博|小红书)(?:{NUMBER})?{IS}"),
        re.compile(r"(?P<it>[A-Za-z0-9_-]{5,20})(?![A-Za-z0-9_-])"),
        digits=4,
    ),
)

# --- Phones ---

_PHONE_AFTER = r"(?P<it>\+?\(?\d[\d() -]{4,16}\d)(?![\dA-Za-z]|[.]\d)"


def phone_after_label(text: Text, start: int, end: int) -> bool:
    """Accept 7 to 13 digits that are no quantity and no date."""
    said = text.text[start:end]
    digits = sum(character.isdigit() for character in said)
    date = re.fullmatch(r"(?:19|20)\d\d[- ]\d{1,2}[- ]\d{1,2}.*", said)
    return 7 <= digits <= 14 and not date and checks.no_quantity(text, start, end)


PHONES: tuple[Rule, ...] = (
    Shape(
        "PHONE",
        alone(r"(?:(?:\+|00)?86[ -]?)?1[3-9]\d(?:[ -]?\d{4}){2}", r"\dA-Za-z.\-/_+"),
        checks.no_quantity,
        digits=11,
    ),
    Shape(
        "PHONE",
        alone(
            r"(?:\+?86[ -]?)?\(?0(?:10|2\d|[3-9]\d{2})\)?[ -]?[2-9]\d{2,3}[ -]?\d{4}(?:-\d{1,5})?"
        ),
        checks.no_quantity,
        digits=10,
    ),
    Shape("PHONE", alone(r"[48]00[ -]\d{3}[ -]\d{4}|[48]00-\d{4}-\d{3}"), digits=10),
    Label(
        "PHONE",
        re.compile(
            r"(?:电话|手机|座机|固话|传真|联系方式|联系电话|小灵通|短号|热线|致电|拨打|呼叫|tel\.?|mobile|phone)"
            rf"(?:{NUMBER})?{IS}"
        ),
        re.compile(_PHONE_AFTER),
        phone_after_label,
        digits=7,
    ),
    Shape("PHONE", re.compile(r"(?<=\d)\s?(?:转|转接|分机号?)\s?(?P<it>\d{2,6})(?!\d)"), digits=9),
)

# --- Records ---

_TOKEN = r"(?P<it>(?:[A-Za-z]{1,5}[-_]?)?\d[A-Za-z\d_-]*[A-Za-z\d]|[A-Za-z]{1,4}\d|\d)"
_TOKEN += r"(?![A-Za-z\d]|[.:/]\d)"

RECORDS: tuple[Rule, ...] = (
    Label(
        "RECORD_NUMBER",
        label(
            "住院|门诊|急诊|病历|病案|病例|检查|检验|影像|放射|超声|彩超|b超|内镜|胃镜|肠镜|喉镜|支气管镜|核磁|磁共振|钼靶|脑电图?"
            "|肌电图?|透析|发票|收据|结算|押金|候诊|排队|登记|就诊|挂号|就诊卡|诊疗卡|病理|标本|样本|条码|条形"
            "|床位?|病床|x线|x光|ct|mri?|mrn|pacs|ris|心电图|申请|申请单|医嘱|处方|化验|化验单|报告|报告单|流水|档案|健康档案|建档"
            "|筛选|随机|受试者|入组|医保|医保卡|医疗保险|社保|社保卡|社会保障|农合|新农合|参合|参保|保单|合作医疗|患者|病人"
            "|住院病案|放射科|就医|预约|取片|片|玻片|蜡块|手术|输血|血袋|腕带|会员|客户|工|学|产品序列|起搏器序列|机器|设备"
        ),
        re.compile(_TOKEN),
        digits=1,
    ),
    Label(
        "RECORD_NUMBER",
        re.compile(
            rf"(?:序列号|(?<![a-z])s/n|(?<![a-z_])(?:id|mrn|hn)(?:{NUMBER})?|医保卡|社保卡|就诊卡){IS}"
        ),
        re.compile(_TOKEN),
        digits=1,
    ),
    Label(
        "RECORD_NUMBER",
        re.compile(rf"床位?号{IS}|床位?\s*:\s*"),
        re.compile(r"(?P<it>加\d{1,3}|[A-Z]?\d?-?\d{1,3})(?![\d.])(?=床|[,;。、 )]|$)"),
        digits=1,
    ),
    Shape(
        "RECORD_NUMBER",
        re.compile(
            r"(?<![\dA-Za-z.开放设置制共增约近超])(?P<it>加?\d{1,3})床(?![位次日旁]|\d|张|单元|规模|以[上下])"
        ),
        digits=1,
    ),
)

# --- Places, plates ---

_PROVINCES = (
    "北京|天津|上海|重庆|河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南|广东|海南|四川|贵州|云南"
    "|陕西|甘肃|青海|台湾|内蒙古|广西|西藏|宁夏|新疆|香港|澳门"
)
_WHERE = r"(?:[一-鿿]{1,7}?(?:自治区|自治州|省|市|区|县|旗|镇|乡|街道|新区|开发区|盟|州))"
_STREET = (
    r"(?:[一-鿿A-Za-z0-9]{1,14}?"
    r"(?:路|街|道|巷|弄|胡同|大道|村|屯|组|社区|小区|花园|公寓|新村|大院|里|苑|园|庄))"
)
_DOOR = (
    r"(?:(?:[一-鿿]{0,6}?[0-9甲乙丙一二三四五六七八九十附]+"
    r"(?:号院?|弄|栋|幢|座|单元|室|楼|层|段|组|区|户|村|队|社)|[一-鿿]{0,6}[A-Z]座\d*"
    r"|(?<=[号楼座元幢栋-])-?\d{2,4}(?:室|户)?|\d+-\d+(?:-\d+)?(?:室|号)?)[ ]?)"
)
_TAIL = r"(?:[一-鿿A-Za-z0-9#()-]{1,12}(?=[,;。!\n ]|$))?"
_LIVES = r"(?![一-鿿]{0,5}?[住居籍寄址于在请患来到])"


def is_place(text: Text, start: int, end: int) -> bool:
    """Whether what follows a word for living says where, not in which hospital or for how long."""
    said = text.text[start:end]
    return not re.search(r"^.{0,3}(?:院|科|天|日|月|年)|^属|医院|病房|科室|icu|ICU", said)


ADDRESSES: tuple[Rule, ...] = (
    Label(
        "ADDRESS",
        re.compile(
            rf"(?:住址|地址|住所|户籍地|户籍所在地|居住地|籍贯|出生地|出生于|祖籍|家住|户口所在地|收货地|常住地){IS}"
        ),
        re.compile(
            rf"(?P<it>(?:(?:{_PROVINCES})省?市?{_WHERE}{{0,4}}|{_WHERE}{{1,4}}"
            rf"|(?={_STREET}{_DOOR})){_STREET}?{_DOOR}{{0,6}}{_TAIL})"
        ),
        is_place,
    ),
    Label(
        "ADDRESS",
        re.compile(
            rf"(?:居住[于在]|现居[于在]?|现住[于在]?|暂住[于在]?|老家在?|(?<![入就收居转])住[于在]?|请?寄[往至到给]?|来自于?){IS}"
        ),
        re.compile(
            rf"(?P<it>(?:(?:{_PROVINCES})省?市?{_WHERE}{{1,4}}|{_WHERE}{{2,4}}"
            rf"|{_WHERE}?(?={_STREET}{_DOOR}))"
            rf"{_STREET}?{_DOOR}{{0,6}})"
        ),
        is_place,
    ),
    Shape(
        "ADDRESS",
        re.compile(
            rf"(?:(?:{_PROVINCES})省?市?"
            rf"|(?<![一-鿿]){_LIVES}{_WHERE}){_WHERE}{{0,3}}{_STREET}{_DOOR}{{1,6}}"
        ),
        digits=1,
    ),
    Shape(
        "ADDRESS",
        re.compile(
            rf"(?<![一-鿿])[一-鿿]{{2,6}}(?:小区|花园|公寓|新村|家园|社区|家属院|大院){_DOOR}{{1,6}}"
        ),
        digits=1,
    ),
    Shape("ADDRESS", re.compile(rf"(?<=,)(?:{_PROVINCES})省?[一-鿿]{{2,6}}?(?=人[,。;])")),
    Label(
        "ADDRESS",
        re.compile(rf"(?:邮编|邮政编码){IS}"),
        re.compile(r"(?P<it>\d{6})(?!\d)"),
        digits=6,
    ),
    Shape(
        "ADDRESS",
        re.compile(
            r"(?:(?<=[号室座楼元户])|(?<=座\d{3})|(?<=座\d{4})),\s?(?P<it>[0-8]\d{5})(?![\d.])"
        ),
        digits=7,
    ),
)
_PLATE_AREA = "[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼]"
PLATES: tuple[Rule, ...] = (
    Shape(
        "PLATE",
        re.compile(
            rf"{_PLATE_AREA}[A-HJ-NP-Z][ ·.-]?(?:[A-HJ-NP-Z0-9]{{5,6}}"
            rf"|[A-HJ-NP-Z0-9]{{4}}[挂学警港澳领])(?![A-Za-z0-9])"
        ),
        lambda text, start, end: any(c.isdigit() for c in text.text[start:end]),
        digits=1,
    ),
)


RULES: tuple[Rule, ...] = (*PERSON_NUMBERS, *PHONES, *RECORDS, *ADDRESSES, *PLATES)
