"""What curation did to each row, and proof that no row is unaccounted for.

The rows of a run stand in *parts*: thin Parquet files of a few thousand rows each. A step says one
line for every row it saw; the ledger keeps, one Parquet file a step and part, the lines that decide
something. The rows after a step are the ingested rows with all decisions so far applied, read part
by part, so that nothing but decisions is stored between steps and no list of rows is ever held in
one place. A part that is written is finished: an interrupted step goes on with the others.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray.data
from upath import UPath

from doctor_sun.files import read_parquet, write_parquet
from doctor_sun.records import TURNS, sha256

Verdict = Literal["dropped", "edited", "review"]

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "step", "verdict", "reason", "evidence", "source")]
)
LINES = pa.schema(
    [
        ("part", pa.int32()),
        *((name, pa.string()) for name in ("id", "source", "verdict", "reason", "evidence")),
        ("turns", TURNS),
    ]
)
EDITS = pa.schema([("id", pa.string()), ("turns", TURNS)])
SUMMARY = b"doctor_sun.summary"  # key of the counts in a ledger file's metadata
SHUFFLED_PARTITIONS = 16  # of lines without text: some hundred megabytes for ten million rows


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One row's fate at one step. `evidence` never holds what the row says."""

    id: str
    source: str
    verdict: Verdict
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    turns: Sequence[Mapping[str, str]] | None = None
    """The new conversation of an edited row."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step returns."""

    lines: ray.data.Dataset
    """By `LINES`, one line for every row seen: verdict "" (the row goes on), dropped or edited.
    Further lines of a row have the verdict review."""

    figures: Mapping[str, Any] | Callable[[], Mapping[str, Any]] = field(default_factory=dict)
    """Numbers for the report; a function is called when the lines have been read."""

    by_part: bool = False
    """Whether lines come as the rows came in: a block holds the lines of whole parts, in order."""

    alone: bool = False
    """Whether each row was judged alone. Then a part that is written is finished, and a run that
    was interrupted goes on with the others."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One line of the funnel: a finished step in numbers."""

    step: str
    rows_in: Mapping[str, int]
    """Rows seen, by source."""
    counts: Sequence[tuple[str, str, str, int]]
    """Verdict, reason, source, rows."""
    figures: Mapping[str, Any]
    seconds: float
    parts: Mapping[str, int]
    """Rows that go on, by part."""
    files: Mapping[str, Sequence[str]]
    """Ledger files by part, below the run's folder; of parts with a decision only."""

    def by_source(self, verdict: Verdict) -> Counter[str]:
        """Rows with a verdict, by source."""
        counter: Counter[str] = Counter()
        for found, _, source, rows in self.counts:
            if found == verdict:
                counter[source] += rows
        return counter

    def rows_out(self) -> Counter[str]:
        """Rows that go on, by source."""
        return Counter(self.rows_in) - self.by_source("dropped")


@dataclass(frozen=True)
class Part:
    """Where one part of the rows stands, and the ledger files that decide on it."""

    number: int
    thin: str
    ledgers: Sequence[str]

    def read(self) -> pa.Table:
        """Its rows with every decision applied, columns of the thin file."""
        table = read_parquet(UPath(self.thin))
        for ledger in self.ledgers:
            decided = read_parquet(UPath(ledger))
            dropped = decided.filter(pc.equal(decided["verdict"], "dropped"))
            table = table.filter(pc.invert(pc.is_in(table["id"], value_set=dropped["id"])))
            edits = edits_file(UPath(ledger))
            if edits.exists():
                table = _edited(table, read_parquet(edits))
        return table


def _edited(table: pa.Table, edits: pa.Table) -> pa.Table:
    """The table with the conversations of the edited rows in place of the old ones."""
    found = pc.index_in(table["id"], value_set=edits["id"].combine_chunks())
    own = pa.array(range(table.num_rows), pa.int32())
    at = pc.if_else(found.is_valid(), pc.add(found, table.num_rows), own)
    both = pa.chunked_array([*table["turns"].chunks, *edits["turns"].chunks], TURNS)
    place = table.schema.get_field_index("turns")
    return table.set_column(place, "turns", both.combine_chunks().take(at))


class Ledger:
    """The decisions of a run, on disk below its folder."""

    def __init__(self, folder: UPath) -> None:
        """Open the ledger of a run; steps finished earlier are read with `resume`."""
        self.folder = folder
        self.thin = folder / "steps" / "rows"
        self.stages: list[Stage] = []

    def parts(self) -> list[Part]:
        """Every part with its decisions so far."""
        if not self.stages:
            return []
        decided: dict[str, list[str]] = {number: [] for number in self.stages[0].parts}
        for stage in self.stages:
            for number, files in stage.files.items():
                decided[number] += [str(self.folder / file) for file in files]
        return [
            Part(int(number), str(thin_file(self.thin, int(number))), files)
            for number, files in decided.items()
        ]

    def resume(self, step: str) -> bool:
        """Take over a finished step's decisions; False when it has not finished."""
        done = self.folder / "steps" / f"{step}.json"
        if not done.exists():
            return False
        self.stages.append(Stage(**json.loads(done.read_text(encoding="utf-8"))))
        return True

    def finished_parts(self, step: str) -> dict[int, dict[str, Any]]:
        """Summaries of the parts that an interrupted step has finished; the rest is removed."""
        files = sorted((self.folder / "ledger" / step).glob("*.parquet"), key=str)
        summaries = list(ThreadPoolExecutor(8).map(_summary, files))
        rows: Counter[int] = Counter()
        for summary in summaries:
            rows[summary["part"]] += sum(summary["seen"].values())
        expected = self.stages[-1].parts if self.stages else {}
        finished: dict[int, dict[str, Any]] = {}
        for file, summary in zip(files, summaries, strict=True):
            part = summary["part"]
            whole = not expected or rows[part] == expected.get(str(part))
            if summary["alone"] and whole:
                finished[part] = _added(finished.get(part), summary)
            else:
                file.unlink()
        return finished

    def record(self, step: str, result: StepResult, seconds: Callable[[], float]) -> Stage:
        """Write a step's decisions and check the accounts.

        Args:
            step: number and name.
            result: its lines, which are read here.
            seconds: called at the end: how long the step took.

        Raises:
            RuntimeError: rows in are not rows out plus dropped, or a row was decided twice.
        """
        finished = self.finished_parts(step)
        lines = result.lines
        if not result.by_part:
            count = max(1, min(len(self.stages[0].parts), SHUFFLED_PARTITIONS))
            lines = lines.repartition(count, keys=["part"])
        written = lines.map_batches(
            write_lines,
            fn_kwargs={
                "folder": str(self.folder),
                "step": step,
                "ordered": result.by_part,
                "alone": result.alone,
            },
            batch_size=None,
            batch_format="pyarrow",
        )
        for table in written.iter_batches(batch_format="pyarrow", batch_size=None):
            for line in table["summary"].to_pylist():
                summary = json.loads(line)
                finished[summary["part"]] = _added(finished.get(summary["part"]), summary)
        figures = result.figures() if callable(result.figures) else result.figures
        stage = self._stage(step, finished, dict(figures), seconds())
        self._check(stage, finished)
        done = self.folder / "steps" / f"{step}.json"
        done.parent.mkdir(parents=True, exist_ok=True)
        done.with_name(f"{step}.part").write_text(json.dumps(asdict(stage)), encoding="utf-8")
        done.with_name(f"{step}.part").rename(done)
        self.stages.append(stage)
        return stage

    def _stage(
        self, step: str, parts: Mapping[int, Mapping[str, Any]], figures: Any, seconds: float
    ) -> Stage:
        """The step in numbers."""
        seen: Counter[str] = Counter()
        counts: Counter[tuple[str, str, str]] = Counter()
        left: dict[str, int] = {}
        for number, summary in sorted(parts.items()):
            seen.update(summary["seen"])
            counts.update({(v, r, s): n for v, r, s, n in summary["counts"]})
            dropped = sum(n for v, _, _, n in summary["counts"] if v == "dropped")
            left[str(number)] = sum(summary["seen"].values()) - dropped
        return Stage(
            step=step,
            rows_in=dict(sorted(seen.items())),
            counts=[(*key, rows) for key, rows in sorted(counts.items())],
            figures=figures,
            seconds=round(seconds, 1),
            parts=left,
            files={str(n): summary["files"] for n, summary in parts.items() if summary["files"]},
        )

    def _check(self, stage: Stage, parts: Mapping[int, Mapping[str, Any]]) -> None:
        """Raise RuntimeError unless the step saw exactly the rows that the last one let through."""
        if not self.stages:
            return
        before = self.stages[-1]
        for number, expected in before.parts.items():
            rows = sum(parts[int(number)]["seen"].values()) if int(number) in parts else 0
            if rows != expected:
                raise RuntimeError(
                    f"step {stage.step} saw {rows} rows of part {number} where {before.step} let "
                    f"{expected} through"
                )
        self.check_count(stage.step, stage.rows_in)

    def check_count(self, where: str, rows: Mapping[str, int]) -> None:
        """Raise RuntimeError unless these are the rows that the last step let through."""
        expected = self.stages[-1].rows_out()
        if +Counter(rows) != +expected:
            raise RuntimeError(
                f"{where} saw {sum(rows.values())} rows where {self.stages[-1].step} let "
                f"{expected.total()} through"
            )


def thin_file(thin: UPath, part: int) -> UPath:
    """The file that one part of the rows stands in."""
    return thin / f"{part:06d}.parquet"


def edits_file(ledger: UPath) -> UPath:
    """Where the new conversations of a ledger file's edited rows stand."""
    return ledger.parent.parent.parent / "steps" / ledger.parent.name / f"edits-{ledger.name}"


def write_lines(lines: pa.Table, folder: str, step: str, ordered: bool, alone: bool) -> pa.Table:
    """Write the decisions among a block's lines, one file a part; one summary a part.

    The file's name follows from part and first row, so that a task that is tried again writes the
    same file.

    Raises:
        RuntimeError: a row has two lines that say whether it goes on.
    """
    summaries = []
    for part in sorted(set(lines["part"].to_pylist())):
        own = lines.filter(pc.equal(lines["part"], part))
        if not ordered:  # a shuffle delivers in any order
            own = own.sort_by([("id", "ascending"), ("verdict", "ascending")])
        summaries.append(json.dumps(_write_part(own, UPath(folder), step, part, alone)))
    return pa.table({"summary": pa.array(summaries, pa.string())})


def _write_part(
    lines: pa.Table, folder: UPath, step: str, part: int, alone: bool
) -> dict[str, Any]:
    """Write one part's decisions; its summary."""
    first = pc.not_equal(lines["verdict"], "review")
    own = lines.filter(first)
    if pc.count_distinct(own["id"]).as_py() != own.num_rows:
        raise RuntimeError(f"step {step} decided on a row of part {part} twice")
    decided = lines.filter(pc.not_equal(lines["verdict"], ""))
    columns = (decided[name].to_pylist() for name in ("verdict", "reason", "source"))
    keys = Counter(zip(*columns, strict=True))
    name = f"{part:06d}-{sha256(lines['id'][0].as_py())[:8]}.parquet"
    file = folder / "ledger" / step / name
    summary = {
        "part": part,
        "alone": alone,
        "seen": dict(Counter(own["source"].to_pylist())),
        "counts": [[*key, rows] for key, rows in sorted(keys.items())],
        "files": [f"ledger/{step}/{name}"] if decided.num_rows else [],
    }
    edits = decided.filter(pc.equal(decided["verdict"], "edited")).select(EDITS.names)
    if edits.num_rows:
        write_parquet(edits_file(file), edits)
    steps = pa.array([step] * decided.num_rows, pa.string())
    entries = decided.append_column("step", steps).select(SCHEMA.names)
    write_parquet(file, entries.replace_schema_metadata({SUMMARY: json.dumps(summary)}))
    return summary


def _added(one: Mapping[str, Any] | None, other: dict[str, Any]) -> dict[str, Any]:
    """Two summaries of one part as one."""
    if one is None:
        return other
    return other | {
        "seen": dict(Counter(one["seen"]) + Counter(other["seen"])),
        "counts": [*one["counts"], *other["counts"]],
        "files": [*one["files"], *other["files"]],
    }


def _summary(file: UPath) -> dict[str, Any]:
    with file.open("rb") as stream:
        metadata = pq.read_schema(stream).metadata or {}
    summary: dict[str, Any] = json.loads(metadata[SUMMARY])
    return summary


def read_ledger(folder: str | UPath, step: str = "*") -> Iterator[pa.Table]:
    """The entries of a finished curation file by file, in the order of its steps."""
    for file in sorted((UPath(folder) / "ledger").glob(f"{step}/*.parquet"), key=str):
        yield read_parquet(file).select(SCHEMA.names)


def ledger_table(folder: str | UPath, steps: Iterable[str] = ("*",)) -> pa.Table:
    """All entries as one table, for curations of moderate size."""
    parts = [part for step in steps for part in read_ledger(folder, step)]
    return pa.concat_tables([SCHEMA.empty_table(), *parts]).replace_schema_metadata(None)
