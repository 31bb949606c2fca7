#!/usr/bin/env python
"""Our published scores against MultiMedEval 1.0.0 itself, on random answers full of quirks.

    python benchmarks/published_scores.py --originals /tmp/originals/bin/python
        [--cases 2000] [--seed 0] [--quick]

MultiMedEval lives in an environment of its own, made once:

    python3.11 -m venv /tmp/originals
    /tmp/originals/bin/pip install torch==2.13.0
    /tmp/originals/bin/pip install torchmetrics==1.9.0 nltk pandas scikit-learn datasets dill \\
        gdown nibabel requests pillow tqdm
    /tmp/originals/bin/pip install --no-deps multimedeval==1.0.0

There its own `evaluate` of VQA-Rad, MedQA and PubMedQA scores the cases. Two things are replaced,
neither of which a score touches: the package's `__init__` (it wants AllenNLP's transformers and
spaCy) and `bert_score` (report generation). The same cases go through `jobs/evaluate.py`. Fails
when a metric of the two differs by more than 1e-6 (BLEU there is float32). Without `--originals`
nothing is compared, and it says so.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
MOST_DIFFERENCE = 1e-6
NAMES = {  # ours: theirs
    "vqa": {
        "bleu1": "bleu",
        "closed_accuracy": "closedQuestionsAccuracy",
        "open_recall": "openQuestionsRecall",
        "recall": "recall",
        "open_accuracy": "openQuestionsAccuracy",
        "f1": "F1",
    },
    "medqa": {"accuracy": "accuracy"},
    "pubmedqa": {"accuracy": "accuracy"},
}
# Runs in the other environment: a file of cases in, their metrics as one line of JSON out.
ORIGINAL = """
import importlib.metadata, importlib.util, json, sys, types

package = types.ModuleType("multimedeval")
package.__path__ = list(importlib.util.find_spec("multimedeval").submodule_search_locations)
sys.modules["multimedeval"] = package
sys.modules["bert_score"] = types.SimpleNamespace(BERTScorer=None)
from multimedeval.qa import MedQA, PubMedQA
from multimedeval.utils import BatcherOutput
from multimedeval.vqa import VQARad

def medqa(case):
    options = [{"key": key, "value": text} for key, text in case["options"].items()]
    gold = case["answer"]
    return {"options": options, "answer_idx": gold, "answer": case["options"][gold]}

kinds = {
    "vqa": (VQARad, lambda case: {"answer": case["answer"]}),
    "medqa": (MedQA, medqa),
    "pubmedqa": (PubMedQA, lambda case: {"answer": [case["answer"]]}),
}
found = {}
for name, cases in json.load(open(sys.argv[1], encoding="utf-8")).items():
    kind, sample = kinds[name]
    task = kind(engine=None, logger=None)
    task.dataset = [sample(case) for case in cases]
    said = [
        {"idx": i, "answer": BatcherOutput(text=case["prediction"])} for i, case in enumerate(cases)
    ]
    found[name] = task.evaluate(said).metrics
wanted = ("multimedeval", "torchmetrics", "torch")
versions = {name: importlib.metadata.version(name) for name in wanted}
print(json.dumps({"metrics": found, "versions": versions}))
"""

_SPACED = {
    "findings": """nodule effusion pneumothorax cardiomegaly fracture edema consolidation
        atelectasis mass opacity calcification hemorrhage infarct cyst stenosis abscess hernia
        gastritis adenocarcinoma necrosis""",
    "places": """left right upper lower lobe lung liver spleen kidney brain heart pancreas bladder
        colon frontal parietal occipital zone hilum pleura""",
    "drugs": """aspirin heparin warfarin metformin insulin amoxicillin vancomycin furosemide
        digoxin lisinopril prednisone morphine atropine naloxone omeprazole""",
    "small": "the a an is of in with and on for it this that there are no not or",
    "numbers": """none zero one two three four five six seven eight nine ten 0 1 2 3 12 1.5 0.5 .5
        3. 1,500 2,000,000 1,5 50% 10mm""",
    "shortened": """dont isnt cant doesnt wasnt its theres whats theyre youve couldntve couldn'tve
        shouldnt've wouldntve maam oclock lets im Im ive yall'll somebody'd he's hes twas
        don't isn't y'all'll couldn't've""",
    "chinese": "肺 肺部 左侧 右上肺野 是的。 没有， 胸腔积液； 答案： （双肺）",
    "yes_no": "yes no not Yes No NO maybe none unlikely normal",
    "marks": """
        ; / [ ] " { } ( ) = + \\ _ - > < @ ` , ? ! . : ' * # % & $ ~ | ... -- 、 ？ • “ –""",
    "decisions": "yes no maybe not Yes, No: maybe/",
}
WORDS = {kind: text.split() for kind, text in _SPACED.items()} | {
    "modalities": ["x-ray", "CT", "MRI-DWI", "T1/T2", "H&E stain", "PET-CT", "MRI, T2", "T 2"]
}
WEIGHTS = {
    **{"findings": 8, "places": 8, "small": 6, "numbers": 3, "modalities": 2, "shortened": 2},
    **{"chinese": 1, "yes_no": 2},
}
GLUES = {  # between two words; * stands for a mark
    **{" ": 30, "  ": 1, "\n": 1, "\t": 1, "\u3000": 1, "*": 4, "* ": 4, " *": 2, " * ": 1},
    "* *": 1,
}


def words(random: Random, most: int) -> list[str]:
    """Some words of an answer, of every kind."""
    chosen = random.choices(
        list(WEIGHTS), weights=list(WEIGHTS.values()), k=random.randint(1, most)
    )
    return [random.choice(WORDS[kind]) for kind in chosen]


def written(random: Random, parts: list[str]) -> str:
    """The words as a model might write them: capitals, marks with and without spaces, repeats."""
    text = ""
    for number, part in enumerate(parts):
        word = random.choice([part, part, part, part.upper(), part.capitalize()])
        glue = random.choices(list(GLUES), weights=list(GLUES.values()))[0]
        glue = glue.replace("*", random.choice(WORDS["marks"]))
        text += (glue if number else "") + word
    ends = ["", ".", "!", "?", " .", ":", "。", "." * random.randint(28, 45), "\n", " " * 3]
    text += random.choices(ends, weights=[10, 8, 1, 1, 1, 1, 1, 1, 1, 1])[0]
    if random.random() < 0.05:
        text = random.choice(WORDS["marks"]) + text
    if random.random() < 0.05:
        text = text.replace(" ", random.choice([". ", ".", ", ", ","]))
    return text


def reworded(random: Random, answer: str) -> list[str]:
    """An answer's words, all or some: shuffled, twice, without apostrophes, among others."""
    parts = answer.split()
    kept = [part for part in parts if random.random() < 0.8]
    if random.random() < 0.3:
        random.shuffle(kept)
    if random.random() < 0.2:
        kept += kept
    if random.random() < 0.2:
        kept = [part.replace("'", "") for part in kept]
    before, after = (words(random, 3) if random.random() < 0.4 else [] for _ in range(2))
    return [*before, *kept, *after]


def vqa_case(random: Random) -> dict[str, Any]:
    """One question about an image: four in ten are yes or no."""
    if random.random() < 0.4:
        answer = random.choice(["yes", "no", "Yes", "No", "yes.", " no ", "NO", "no!"])
        said = random.choices([WORDS["yes_no"], words(random, 6)], weights=[3, 1])[0]
        parts = [random.choice(said), *(words(random, 5) if random.random() < 0.5 else [])]
        random.shuffle(parts)
    else:
        answer = written(random, words(random, 4))
        parts = reworded(random, answer) if random.random() < 0.7 else words(random, 8)
    empty = random.random() < 0.03
    prediction = random.choice(["", " ", ".", "the", "\n"]) if empty else written(random, parts)
    return {"answer": answer, "prediction": prediction}


def medqa_case(random: Random) -> dict[str, Any]:
    """One question with five options, which may share words; answered by letter or by text."""
    keys = "ABCDE"
    texts = [
        written(
            random,
            random.choices(
                [*WORDS["drugs"], *WORDS["places"], "therapy", "is"], k=random.randint(1, 4)
            ),
        )
        for _ in keys
    ]
    options = dict(zip(keys, texts, strict=True))
    said, other = random.choices(keys, k=2)
    text = options[said]
    forms = [
        *[said, said.lower(), f"{said}.", f"({said})", f"{said}: {text}", f"{said}) {text}", text],
        *[f"The answer is {said}.", f"The answer is {said}: {text}.", f"Option {said} is correct"],
        *[text.upper(), f"**{said}**", f"Answer: {said}", f"{said} or {other}", f"答案是{said}。"],
        *[f"{text} and {options[other]}", f"not {options[other]}, {text}", "I cannot tell.", ""],
        *[" ".join(reworded(random, text)), f"{said} {text}", f"{said}\n{text}", f"{said},{text}"],
    ]
    gold = said if random.random() < 0.5 else random.choice(keys)
    return {"options": options, "answer": gold, "prediction": random.choice(forms)}


def pubmedqa_case(random: Random) -> dict[str, Any]:
    """One question that is answered with yes, no or maybe, once or more often, or not at all."""
    decisions = random.choices(WORDS["decisions"], k=4)
    parts = [*decisions[: random.randint(0, 4)], *words(random, 6)[: random.randint(0, 6)]]
    random.shuffle(parts)
    gold = random.choice(["yes", "no", "maybe"])
    return {"answer": gold, "prediction": written(random, parts) if parts else ""}


MAKERS: dict[str, Callable[[Random], dict[str, Any]]] = {
    "vqa": vqa_case,
    "medqa": medqa_case,
    "pubmedqa": pubmedqa_case,
}


def random_cases(count: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    """So many cases of each task; the same for the same seed."""
    return {
        name: [{"id": str(i)} | make(random) for i in range(count)]
        for name, make in MAKERS.items()
        for random in [Random(f"{name} {seed}")]
    }


def theirs(cases: dict[str, list[dict[str, Any]]], python: str, folder: Path) -> dict[str, Any]:
    """What the original gives for the cases, and the versions that gave it."""
    file = folder / "cases.json"
    file.write_text(json.dumps(cases, ensure_ascii=False), encoding="utf-8")
    done = subprocess.run(
        [python, "-c", ORIGINAL, str(file)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def ours(name: str, cases: list[dict[str, Any]], folder: Path) -> dict[str, float]:
    """What the command gives for the cases of one task."""
    file, output = folder / f"{name}.jsonl", folder / name
    lines = [json.dumps(case, ensure_ascii=False) + "\n" for case in cases]
    file.write_text("".join(lines), encoding="utf-8")
    command = [sys.executable, "jobs/evaluate.py", "--score-only", str(file), "--task", name]
    command += ["--scoring", "published", "--output", str(output)]
    subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.DEVNULL)
    metrics: dict[str, float] = json.loads((output / "metrics.json").read_text())["metrics"]
    return metrics


def main() -> None:
    """Score the cases in both, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--originals", help="the interpreter that has multimedeval 1.0.0")
    parser.add_argument("--cases", type=int, default=2000, help="of each task (default: 2000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="200 cases of each task")
    arguments = parser.parse_args()
    if arguments.originals is None:
        print("not measured: give --originals, the interpreter of the other environment")
        return
    count = 200 if arguments.quick else arguments.cases
    cases = random_cases(count, arguments.seed)
    table = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        original = theirs(cases, arguments.originals, folder)
        for task, names in NAMES.items():
            metrics = ours(task, cases[task], folder)
            for name, their_name in names.items():
                pair = {"original": original["metrics"][task][their_name], "ours": metrics[name]}
                difference = abs(pair["ours"] - pair["original"])
                table.append({"task": task, "metric": name, **pair, "difference": difference})
    equal = sum(row["difference"] <= MOST_DIFFERENCE for row in table) / len(table)
    largest = max(row["difference"] for row in table)
    result = {"cases": count, "seed": arguments.seed, "versions": original["versions"]}
    result |= {"largest_difference": largest, "equal": equal, "metrics": table}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "published_scores.json").write_text(json.dumps(result, indent=2))
    print(", ".join(f"{name} {version}" for name, version in original["versions"].items()))
    print(f"{f'{count} cases of each task':<32}{'original':>14}{'ours':>14}{'difference':>14}")
    for row in table:
        title = f"{row['task']} {row['metric']}"
        print(f"{title:<32}{row['original']:>14.8f}{row['ours']:>14.8f}{row['difference']:>14.1e}")
    print(f"largest difference: {largest:.1e}")
    print(f"ratio: {equal:.2f} (metrics that are equal within {MOST_DIFFERENCE:.0e})")
    if equal < 1:
        sys.exit(1)


if __name__ == "__main__":
    main()
