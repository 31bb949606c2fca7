"""Instruction text in the Alpaca shape.

JSON arrays or lines of {"instruction", "input", "output", "system"?, "history"? [[question,
answer], ...]} (github.com/tatsu-lab/stanford_alpaca; system and history as in LLaMA-Factory,
data/README.md). The question is the instruction and, on a new line, the input.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.record import Broken, Record
from doctor_sun.data.sources.source import Card, Sample
from doctor_sun.data.sources.text_files import TextFiles
from doctor_sun.data.sources.turns import chat


@dataclass(frozen=True, kw_only=True)
class Alpaca(TextFiles):
    """Instructions with their answers."""

    card = Card(
        kind="alpaca",
        title="Instructions, Alpaca shape",
        domain="medical",
        languages=("en", "zh"),
        task="instruction",
        layout=".json, .jsonl or .parquet: instruction, input, output, system, history",
        where="any publisher (ChatDoctor, HuatuoGPT distillations, MedAlpaca, ...)",
        licence="of the set",
    )

    def samples(self, record: Record, pictures: Pictures) -> Iterable[Sample]:
        """See `RecordSource.samples`."""
        question = [record.text("instruction", ""), record.text("input", "")]
        system = record.text("system", "")
        said = [("system", system)] if system else []
        history = record.fields.get("history") or []
        if not isinstance(history, list):
            raise Broken("field 'history' is not a list")
        for pair in history:
            if not (isinstance(pair, list) and len(pair) == 2 and all(map(_is_text, pair))):
                raise Broken("field 'history' holds no pairs of texts")
            said += [("user", pair[0]), ("assistant", pair[1])]
        said += [("user", "\n".join(filter(None, question))), ("assistant", record.text("output"))]
        yield self.conversation(record, chat(said, images=0))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


SOURCES = (Alpaca,)
