"""HuatuoGPT's and Huatuo-26M's Chinese medical dialogues.

HuatuoGPT-sft-data-v1 (hf.co/datasets/FreedomIntelligence; shape from public code that reads it):
HuatuoGPT_sft_data_v1.jsonl, a line {"data": ["问：...", "答：...", ...]}; the prefixes name the
speakers, and where there are none the patient speaks first. Huatuo-26M (huatuo_encyclopedia_qa,
huatuo_knowledge_graph_qa): lines {"questions": [["...", ...]], "answers": ["...", ...]}, the first
of each is taken (further questions are paraphrases).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.record import Broken, Record
from doctor_sun.data.sources.source import Card, Sample
from doctor_sun.data.sources.text_files import TextFiles
from doctor_sun.data.sources.turns import chat

SPEAKER = re.compile(r"^\s*(问|答|患者|病人|用户|医生|大夫)\s*[:：]\s*")


def spoken(lines: list[str]) -> list[tuple[str, str]]:
    """(role, text) of lines that begin with their speaker, or else alternate."""
    result = []
    for number, line in enumerate(lines):
        named = SPEAKER.match(line)
        role = named[1] if named else ("user", "assistant")[number % 2]
        result.append((role, SPEAKER.sub("", line, count=1)))
    return result


def _first(value: object) -> str:
    """The first text of a list that may hold lists.

    Raises:
        Broken: there is none.
    """
    while isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, str):
        raise Broken("fields 'questions' and 'answers' hold no text")
    return value


@dataclass(frozen=True, kw_only=True)
class Huatuo(TextFiles):
    """Consultations of one or more turns."""

    card = Card(
        kind="huatuo",
        title="HuatuoGPT, Huatuo-26M",
        domain="medical",
        languages=("zh",),
        task="instruction",
        rows={"train": 226_042},
        layout=".jsonl or .json: data (['问：...', '答：...']) or questions and answers",
        where="hf.co/datasets/FreedomIntelligence/HuatuoGPT-sft-data-v1",
        licence="Apache-2.0",
    )

    def samples(self, record: Record, pictures: Pictures) -> Iterable[Sample]:
        """See `RecordSource.samples`."""
        fields = record.fields
        if "data" not in fields:
            question, answer = _first(fields.get("questions")), _first(fields.get("answers"))
            yield self.conversation(record, chat([("user", question), ("assistant", answer)], 0))
            return
        lines = fields["data"]
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise Broken("field 'data' is not a list of texts")
        yield self.conversation(record, chat(spoken(lines), 0))


SOURCES = (Huatuo,)
