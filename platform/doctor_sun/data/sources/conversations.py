"""Chats in the ShareGPT, LLaVA and OpenAI messages shapes, with pictures or without.

JSON arrays or lines of {"conversations": [{"from": "human"|"gpt"|"system", "value"}]} (ShareGPT,
LLaVA docs/Data.md) or {"messages": [{"role": "user"|"assistant"|"system", "content"}]} (OpenAI chat
format), "system" beside them as in LLaMA-Factory; "image" or "images" names pictures in the folder
or its images/, and `<image>` stands where they are shown.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from doctor_sun.data.sources.bunny import said_in
from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.record import Broken, Record
from doctor_sun.data.sources.source import Card, Sample
from doctor_sun.data.sources.text_files import TextFiles
from doctor_sun.data.sources.turns import chat


@dataclass(frozen=True, kw_only=True)
class Conversations(TextFiles):
    """Chats of any length."""

    card = Card(
        kind="conversations",
        title="Conversations, ShareGPT or messages shape",
        domain="medical",
        languages=("en", "zh"),
        task="instruction",
        layout=".json, .jsonl or .parquet: conversations (from, value) or messages (role, content)",
        where="any publisher (LLaVA-Med, PubMedVision, DISC-Med-SFT, ShareGPT, ...)",
        licence="of the set",
    )

    def samples(self, record: Record, pictures: Pictures) -> Iterable[Sample]:
        """See `RecordSource.samples`."""
        if "messages" in record.fields:
            said = said_in(record, "messages", "role", "content")
        else:
            said = said_in(record, "conversations", "from", "value")
        system = record.text("system", "")
        if system and not (said and said[0][0] == "system"):
            said = [("system", system), *said]
        named = record.fields.get("image") or record.fields.get("images") or []
        names = [named] if isinstance(named, str) else named
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise Broken("field 'image' names no picture")
        turns = chat(said, len(names))
        yield self.conversation(record, turns, [pictures.read(name) for name in names])


SOURCES = (Conversations,)
