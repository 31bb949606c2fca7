"""The rows of an archive: what each asks of which pictures, or why it cannot be asked."""

import functools
import hashlib
import posixpath
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from upath import UPath

from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.pieces import bounds_of
from doctor_sun.data.sources.record import Broken, Record
from doctor_sun.generation.archive import Archive
from doctor_sun.generation.pictures import shown
from doctor_sun.generation.tables import numbered_records
from doctor_sun.records import IMAGE_PLACEHOLDER, sha256

Read = Callable[[str], bytes]
"""A picture's file by its path."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture of a row."""

    sha256: str
    """Of its file, as `sha256sum` says it."""
    shown: bytes
    """What the model is shown."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One question of the archive."""

    number: int
    """In its piece."""
    id: str
    file: str
    """The table it stands in."""
    at: int
    """Its row in a Parquet file, the byte it begins at in any other."""
    fault: str = ""
    """Why it cannot be asked; never holds what the row says."""
    question: str = ""
    """As it is asked: without marks of pictures, which are parts of a message of their own."""
    system: str = ""
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads rows, the same every time: once to name them, once to ask them."""

    archive: Archive
    questions: Sequence[str]
    """Asked of every record, in place of a column."""
    system: str
    most_pixels: int
    """Of an image."""
    most_images: int | None
    """That a row may show; None sets no limit."""
    plain: bool
    """Whether images are shown as nothing but pixels."""

    def rows(self, piece: str, wanted: Collection[int] | None = None) -> Iterator[Row]:
        """The rows of a piece in order: one for each record and question.

        Args:
            piece: of the archive.
            wanted: numbers of the rows; None reads all.

        Raises:
            InputError: a Parquet file breaks off.
        """
        archive, asked = self.archive, self.questions or ("",)
        folder = archive.images or str(UPath(archive.root) / posixpath.dirname(bounds_of(piece)[0]))
        # Neighbours often ask about the same picture.
        read = functools.lru_cache(maxsize=8)(Pictures(UPath(folder), ("",)).read)
        found = numbered_records(
            UPath(archive.root),
            piece,
            archive.columns,
            archive.encoding,
            None if wanted is None else {number // len(asked) for number in wanted},
        )
        for at, record in found:
            for number, question in enumerate(asked, at * len(asked)):
                if wanted is None or number in wanted:
                    yield self._row(number, record, question, read)

    def _row(self, number: int, record: Record, question: str, read: Read) -> Row:
        place: dict[str, Any] = {"number": number, "file": record.file, "at": record.at}
        columns, own = self.archive.columns, ""
        try:
            own = _text(record, columns.id, "")
            question = _words(question or _text(record, columns.question))
            system = _words(_text(record, columns.system, self.system))
            if not question:
                raise Broken(f"field '{columns.question}' is empty")
            pictures = self._pictures(record, read)
        except Broken as broken:
            return Row(**place, id=own or record.place, fault=str(broken))
        id = own or sha256(system, question, *(picture.sha256 for picture in pictures))
        return Row(**place, id=id, question=question, system=system, pictures=pictures)

    def _pictures(self, record: Record, read: Read) -> list[Picture]:
        held = _held(record, self.archive.columns.image, self.archive.columns.images)
        if self.most_images is not None and len(held) > self.most_images:
            limit = "engine.images_per_prompt" if self.most_images else "this language model takes"
            raise Broken(f"more images than {limit}")
        files = [_file(value, read) for value in held]
        return [
            Picture(
                sha256=hashlib.sha256(file).hexdigest(),
                shown=shown(file, self.most_pixels, self.plain),
            )
            for file in files
        ]


def _words(text: str) -> str:
    return text.replace(IMAGE_PLACEHOLDER, "").strip()


def _text(record: Record, name: str, default: str | None = None) -> str:
    """As `Record.text`; JSON can spell what is no text.

    Raises:
        Broken: the field cannot be used.
    """
    text = record.text(name, default)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Broken(f"field '{name}' is not a text") from None
    return text


def _held(record: Record, image: str, images: str) -> list[Any]:
    """What a record holds of pictures: bytes, paths, or both.

    Raises:
        Broken: it holds something else.
    """
    one, many = record.fields.get(image), record.fields.get(images)
    if many is not None and not isinstance(many, list):
        raise Broken(f"field '{images}' is not a list of images")
    return [*([] if one in (None, "") else [one]), *(many or [])]


def _file(held: Any, read: Read) -> bytes:
    """A picture's file.

    Raises:
        Broken: there is none, or it cannot be read.
    """
    if isinstance(held, dict):
        held = held.get("bytes") or held.get("path")
    if isinstance(held, bytes):
        return held
    if not isinstance(held, str):
        raise Broken("missing image" if held is None else "an image that is neither file nor path")
    try:
        return read(held)
    except Broken:
        raise
    except (OSError, ValueError):  # no permission; a path that cannot be one
        raise Broken("the image's file cannot be read") from None
