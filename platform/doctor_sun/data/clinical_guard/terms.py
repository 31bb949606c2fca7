"""Words whose exchange changes a finding: sides, signs, times, sites, persons, routes.

Each line below is `axis value: forms`; `*` stands for the rest of an English word. The rule of an
axis says when two texts differ in it:

- ordered: the classes in order must be equal (repeats left out);
- set: the same classes must occur;
- substituted: a class of each text is missing in the other; one text may say less.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

Rule = Literal["ordered", "set", "substituted"]
TermKind = Literal["side", "sign", "time", "site", "person", "drug", "negation"]
AXES: Mapping[str, tuple[TermKind, Rule]] = {
    "side": ("side", "ordered"),
    "amount": ("sign", "ordered"),
    "degree": ("sign", "ordered"),
    "result": ("sign", "ordered"),
    "course": ("sign", "set"),
    "state": ("sign", "set"),
    "bound": ("sign", "ordered"),
    "certainty": ("negation", "set"),
    "answer": ("negation", "ordered"),
    "pace": ("time", "set"),
    "moment": ("time", "substituted"),
    "level": ("site", "ordered"),
    "organ": ("site", "substituted"),
    "sex": ("person", "substituted"),
    "whose": ("person", "set"),
    "route": ("drug", "substituted"),
}

_TERMS = """
side left: left leftward leftwards 左
side right: right rightward rightwards 右
side both: bilateral bilaterally both lungs 双侧 双 两侧 either_side
side one: unilateral unilaterally 单侧
side other: contralateral 对侧
side same: ipsilateral 同侧 患侧
amount more: increas* elevat* higher high enlarg* larger raised rise rising rose risen 升高 增高
amount more: 增大 增多 增加 偏高 扩大 上升 增宽 变大 增粗 肿大 过高 过速
amount less: decreas* reduc* lower lowered lowering low smaller diminish* fell fallen falling
amount less: drop* declin* shrink* shrunk* 降低 减低 缩小 减少 偏低 下降 降至 变小 过低 过缓
course worse: worse worsen* progress* deteriorat* aggravat* 加重 恶化 进展
course better: better improv* regress* resol* 减轻 好转 改善 缓解 吸收
course stable: stable unchanged stability 稳定 无变化 无明显变化 未见变化 未见明显变化
course stable: 无显著变化 未见显著变化 变化不大
state malignant: malignant malignancy 恶性
state benign: benign 良性
state abnormal: abnormal abnormally 异常
state plain: without_contrast 平扫
state normal: normal unremarkable 正常 未见异常 无异常 未见明显异常 无明显异常 未见明显异常征象
result positive: positive reactive 阳性
result negative: negative nonreactive 阴性
degree minimal: minimal minimally trace tiny 微量 极少量
degree mild: mild mildly slight slightly small 轻度 轻微 轻 少量 小量
degree moderate: moderate moderately 中度 中等 中量 中等量
degree severe: severe severely massive large gross extensive marked markedly 重度 严重 大量 重症
degree severe: 显著
bound above: > >= ≥ exceed* above 大于 超过 高于
bound below: < <= ≤ below 小于 低于 不足 不超过
certainty possible: cannot_be_excluded
answer yes: yes
answer no: _no_
pace acute: acute acutely 急性
pace subacute: subacute 亚急性
pace chronic: chronic chronically 慢性
pace old: 陈旧 陈旧性
pace new: 新发 新出现
moment before: before preoperative preoperatively 术前 餐前 饭前 空腹 产前 治疗前
moment after: after postoperative postoperatively 术后 餐后 饭后 产后 治疗后
moment morning: morning 晨起 早晨 清晨 上午
moment night: night bedtime evening 睡前 夜间 晚间
level upper: upper superior superiorly 上叶 上肺 上段 上极 上肢 上野
level middle: middle 中叶 中肺 中段 中野
level lower: lower_lobe inferior inferiorly 下叶 下肺 下段 下极 下肢 下野
level front: anterior anteriorly 前壁 前叶 前段 前缘
level back: posterior posteriorly 后壁 后叶 后段 后缘
level near: proximal proximally 近端
level far: distal distally 远端
level inner: medial medially 内侧
level outer: lateral laterally 外侧
level top: apical apex apices 肺尖
level base: basal basilar bibasilar 基底段 肺底
sex male: man male boy gentleman he his him 男 男性 他
sex female: woman female girl lady she her 女 女性 她
whose family: mother father brother sister 家族史 家族 其父 其母 父亲 母亲 哥哥 弟弟 姐姐 妹妹
whose family: 兄弟 family_history
route mouth: orally oral po by_mouth 口服
route vein: intravenous intravenously iv 静脉 静滴 静推 静注 静脉注射
route muscle: intramuscular intramuscularly im 肌肉注射 肌注
route skin: subcutaneous subcutaneously sc sq subcut 皮下
route inhaled: inhaled inhalation nebulized nebulised 吸入 雾化
route topical: topical topically 外用 局部涂
organ lung: lung lungs pulmonary 肺
organ heart: heart cardiac 心脏 心影
organ liver: liver hepatic 肝
organ kidney: kidney kidneys renal 肾
organ spleen: spleen splenic 脾
organ pancreas: pancreas pancreatic 胰腺
organ gallbladder: gallbladder 胆囊
organ bladder: bladder vesical 膀胱
organ uterus: uterus uterine 子宫
organ ovary: ovary ovaries ovarian 卵巢
organ prostate: prostate prostatic 前列腺
organ thyroid: thyroid 甲状腺
organ breast: breast breasts mammary 乳腺 乳房
organ stomach: stomach gastric 胃
organ colon: colon colonic 结肠
organ rectum: rectum rectal 直肠
organ oesophagus: esophagus esophageal oesophagus oesophageal 食管
organ femur: femur femoral 股骨
organ tibia: tibia tibial 胫骨
organ fibula: fibula fibular 腓骨
organ humerus: humerus humeral 肱骨
organ radius: radius radial 桡骨
organ ulna: ulna ulnar 尺骨
organ hip: hip hips 髋
organ knee: knee knees 膝
organ shoulder: shoulder shoulders 肩
organ ankle: ankle ankles 踝
organ elbow: elbow elbows 肘
organ wrist: wrist wrists 腕
organ frontal: frontal 额叶
organ parietal: parietal 顶叶
organ temporal: temporal 颞叶
organ occipital: occipital 枕叶
organ cerebellum: cerebellum cerebellar 小脑
organ aorta: aorta aortic 主动脉
organ mitral: mitral 二尖瓣
organ tricuspid: tricuspid 三尖瓣
organ atrium: atrium atrial 心房
organ ventricle: ventricle ventricular 心室
"""
FORMS: dict[str, tuple[str, str]] = {}
STEMS: dict[str, tuple[str, str]] = {}
for _line in _TERMS.split("\n")[1:-1]:
    _name, _, _forms = _line.partition(": ")
    _axis, _value = _name.split()
    for _form in _forms.split():
        (STEMS if _form[-1] == "*" else FORMS)[_form.rstrip("*")] = (_axis, _value)

# Phrases that would read otherwise word by word.
_LOWER_PART = "lobes?|lungs?|zones?|extremit|limbs?|quadrant|abd|back|legs?|poles?|third|left|right"
PHRASES = (
    (re.compile(rf"\blower(?= (?:{_LOWER_PART}))"), "lower_lobe"),
    (
        re.compile(r"\bwithout (?:iv |intravenous )?contrast\b|\bnoncontrast\b|\bunenhanced\b"),
        "without_contrast",
    ),
    (re.compile(r"\bby mouth\b"), "by_mouth"),
    (re.compile(r"\bfamily (?:history|hx)\b|\bfamilial\b"), "family_history"),
    (re.compile(r"\bno (?:significant |interval |appreciable |acute )*changes?\b"), "unchanged"),
    (
        re.compile(
            r"\b(?:can ?not|can't|could not|not) (?:be )?(?:completely |entirely )?"
            r"(?:excluded?|ruled? out|exclude)\b|不能(?:完全)?排除|不(?:能)?除外|未(?:能)?排除"
        ),
        "cannot_be_excluded",
    ),
    (re.compile(r"(?:^|[.?!。:;])\s*(?:no|否|不是|没有|无)\s*(?=[.,!。;、]|$)"), ". _no_ "),
    (re.compile(r"(?:^|[.?!。:;])\s*(?:是|是的|有)\s*(?=[.,!。;、]|$)"), ". yes "),
    (re.compile(r"\beither side\b"), "either_side"),
    (re.compile("两(?=[侧肺肾眼耳叶下上手足膝髋乳臂腿肘腕踝肩颈腮胸膈])"), "双"),
    (re.compile(r"(?<=[\da-z%])左右"), " "),
    (re.compile(r"(?<![a-z\d])(?<!\d )l(?= [a-z]{3})"), "left"),
    (re.compile(r"(?<![a-z\d])(?<!\d )r(?= [a-z]{3})"), "right"),
)


_BY_LENGTH = sorted((f for f in FORMS if not re.fullmatch("[a-z_]+", f)), key=len, reverse=True)
CHINESE_TERM = re.compile("|".join(_BY_LENGTH))
TERM = re.compile(rf"[a-z_]+|{CHINESE_TERM.pattern}|[一-鿿]")


@lru_cache(65536)
def class_of(form: str) -> tuple[str, str] | None:
    """Axis and value of a word; None when it is none of the listed terms."""
    if form in FORMS:
        return FORMS[form]
    return next((named for stem, named in STEMS.items() if form.startswith(stem)), None)


def with_phrases(text: str) -> str:
    """A text whose fixed phrases are replaced by one word each."""
    for pattern, word in PHRASES:
        text = pattern.sub(word, text)
    return text


def take_terms(text: str) -> Mapping[str, tuple[str, ...]]:
    """The classes of a text's words in order, by axis; drugs and quantities already taken out."""
    found: dict[str, list[str]] = defaultdict(list)
    for form in TERM.findall(text):
        named = class_of(form)
        if named is not None:
            found[named[0]].append(named[1])
    return {axis: tuple(values) for axis, values in found.items()}
