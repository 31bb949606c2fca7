"""Elements of a JSON array, one after the other, in constant memory.

The parser says where an element ends. Where it cannot, because the element is broken or not yet
read to its end, brackets and quotes say it: a broken element costs itself only.
"""

import json
import re
from collections.abc import Iterator
from typing import IO

from doctor_sun.data.sources.record import Broken

CHUNK = 1 << 20
CUT_SHORT = "the JSON array is broken from here on"
LONGEST = 1 << 26  # bytes of one element; more means that a quote or a bracket is missing
PARSER = json.JSONDecoder(strict=False)
SPACE = re.compile(r"[ \t\n\r]*")
TOKEN = re.compile(rb'"(?:[^"\\]+|\\.)*("?)|[\[\]{},]', re.DOTALL)  # a string may be cut short


def array_elements(
    stream: IO[bytes], start: int, end: int | None
) -> Iterator[tuple[int, bytes | Broken]]:
    """The elements that begin in a range of bytes: where, and the text.

    Args:
        stream: a file that holds one JSON array.
        start: 0, or the byte after an element's comma.
        end: no element that begins there or later is read.
    """
    stream.seek(start)
    depth = 1 if start else 0  # of brackets; elements are at 1
    text, origin, begin, position = b"", start, 0, 0  # begin and position count from origin
    letters = ""  # text, a letter a byte: what stands outside of strings is ASCII
    while True:
        if depth == 1 and position == begin:
            position = _end_of_value(letters, begin)
        token = TOKEN.search(text, position)
        if token is None or (token[0][:1] == b'"' and not token[1]):
            position = token.start() if token else len(text)
            chunk = stream.read(CHUNK)
            if not chunk or len(text) - begin > LONGEST:
                if depth and text[begin:].strip():
                    yield origin + begin, Broken(CUT_SHORT)
                return
            text, origin, position = text[begin:] + chunk, origin + begin, position - begin
            begin, letters = 0, text.decode("latin-1")
            continue
        position = token.end()
        mark = token[0][:1]
        depth += (mark in b"[{") - (mark in b"]}")
        if mark == b"[" and depth == 1:
            begin = position
        closed = mark == b"]" and depth == 0
        if depth < 1 and not closed:
            yield origin + begin, Broken(CUT_SHORT)
            return
        if closed or (mark == b"," and depth == 1):
            element = text[begin : token.start()].strip()
            if element or not closed:
                yield origin + begin, element
            begin = position
        if closed or (end is not None and depth == 1 and origin + begin >= end):
            return


def _end_of_value(letters: str, begin: int) -> int:
    """Where the mark after a value stands; `begin` itself when that cannot be told yet."""
    try:
        _, end = PARSER.raw_decode(letters, _skipped(letters, begin))
    except (ValueError, RecursionError):
        return begin
    end = _skipped(letters, end)
    return end if letters[end : end + 1] in (",", "]") else begin


def _skipped(letters: str, position: int) -> int:
    """The first position that is no white space."""
    found = SPACE.match(letters, position)
    return found.end() if found else position
