"""C-Eval: Chinese examinations in 52 subjects, five worked examples before each question.

Prompt and published scoring are OpenCompass's (ceval_gen_5f30c7): the first upper-case letter of
the answer; the mean over subjects. Its answers are public for the validation split alone.
"""

from collections import defaultdict
from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.ceval import BENCHMARK, split_items
from doctor_sun.data.benchmarks.item import BenchmarkItem
from doctor_sun.evaluation.scoring import Row, Score, hit
from doctor_sun.evaluation.scoring.choice import gold_keys, one_option
from doctor_sun.evaluation.tasks.task import Item, Prompts, Task, item_of

PROMPT = (
    "以下是中国关于{subject}考试的单项选择题，请选出其中的正确答案。\n{question}\n{options}\n答案: "
)
SHOTS = 5


def prompt(item: BenchmarkItem) -> str:
    """The question in the published form."""
    options = "\n".join(f"{key}. {text}" for key, text in item.keyed_options.items())
    subject = SUBJECTS.get(item.groups["subject"], item.groups["subject"])
    return PROMPT.format(subject=subject, question=item.question, options=options)


def load(folder: UPath, prompts: Prompts) -> Iterator[Item]:
    """The validation questions, each after the first five examples of its subject."""
    shots: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for item in split_items(folder, "dev"):
        shots[item.groups["subject"]].append((prompt(item), item.keys))
    for item in split_items(folder, "val"):
        asked = item_of(BENCHMARK, item, prompt(item), item.keys)
        examples = tuple(shots[item.groups["subject"]][:SHOTS])
        yield Item(**{**vars(asked), "shots": examples})


def published(row: Row) -> Score:
    """The first upper-case letter, whatever it stands in."""
    first = next((letter for letter in row.prediction if letter.isupper()), "")
    return hit(first == gold_keys(row), bool(first))


# The subjects' names in the prompt, by the names of their files (hf.co/datasets/ceval/ceval-exam).
SUBJECTS = {
    "computer_network": "计算机网络",
    "operating_system": "操作系统",
    "computer_architecture": "计算机组成",
    "college_programming": "大学编程",
    "college_physics": "大学物理",
    "college_chemistry": "大学化学",
    "advanced_mathematics": "高等数学",
    "probability_and_statistics": "概率统计",
    "discrete_mathematics": "离散数学",
    "electrical_engineer": "注册电气工程师",
    "metrology_engineer": "注册计量师",
    "high_school_mathematics": "高中数学",
    "high_school_physics": "高中物理",
    "high_school_chemistry": "高中化学",
    "high_school_biology": "高中生物",
    "middle_school_mathematics": "初中数学",
    "middle_school_biology": "初中生物",
    "middle_school_physics": "初中物理",
    "middle_school_chemistry": "初中化学",
    "veterinary_medicine": "兽医学",
    "college_economics": "大学经济学",
    "business_administration": "工商管理",
    "marxism": "马克思主义基本原理",
    "mao_zedong_thought": "毛泽东思想和中国特色社会主义理论体系概论",
    "education_science": "教育学",
    "teacher_qualification": "教师资格",
    "high_school_politics": "高中政治",
    "high_school_geography": "高中地理",
    "middle_school_politics": "初中政治",
    "middle_school_geography": "初中地理",
    "modern_chinese_history": "近代史纲要",
    "ideological_and_moral_cultivation": "思想道德修养与法律基础",
    "logic": "逻辑学",
    "law": "法学",
    "chinese_language_and_literature": "中国语言文学",
    "art_studies": "艺术学",
    "professional_tour_guide": "导游资格",
    "legal_professional": "法律职业资格",
    "high_school_chinese": "高中语文",
    "high_school_history": "高中历史",
    "middle_school_history": "初中历史",
    "civil_servant": "公务员",
    "sports_science": "体育学",
    "plant_protection": "植物保护",
    "basic_medicine": "基础医学",
    "clinical_medicine": "临床医学",
    "urban_and_rural_planner": "注册城乡规划师",
    "accountant": "注册会计师",
    "fire_engineer": "注册消防工程师",
    "environmental_impact_assessment_engineer": "环境影响评价工程师",
    "tax_accountant": "税务师",
    "physician": "医师资格",
}

TASKS = (
    Task(
        name="ceval",
        title="C-Eval",
        source=BENCHMARK.source,
        split="ceval-exam, validation",
        items="1,346 in 52 subjects",
        prompt=PROMPT,
        published_by="OpenCompass ceval_gen_5f30c7",
        load=load,
        published=published,
        corrected=one_option,
        macro={"accuracy": "subject"},
        max_tokens=16,
    ),
)
