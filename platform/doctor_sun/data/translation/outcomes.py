"""What becomes of each row: translated, held for review, or dropped with a class of error."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from upath import UPath

from doctor_sun.asking.chat_client import Answer
from doctor_sun.asking.requests import Request
from doctor_sun.data.ledger import SCHEMA as LEDGER
from doctor_sun.data.review import Decision, write_private
from doctor_sun.data.rows import Row, evidence_text
from doctor_sun.data.translation.asking import Work
from doctor_sun.data.translation.fluency import (
    JUDGE,
    JudgeConfig,
    Scores,
    judge_request,
    said_scores,
)
from doctor_sun.data.translation.glossary import Glossary, missing_terms
from doctor_sun.data.translation.preservation import PreservationConfig, all_findings
from doctor_sun.data.translation.prompts import (
    TRANSLATE,
    ModelConfig,
    prompt_hash,
    said_translations,
    translation_request,
)
from doctor_sun.data.translation.segments import Layout, layout
from doctor_sun.files import write_parquet
from doctor_sun.records import Turn, make_sample, sha256, to_table

STEP = "translate"
ROW_GROUP = 256


@dataclass
class Outcome:
    """One row's fate; `turns` is its translation where there is one."""

    verdict: str
    """"" (translated), `dropped` or `review`."""
    reason: str = ""
    turns: list[Turn] | None = None
    findings: Sequence[str] = ()
    scores: Scores | None = None
    reviewer: str = ""
    edited: bool = False
    """Whether the reviewer wrote it."""
    spot_check: bool = False
    """Whether it passed by itself and is shown to a person all the same."""

    @property
    def fingerprint(self) -> str:
        """Names the translation that a reviewer saw."""
        return translation_hash(self.turns or [])


def translation_hash(turns: Sequence[Turn]) -> str:
    """What a reviewer's decision refers to."""
    return sha256(json.dumps([[t["role"], t["text"]] for t in turns], ensure_ascii=False))[:32]


def in_share(id: str, share: float) -> bool:
    """Whether a row is in a random share of all, which follows from its id: a larger share holds
    all of a smaller one."""
    return int(sha256("spot check", id)[:12], 16) < share * 16**12


@dataclass(frozen=True, kw_only=True)
class Translator:
    """Everything that decides what is asked and what is accepted."""

    model: ModelConfig
    judge: JudgeConfig
    preservation: PreservationConfig
    glossary: Glossary
    spot_check: float = 0.0
    """Share of the accepted translations that a person is shown."""

    @property
    def made_by(self) -> str:
        """The provenance of a translated sample."""
        return f"{STEP} {self.model.model} {prompt_hash(TRANSLATE)}"

    def _layout(self, row: Row) -> tuple[Layout, dict[str, str], Request | None]:
        """A row taken apart, its terms, its request; none where nothing is to translate."""
        laid = layout(row["turns"])
        terms = self.glossary.occurring("\n".join(laid.segments))
        asked = translation_request(laid.segments, terms, self.model) if laid.segments else None
        return laid, terms, asked

    def requests(self, rows: Sequence[Row], _: Mapping[str, Answer]) -> list[Request | None]:
        """The translations to ask for, one a row."""
        return [self._layout(row)[2] for row in rows]

    def judge_requests(
        self, rows: Sequence[Row], answers: Mapping[str, Answer]
    ) -> list[Request | None]:
        """The judgements to ask for: of translations that pass the checks."""
        return [self._judge_request(row, answers) for row in rows]

    def _judge_request(self, row: Row, answers: Mapping[str, Answer]) -> Request | None:
        laid, terms, asked = self._layout(row)
        answer = answers.get(asked.key) if asked else None
        said = said_translations(answer, len(laid.segments)) if answer else ""
        if isinstance(said, str) or self._findings(laid, terms, said):
            return None
        return self._scoring(laid, said)

    def _scoring(self, laid: Layout, said: Sequence[str]) -> Request:
        judge = self.judge.model
        named = ModelConfig(**(vars(judge) | {"model": judge.model or self.model.model}))
        return judge_request(laid.segments, said, named)

    def _findings(self, laid: Layout, terms: Mapping[str, str], said: Sequence[str]) -> list[str]:
        found: list[str] = [*all_findings(laid.segments, said, laid.options, self.preservation)]
        return found + (["terms"] if missing_terms(terms, said) else [])

    def outcome(
        self,
        row: Row,
        answers: Mapping[str, Answer],
        errors: Mapping[str, str],
        decision: Decision | None,
    ) -> Outcome:
        """What becomes of a row, a reviewer's decision included."""
        found = self._own_outcome(row, answers, errors)
        if decision is None:
            return found
        if decision.decision == "edit" and decision.turns:
            turns: list[Any] = [dict(turn) for turn in decision.turns]
            return Outcome(
                "",
                turns=turns,
                reviewer=decision.reviewer,
                edited=True,
                spot_check=found.spot_check,
            )
        if found.turns is None or decision.translation != found.fingerprint:
            return found  # it was another translation that the reviewer saw
        found.reviewer = decision.reviewer
        accepted = decision.decision == "accept"
        found.verdict, found.reason = ("", "") if accepted else ("dropped", "rejected in review")
        return found

    def _own_outcome(
        self, row: Row, answers: Mapping[str, Answer], errors: Mapping[str, str]
    ) -> Outcome:
        laid, terms, asked = self._layout(row)
        if asked is None:
            return Outcome("dropped", "nothing to translate")
        answer = answers.get(asked.key)
        said = said_translations(answer, len(laid.segments)) if answer else errors[asked.key]
        if isinstance(said, str):
            return Outcome("dropped", f"no answer: {said}")
        found = Outcome("", turns=laid.rebuild(said), findings=self._findings(laid, terms, said))
        if found.findings:
            found.verdict, found.reason = "review", "check: " + ", ".join(found.findings)
        elif self.judge.ask:
            self._judge(found, self._scoring(laid, said).key, answers, errors)
        found.spot_check = not found.verdict and in_share(row["id"], self.spot_check)
        return found

    def _judge(
        self, found: Outcome, key: str, answers: Mapping[str, Answer], errors: Mapping[str, str]
    ) -> None:
        """Hold a translation for review unless the judge's scores were read and are high enough."""
        scores = said_scores(answers[key]) if key in answers else errors[key]
        if isinstance(scores, Scores):
            found.scores, problems = scores, self.judge.refusals(scores)
        else:
            problems = [scores]
        if problems:
            found.verdict, found.reason = "review", "judge: " + ", ".join(problems)


def write_part(
    number: int,
    work: Work,
    translator: Translator,
    errors: Mapping[str, str],
    decisions: Mapping[str, Decision],
    folder: UPath,
) -> dict[str, Any]:
    """Write one file's translations, ledger entries and review queue; returns what was counted."""
    answers = work.places.read() if work.places else {}
    rows = work.table(None).to_pylist()
    outcomes = [translator.outcome(row, answers, errors, decisions.get(row["id"])) for row in rows]
    pairs = list(zip(rows, outcomes, strict=True))
    translated = [_sample(row, o, translator) for row, o in pairs if not o.verdict]
    write_parquet(folder / "data" / f"part-{number:06d}.parquet", to_table(translated), ROW_GROUP)
    entries = [_entry(row, o, translator) for row, o in pairs if o.verdict]
    ledger = pa.Table.from_pylist(entries, schema=LEDGER)
    write_parquet(folder / "ledger" / STEP / f"{number:06d}.parquet", ledger)
    held = [
        _queued(row, o)
        for row, o in pairs
        if o.verdict == "review" or (o.spot_check and not o.reviewer)
    ]
    lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in held)
    write_private(queue_part(folder, number), lines)
    scores = [o.scores for o in outcomes if o.scores]
    return {
        "rows": len(rows),
        "translated": len(translated),
        "verdicts": Counter(o.verdict for o in outcomes if o.verdict),
        "reasons": Counter(f"{o.verdict}: {o.reason}" for o in outcomes if o.verdict),
        "sources": Counter(row["source"] for row, o in pairs if not o.verdict),
        "reviewed": sum(bool(o.reviewer) for o in outcomes),
        "spot_check": _spot_check(outcomes),
        "fluency": Counter(str(s.fluency) for s in scores),
        "adequacy": Counter(str(s.adequacy) for s in scores),
    }


def _spot_check(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many accepted translations were shown to a person, decided on, and found wanting."""
    shown = [o for o in outcomes if o.spot_check]
    wrong = sum(o.edited or o.verdict == "dropped" for o in shown)
    return {"shown": len(shown), "decided": sum(bool(o.reviewer) for o in shown), "wrong": wrong}


def queue_part(folder: UPath, number: int) -> UPath:
    """Where one file's part of the review queue stands until the parts are joined."""
    return folder / "steps" / f"queue-{number:06d}.jsonl"


def _sample(row: Row, outcome: Outcome, translator: Translator) -> dict[str, Any]:
    """The translated sample: new id, the same pictures, the source row as its parent."""
    assert outcome.turns is not None
    return make_sample(
        source=row["source"],
        source_key=row["source_key"],
        domain=row["domain"],
        language="zh",
        task=row["task"],
        turns=outcome.turns,
        images=row["images"],
        split=row["split"],
        parents=[row["id"]],
        made_by=translator.made_by + (" edited" if outcome.edited else ""),
    )


def _entry(row: Row, outcome: Outcome, translator: Translator) -> dict[str, Any]:
    """A ledger entry; a row with the verdict `review` is not in the data until it is accepted."""
    evidence: dict[str, Any] = {"model": translator.model.model}
    if outcome.findings:
        evidence["findings"] = list(outcome.findings)
    if outcome.scores:
        evidence |= vars(outcome.scores) | {"judge_prompt": prompt_hash(JUDGE)}
    if outcome.reviewer:
        evidence["reviewer"] = outcome.reviewer
    return {
        "id": row["id"],
        "step": STEP,
        "verdict": outcome.verdict,
        "reason": outcome.reason,
        "evidence": evidence_text(evidence),
        "source": row["source"],
    }


def _queued(row: Row, outcome: Outcome) -> dict[str, Any]:
    """A line of the review queue: the one file that holds text on purpose."""
    return {
        "id": row["id"],
        "source": row["source"],
        "reason": outcome.reason or "spot check",
        "source_turns": row["turns"],
        "turns": outcome.turns,
        "translation": outcome.fingerprint,
        "scores": vars(outcome.scores) if outcome.scores else None,
    }
