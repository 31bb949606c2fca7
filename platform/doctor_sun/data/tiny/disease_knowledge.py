"""Questions on 158 diseases whose answers can be checked, in English and Chinese.

The table is that of faker-healthcare-provider (MIT; its authors: for testing and development only,
never for diagnosis or treatment). Without the package a table of a dozen diseases stands in.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

from doctor_sun.data.assets import read_member
from doctor_sun.data.tiny.source import Sample, dialogue, ranked, rng_for
from doctor_sun.records import Language, make_sample

PACKAGE = "faker-healthcare-provider"
MEMBERS: dict[Language, str] = {
    "en": "faker_healthcare/disease_correlations.py",
    "zh": "faker_healthcare/zh_CN/disease_correlations.py",
}
VARIABLE = "DISEASE_CORRELATIONS"
ASPECTS = ("symptoms", "medications", "medical_specialty", "icd10", "symptom_yes", "symptom_no")
QUESTIONS: dict[Language, dict[str, str]] = {
    "en": {
        "symptoms": "Which symptoms are typical of {disease}?",
        "medications": "Name drugs used to treat {disease}.",
        "medical_specialty": "Which department treats {disease}?",
        "icd10": "What is the ICD-10 code of {disease}?",
        "symptom": "Is {symptom} a typical symptom of {disease}?",
    },
    "zh": {
        "symptoms": "{disease}的典型症状有哪些？",
        "medications": "治疗{disease}的药物有哪些？",
        "medical_specialty": "{disease}应该看哪个科？",
        "icd10": "{disease}的ICD-10编码是什么？",
        "symptom": "{symptom}是{disease}的典型症状吗？",
    },
}
YES_NO: dict[Language, tuple[str, str]] = {"en": ("yes", "no"), "zh": ("是", "否")}
COMMA: dict[Language, str] = {"en": ", ", "zh": "、"}


class Disease(TypedDict):
    """What the table says of a disease."""

    icd10: str
    symptoms: list[str]
    medications: list[str]
    medical_specialty: str


Table = list[tuple[str, Disease]]

# name | department | symptoms | drugs | ICD-10 code
_SMALL: dict[Language, str] = {
    "en": """
Asthma|Pulmonology|wheezing, cough|salbutamol, budesonide|J45
Pneumonia|Pulmonology|fever, cough|amoxicillin, azithromycin|J18
Gout|Rheumatology|joint pain, swelling|colchicine, allopurinol|M10
Migraine|Neurology|headache, nausea|sumatriptan, ibuprofen|G43
Angina|Cardiology|chest pain, dyspnoea|nitroglycerin, aspirin|I20
Epilepsy|Neurology|seizures, confusion|valproate, levetiracetam|G40
Eczema|Dermatology|itching, rash|hydrocortisone, tacrolimus|L30
Cystitis|Urology|dysuria, frequency|nitrofurantoin, fosfomycin|N30
Glaucoma|Ophthalmology|eye pain, blurred vision|latanoprost, timolol|H40
Hypothyroidism|Endocrinology|fatigue, weight gain|levothyroxine|E03
Otitis media|Otolaryngology|ear pain, fever|amoxicillin|H66
Gastritis|Gastroenterology|heartburn, nausea|omeprazole, famotidine|K29
""",
    "zh": """
哮喘|呼吸科|喘息、咳嗽|沙丁胺醇、布地奈德|J45
肺炎|呼吸科|发热、咳嗽|阿莫西林、阿奇霉素|J18
痛风|风湿科|关节痛、肿胀|秋水仙碱、别嘌醇|M10
偏头痛|神经科|头痛、恶心|舒马普坦、布洛芬|G43
心绞痛|心内科|胸痛、气促|硝酸甘油、阿司匹林|I20
癫痫|神经科|抽搐、意识模糊|丙戊酸、左乙拉西坦|G40
湿疹|皮肤科|瘙痒、皮疹|氢化可的松、他克莫司|L30
膀胱炎|泌尿科|尿痛、尿频|呋喃妥因、磷霉素|N30
青光眼|眼科|眼痛、视物模糊|拉坦前列素、噻吗洛尔|H40
甲减|内分泌科|乏力、体重增加|左甲状腺素|E03
中耳炎|耳鼻喉科|耳痛、发热|阿莫西林|H66
胃炎|消化科|烧心、恶心|奥美拉唑、法莫替丁|K29
""",
}


def load_diseases(*, offline: bool = False) -> dict[Language, Table]:
    """The table in both languages, in the same order."""
    tables: dict[Language, Table] = {}
    for language, member in MEMBERS.items():
        code = read_member(PACKAGE, member, offline=offline)
        if code is None:
            return _small_table()
        tables[language] = list(_literal(code, VARIABLE).items())
    return tables


def _literal(code: bytes, variable: str) -> dict[str, Disease]:
    """The value of a module's literal variable, read without running the module."""
    for node in ast.parse(code).body:
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == variable:
            assert node.value is not None
            value: dict[str, Disease] = ast.literal_eval(node.value)
            return value
    raise KeyError(variable)


def _small_table() -> dict[Language, Table]:
    tables: dict[Language, Table] = {"en": [], "zh": []}
    for language, text in _SMALL.items():
        for line in text.strip().splitlines():
            name, department, symptoms, drugs, code = line.split("|")
            entry: Disease = {
                "icd10": code,
                "symptoms": symptoms.split(COMMA[language]),
                "medications": drugs.split(COMMA[language]),
                "medical_specialty": department,
            }
            tables[language].append((name, entry))
    return tables


@dataclass(frozen=True)
class DiseaseKnowledge:
    """Instruction samples in both languages: aspects of diseases, closed questions with a no."""

    tables: dict[Language, Table]
    seed: int
    name: str = "disease_knowledge"

    @property
    def capacity(self) -> int:
        """Diseases times aspects times languages."""
        return len(self.tables["en"]) * len(ASPECTS) * 2

    def sample(self, index: int) -> Sample:
        """Sample number `index`, in a random but fixed order."""
        number = ranked(self.capacity, self.seed, self.name)[index]
        number, second = divmod(number, 2)
        language: Language = "zh" if second else "en"
        position, aspect = divmod(number, len(ASPECTS))
        exchange = self._exchange(language, position, ASPECTS[aspect], index)
        return make_sample(
            source=self.name,
            source_key=f"{position}-{ASPECTS[aspect]}-{language}",
            domain="medical",
            language=language,
            task="instruction",
            turns=dialogue([exchange]),
        )

    def _exchange(
        self, language: Language, position: int, aspect: str, index: int
    ) -> tuple[str, str]:
        name, disease = self.tables[language][position]
        wording = QUESTIONS[language]
        if aspect in ("symptom_yes", "symptom_no"):
            true = aspect == "symptom_yes"
            choices = disease["symptoms"] if true else self._other_symptoms(language, disease)
            symptom = choices[rng_for(self.seed, self.name, index).integers(len(choices))]
            question = wording["symptom"].format(symptom=symptom, disease=name)
            return question, YES_NO[language][0 if true else 1]
        value = disease[aspect]  # type: ignore[literal-required]
        answer = value if isinstance(value, str) else COMMA[language].join(value)
        return wording[aspect].format(disease=name), answer

    def _other_symptoms(self, language: Language, disease: Disease) -> list[str]:
        """Symptoms the table knows but not of this disease."""
        known = {s for _, other in self.tables[language] for s in other["symptoms"]}
        return sorted(known - set(disease["symptoms"]))


def statements(tables: dict[Language, Table]) -> Iterator[tuple[str, Language]]:
    """The table as plain sentences, for pre-training."""
    for name, disease in tables["en"]:
        symptoms, drugs = ", ".join(disease["symptoms"]), ", ".join(disease["medications"])
        text = f"{name} ({disease['icd10']}) belongs to {disease['medical_specialty']}."
        yield f"{text} Typical symptoms are {symptoms}. It is treated with {drugs}.", "en"
    for name, disease in tables["zh"]:
        symptoms, drugs = "、".join(disease["symptoms"]), "、".join(disease["medications"])
        text = f"{name}（{disease['icd10']}）属于{disease['medical_specialty']}。"
        yield f"{text}典型症状包括{symptoms}。治疗药物有{drugs}。", "zh"
