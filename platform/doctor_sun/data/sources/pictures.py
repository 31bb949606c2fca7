"""Pictures by name: in folders, or in the zip files that publishers ship."""

import functools
import posixpath
import zipfile
import zlib
from collections.abc import Sequence

from upath import UPath

from doctor_sun.data.sources.record import Broken


class Pictures:
    """Pictures at the first of several places that has them.

    A place is a folder (`images`), a zip file (`images.zip`) or a folder in one
    (`images.zip/figures`), relative to the data set's folder.
    """

    def __init__(self, root: UPath, places: Sequence[str]) -> None:
        """Look which places there are."""
        self.folders: list[UPath] = []
        self.zips: list[tuple[zipfile.ZipFile, str]] = []
        self.absent = "missing image"
        for place in places:
            file, mark, inner = place.partition(".zip")
            if not mark:
                self.folders += [root / place] if (root / place).is_dir() else []
            elif (root / f"{file}.zip").is_file():
                path = root / f"{file}.zip"
                try:
                    archive, _ = _open_zip(str(path), path.stat().st_size)
                    self.zips.append((archive, inner.strip("/")))
                except zipfile.BadZipFile:
                    self.absent = "the images' zip file cannot be read"

    def read(self, name: str, key: str = "") -> bytes:
        """A picture's bytes.

        Raises:
            Broken: no place has it, or the zip file is damaged there.
        """
        inside = posixpath.normpath(name)
        if inside.startswith(("/", "..")) or "://" in name or "::" in name:
            raise Broken("the image's path leads out of the folder", key)
        for folder in self.folders:
            try:
                return bytes((folder / inside).read_bytes())
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                continue
        for archive, prefix in self.zips:
            try:
                return archive.read(posixpath.join(prefix, inside))
            except KeyError:
                continue
            except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):
                raise Broken("the image is damaged in its zip file", key) from None
        raise Broken(self.absent, key)


@functools.lru_cache(maxsize=4)
def _open_zip(path: str, _size: int) -> tuple[zipfile.ZipFile, UPath]:
    """A zip file, opened once a process: the list of a million members takes seconds to read.

    Its path is kept with it: a file system that nobody holds closes its files.
    """
    where = UPath(path)
    return zipfile.ZipFile(where.open("rb")), where
