"""Unit vectors on disk: Arrow files of a content key and a half-precision vector for each row."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from upath import UPath

from doctor_sun.files import complete_file

Vectors = NDArray[np.float32]


def write_vectors(path: str | UPath, keys: pa.Array, vectors: NDArray[np.floating]) -> None:
    """Write a file; it is complete or not there.

    Args:
        path: local path or URI.
        keys: [n] what each vector was made from, by its content.
        vectors: [n, width]; stored in half precision (cosines are off by less than 0.0005).
    """
    halves = pa.array(np.ascontiguousarray(vectors, dtype=np.float16).ravel())
    column = pa.FixedSizeListArray.from_arrays(halves, max(1, vectors.shape[1]))
    table = pa.table({"key": keys, "vector": column})
    with (
        complete_file(UPath(path)) as stream,
        pa.ipc.new_file(stream, table.schema) as writer,
    ):
        writer.write_table(table)


def read_keys(path: str | UPath) -> pa.Array:
    """[n] the content keys of a file."""
    return _read(path)["key"].combine_chunks()


def read_vectors(path: str | UPath) -> Vectors:
    """[n, width] the vectors of a file, in single precision."""
    column = _read(path)["vector"].combine_chunks()
    halves = column.flatten().to_numpy(zero_copy_only=False)
    return halves.reshape(len(column), -1).astype(np.float32)


def _read(path: str | UPath) -> pa.Table:
    with UPath(path).open("rb") as stream, pa.ipc.open_file(stream) as reader:
        return reader.read_all()
