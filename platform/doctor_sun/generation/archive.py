"""What is asked about: tables of rows, or a folder of pictures, which is made a table too."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress

from upath import UPath

from doctor_sun.errors import InputError
from doctor_sun.files import complete_file
from doctor_sun.generation.pictures import DICOM_HEAD, DICOM_MARK, is_dicom
from doctor_sun.generation.tables import DEFAULTS, TABLES, ColumnsConfig, check_columns, cut
from doctor_sun.runs import files_below

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".dcm", ".dicom")
INDEX = "DICOMDIR"  # of the pictures on a DICOM medium


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Tables that rows are read from."""

    root: str
    """Folder that the tables stand in."""

    pieces: Sequence[str]
    """Of the tables, in order."""

    columns: ColumnsConfig
    images: str | None
    """Folder that pictures' paths are relative to; None: each table's own."""

    encoding: str


def open_archive(
    data: str,
    columns: ColumnsConfig,
    *,
    asked: bool,
    images: str | None,
    encoding: str,
    listing: UPath,
) -> Archive:
    """The tables at a place, or a table of the pictures there.

    Args:
        data: a table, a picture, or a folder with either at any depth.
        columns: what the tables call the parts of a row.
        asked: whether a question is asked of every picture or row. Then the pictures of a folder
            count before its tables.
        images: as `Archive.images`.
        encoding: of CSV and TSV files.
        listing: where a table of pictures is written.

    Raises:
        InputError: there is nothing to ask about, or a table lacks a column.
    """
    root = UPath(data)
    files, folder = files_below(root), root.parent if root.is_file() else root
    names = [str(file.relative_to(folder)) for file in files]
    tables = [name for name, file in zip(names, files, strict=True) if file.suffix in TABLES]
    with ThreadPoolExecutor(8) as pool:
        pictures = list(compress(names, pool.map(_is_picture, files)))
    if pictures and (asked or not tables):
        if not asked:
            raise InputError(f"{data} holds pictures and no table: ask them something (--question)")
        write_listing(listing, pictures)
        folder, images, tables, columns = listing.parent, str(folder), [listing.name], DEFAULTS
    if not tables:
        raise InputError(f"{data} holds no table ({', '.join(TABLES)}) and no picture")

    def checked(table: str) -> list[str]:
        check_columns(folder / table, columns, encoding, asked)
        return cut(folder / table, table)

    with ThreadPoolExecutor(8) as pool:
        pieces = [piece for own in pool.map(checked, tables) for piece in own]
    return Archive(
        root=str(folder), pieces=pieces, columns=columns, images=images, encoding=encoding
    )


def _is_picture(file: UPath) -> bool:
    """By its name; the names of DICOM files may be numbers, 1.2.840.113619, and say nothing."""
    kind = file.suffix.lower()
    if kind in PICTURES:
        return True
    if (kind and not kind[1:].isdigit()) or file.name == INDEX:
        return False
    with file.open("rb") as stream:
        return is_dicom(stream.read(DICOM_HEAD + len(DICOM_MARK)))


def write_listing(listing: UPath, pictures: Sequence[str]) -> None:
    """A table of pictures, each called by its path."""
    with complete_file(listing) as stream:
        for name in pictures:
            line = {DEFAULTS.id: name, DEFAULTS.image: name}
            stream.write(json.dumps(line).encode() + b"\n")
