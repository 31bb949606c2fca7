"""The tiny preset's corpus: raw data sets with known faults, captions, text, and a benchmark.

Size is a parameter. The work is cut into shards (rows `start` to `stop` of one source, or of one
source's plants); a Ray Data job makes and writes each shard where it runs. Every row follows from
its index alone, so any number of rows streams through constant memory, and an interrupted run
writes only the shards that are missing.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from upath import UPath

from doctor_sun.cluster import connect
from doctor_sun.config import JobConfig
from doctor_sun.data.tiny import benchmark, shapes_benchmark
from doctor_sun.data.tiny.disease_knowledge import DiseaseKnowledge, load_diseases
from doctor_sun.data.tiny.general_images import GeneralImages
from doctor_sun.data.tiny.general_text import GeneralText, load_instructions
from doctor_sun.data.tiny.gnuhealth_terms import GnuHealthTerms, load_terms
from doctor_sun.data.tiny.openi_reports import OpenIReports, load_reports
from doctor_sun.data.tiny.outlines import Outlines, load_outlines
from doctor_sun.data.tiny.phantom_captions import PhantomCaptions
from doctor_sun.data.tiny.phantom_vqa import PhantomQuestions
from doctor_sun.data.tiny.plants import PlantRates, make_plant, plan
from doctor_sun.data.tiny.pretraining_text import pretraining_table
from doctor_sun.data.tiny.source import Source
from doctor_sun.files import complete_file, read_parquet, write_parquet
from doctor_sun.records import to_table
from doctor_sun.runs import Step

# Rows of the default corpus by source: the shares of any other size.
ROWS = {
    "phantom_captions": 1600,
    "phantom_vqa": 8000,
    "openi_reports": 800,
    "disease_knowledge": 800,
    "gnuhealth_terms": 800,
    "general_text": 800,
    "general_captions": 400,
    "general_vqa": 800,
}
JSON_LINES_SOURCE = "general_text"  # one source as JSON lines, to exercise that reader
PLANTED_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "plant", "twin", "detail", "source")]
)
ROW_GROUP = 256


@dataclass(kw_only=True)
class CorpusConfig(JobConfig):
    """Sizes of the tiny corpus."""

    rows: int = sum(ROWS.values())
    """Clean raw rows over all sources, 1000 to millions; real sources give at most what they have
    and the rendered ones make up for it. Planted rows come on top."""

    captioned_images: int = 6000
    """Pictures with a caption for the contrastive pre-training of the vision tower."""

    benchmark_items: int = 480
    """Held-out questions on test anatomies."""

    combination_items: int = 120
    """Held-out questions on combinations never rendered for training."""

    shape_items: int = 240
    """Held-out questions about coloured shapes: what is known beside medicine."""

    validation_items: int = 96
    """Questions on validation anatomies."""

    image_size: int = 64
    """Side of each picture, pixels."""

    seed: int = 0
    """Seed of everything random."""

    plants: PlantRates = field(default_factory=PlantRates)
    """Rates of the planted faults."""

    rows_per_file: int = 1000
    """Rows of one output file, at most."""

    offline: bool = False
    """Use no packaged data even where it can be had: everything is generated."""


@dataclass(frozen=True)
class Shard:
    """One output file and what stands in it."""

    path: str
    what: str
    """raw, plants, captioned, benchmark, validation or shapes."""
    source: str
    start: int
    stop: int
    rows: int
    """Clean rows of the whole source."""


@dataclass(frozen=True)
class Materials:
    """What workers need to make any row: sent to them once."""

    sources: Mapping[str, Source]
    outlines: Outlines
    config: CorpusConfig
    output: str


def load_materials(config: CorpusConfig) -> Materials:
    """Read all packages (on the driver) and build the sources."""
    outlines = load_outlines(offline=config.offline)
    size, seed, offline = config.image_size, config.seed, config.offline
    sources: list[Source] = [
        PhantomCaptions(outlines, size, seed),
        PhantomQuestions(outlines, size, seed),
        OpenIReports(load_reports(offline=offline), seed),
        DiseaseKnowledge(load_diseases(offline=offline), seed),
        GnuHealthTerms(load_terms(offline=offline), seed),
        GeneralText(load_instructions(offline=offline), seed),
        GeneralImages("general_captions", size, seed),
        GeneralImages("general_vqa", size, seed),
    ]
    return Materials({s.name: s for s in sources}, outlines, config, config.output)


def rows_by_source(total: int, capacities: Mapping[str, int | None]) -> dict[str, int]:
    """How many clean rows each source gives, so that they sum to `total`.

    Sources take their share of `ROWS`; what the finite ones lack is shared by the others.
    """
    weights = sum(ROWS.values())
    rows = {name: total * share // weights for name, share in ROWS.items()}
    for name, capacity in capacities.items():
        rows[name] = min(rows[name], capacity) if capacity is not None else rows[name]
    endless = [name for name, capacity in capacities.items() if capacity is None]
    missing, endless_weight = total - sum(rows.values()), sum(ROWS[name] for name in endless)
    for name in endless:
        rows[name] += missing * ROWS[name] // endless_weight
    rows[endless[0]] += total - sum(rows.values())
    return rows


def _cuts(count: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, size):
        yield start, min(start + size, count)


def plan_shards(config: CorpusConfig, rows: Mapping[str, int]) -> list[Shard]:
    """Every file of the corpus that workers write."""
    shards = []
    for name, count in rows.items():
        suffix = "jsonl" if name == JSON_LINES_SOURCE else "parquet"
        for i, (start, stop) in enumerate(_cuts(count, config.rows_per_file)):
            path = f"raw/{name}/rows-{i:05d}.{suffix}"
            shards.append(Shard(path, "raw", name, start, stop, count))
        planted = len(plan(config.plants, name, count))
        for i, (start, stop) in enumerate(_cuts(planted, config.rows_per_file)):
            path = f"raw/{name}/more-{i:05d}.{suffix}"
            shards.append(Shard(path, "plants", name, start, stop, count))
    for i, (start, stop) in enumerate(_cuts(config.captioned_images, config.rows_per_file)):
        path = f"captioned/rows-{i:05d}.parquet"
        shards.append(Shard(path, "captioned", "captioned", start, stop, config.captioned_images))
    held_out = config.benchmark_items + config.combination_items
    shards.append(Shard("benchmark/phantom.parquet", "benchmark", "test", 0, held_out, held_out))
    items = config.shape_items
    shards.append(Shard("benchmark/shapes.parquet", "shapes", "shapes", 0, items, items))
    items = config.validation_items
    path = "benchmark/validation.parquet"
    shards.append(Shard(path, "validation", "validation", 0, items, items))
    return sorted(shards, key=lambda s: s.start - s.stop)  # large ones first


def write_shard(shard: Shard, materials: Materials) -> dict[str, Any]:
    """Make and write one shard unless it is there; what it is and its number of rows."""
    output = UPath(materials.output)
    if not (output / shard.path).exists():
        rows, truth = SHARD_ROWS[shard.what](shard, materials)
        if truth:
            table = pa.Table.from_pylist(truth, schema=PLANTED_SCHEMA)
            _write(output / "truth" / f".{shard.source}-{shard.start:09d}.parquet", table)
        _write(output / shard.path, rows)
    return {
        "what": shard.what,
        "source": shard.source,
        "rows": _count_rows(output / shard.path),
    }


def _count_rows(path: UPath) -> int:
    with path.open("rb") as stream:
        if path.suffix == ".jsonl":
            return sum(1 for _ in stream)
        return int(pq.read_metadata(stream).num_rows)


def _raw(shard: Shard, materials: Materials) -> tuple[pa.Table, list[dict[str, str]]]:
    source = materials.sources[shard.source]
    return to_table([source.sample(i) for i in range(shard.start, shard.stop)]), []


def _plants(shard: Shard, materials: Materials) -> tuple[pa.Table, list[dict[str, str]]]:
    config, source = materials.config, materials.sources[shard.source]
    planned = plan(config.plants, shard.source, shard.rows)[shard.start : shard.stop]
    made = [make_plant(kind, number, source, shard.rows, config.seed) for kind, number in planned]
    plants = [plant for plant in made if plant is not None]
    return to_table([p.sample for p in plants]), [p.truth() for p in plants]


def _captioned(shard: Shard, materials: Materials) -> tuple[pa.Table, list[dict[str, str]]]:
    config = materials.config
    source = PhantomCaptions(
        materials.outlines, config.image_size, config.seed, name="captioned", varied=False
    )
    return to_table([source.sample(i) for i in range(shard.start, shard.stop)]), []


def _benchmark(shard: Shard, materials: Materials) -> tuple[pa.Table, list[dict[str, str]]]:
    config = materials.config
    made = benchmark.PhantomBenchmark(
        materials.outlines, config.image_size, config.seed, shard.source
    )
    if shard.what == "validation":
        rows = made.rows(config.validation_items, "anatomy")
    else:
        rows = made.rows(config.benchmark_items, "anatomy")
        rows += made.rows(config.combination_items, benchmark.HARD)
    return pa.Table.from_pylist(rows, schema=benchmark.SCHEMA), []


def _shapes(shard: Shard, materials: Materials) -> tuple[pa.Table, list[dict[str, str]]]:
    config = materials.config
    rows = shapes_benchmark.rows(shard.rows, config.image_size, config.seed)
    return pa.Table.from_pylist(rows, schema=shapes_benchmark.SCHEMA), []


ShardRows = Callable[[Shard, Materials], tuple[pa.Table, list[dict[str, str]]]]
SHARD_ROWS: Mapping[str, ShardRows] = {
    "raw": _raw,
    "plants": _plants,
    "captioned": _captioned,
    "benchmark": _benchmark,
    "validation": _benchmark,
    "shapes": _shapes,
}


def _write(path: UPath, table: pa.Table) -> None:
    """Write a table as Parquet, or as JSON lines by the path's suffix; complete or not at all."""
    if path.suffix != ".jsonl":
        write_parquet(path, table, ROW_GROUP)
        return
    with complete_file(path) as stream:
        for row in table.to_pylist():
            stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def _write_all(shards: Sequence[Shard], materials: Materials, step: Step) -> Counter[str]:
    """Write all shards as one Ray Data job; rows by kind and source."""
    reference = ray.put(materials)

    def write(row: dict[str, Any]) -> dict[str, Any]:
        return write_shard(Shard(**row), ray.get(reference))

    blocks = min(len(shards), 1000)
    todo = ray.data.from_items([dataclasses.asdict(s) for s in shards], override_num_blocks=blocks)
    counts: Counter[str] = Counter()
    for done, row in enumerate(todo.map(write).iter_rows(), start=1):
        counts[f"{row['what']}/{row['source']}"] += row["rows"]
        if done % max(1, len(shards) // 5) == 0:
            step.say(f"{done} of {len(shards)} files, {sum(counts.values())} rows")
    return counts


def _gather_truth(folder: UPath) -> Counter[str]:
    """Put what each shard planted into `truth/planted.parquet`; plants by kind."""
    parts = sorted((folder / "truth").glob(".*.parquet"), key=str)
    planted = pa.concat_tables([PLANTED_SCHEMA.empty_table(), *map(read_parquet, parts)])
    _write(folder / "truth" / "planted.parquet", planted)
    return Counter(f"planted/{kind}" for kind in planted["plant"].to_pylist())


def run(config: CorpusConfig) -> dict[str, Any]:
    """Write the corpus below `config.output`; returns the manifest."""
    step = Step(config, "corpus", inputs={})
    if step.reused:
        return step.manifest
    materials = load_materials(config)
    real = "real" if materials.outlines.real else "drawn"
    step.say(f"{len(materials.outlines.names)} {real} lung outlines")
    rows = rows_by_source(config.rows, {n: s.capacity for n, s in materials.sources.items()})
    shards = plan_shards(config, rows)
    with connect(config.address):
        counts = _write_all(shards, materials, step)
    planted = _gather_truth(step.folder)
    texts = pretraining_table(materials.sources, config.seed)
    _write(step.folder / "pretraining" / "rows-00000.parquet", texts)
    return step.finish(
        outputs=["raw", "captioned", "pretraining", "benchmark", "truth"],
        counts={**counts, **planted, "pretraining": texts.num_rows},
    )
