"""A small curated data set for tests: text rows of two domains and image rows."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from doctor_sun.records import make_sample, to_table


def picture(seed: int, size: int = 32) -> bytes:
    """A PNG whose left or right half is bright, by the seed's parity."""
    pixels = np.random.default_rng(seed).integers(0, 60, (size, size), dtype=np.uint8)
    half = slice(0, size // 2) if seed % 2 else slice(size // 2, size)
    pixels[:, half] += 150
    stream = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(stream, "PNG")
    return stream.getvalue()


def write_small_data(folder: Path, count: int = 96) -> str:
    """Write `count` rows of each kind; returns the folder."""
    samples = []
    for i in range(count):
        zh = i % 2 == 0
        question, answer = (f"{i} 的部位？", "左侧") if zh else (f"Where is {i}?", "left")
        turns = [{"role": "user", "text": question}, {"role": "assistant", "text": answer}]
        for domain in ("medical", "general"):
            samples.append(
                make_sample(
                    source=f"{domain}-text",
                    source_key=str(i),
                    domain=domain,  # type: ignore[arg-type]
                    language="zh" if zh else "en",
                    task="instruction",
                    turns=turns,  # type: ignore[arg-type]
                )
            )
        side = ("右侧" if i % 2 else "左侧") if zh else ("right" if i % 2 else "left")
        samples.append(
            make_sample(
                source="pictures",
                source_key=str(i),
                domain="medical",
                language="zh" if zh else "en",
                task="vqa",
                images=[picture(i)],
                turns=[
                    {"role": "user", "text": "<image>\n" + ("哪一侧？" if zh else "Which side?")},
                    {"role": "assistant", "text": side},
                ],
            )
        )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(to_table(samples), folder / "samples.parquet", row_group_size=64)
    return str(folder)
