"""The one error a user should read, and how a job ends on it: one line, non-zero exit.

Raise `InputError` for whatever the user can mend (a path, a key, a row); anything else is a fault
of ours and keeps its traceback.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_FULL = (errno.ENOSPC, errno.EDQUOT)


class InputError(ValueError):
    """Something the user gave is wrong: the message names the file, row or key, and the way out.

    Never put sample text, image bytes or an identifier into the message.
    """


def find_input_error(error: BaseException | None) -> InputError | None:
    """The `InputError` inside an exception that crossed Ray, or None.

    Ray wraps what a worker raised: tasks in `RayTaskError.cause`, Data in `__cause__`, Train in
    `worker_failures` and `controller_failure`; where a data set is iterated over, only the worker's
    traceback is left.
    """
    seen: set[int] = set()
    pending = [error]
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, InputError):
            return current
        pending += [current.__cause__, current.__context__]
        pending += [getattr(current, name, None) for name in ("cause", "controller_failure")]
        pending += list(getattr(current, "worker_failures", {}).values())
    lines = _marked(str(error))
    return InputError(lines[-1]) if lines else None


def _marked(text: str) -> list[str]:
    """The messages of `InputError` in a worker's traceback."""
    mark = f"{InputError.__module__}.{InputError.__name__}: "
    return [line.removeprefix(mark) for line in text.splitlines() if line.startswith(mark)]


def disk_is_full(error: BaseException) -> bool:
    """Whether something ended for want of disk space; of what Ray, torch and Arrow pass on, only
    the words are left.
    """
    return any(os.strerror(number) in str(error) for number in _FULL)


def no_space(where: object = "") -> InputError:
    """What a user reads of a full disk."""
    place = f" ({where})" if where else ""
    return InputError(f"no space is left on the device{place}; the same command resumes")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an `InputError`, wherever it was raised, into one line on stderr and exit status 2."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted; the same command resumes where it stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        cause = find_input_error(error)
        if cause is None and disk_is_full(error):
            cause = no_space(getattr(error, "filename", None) or "")
        if cause is None:
            raise
        print(f"error: {message_of(cause)}", file=sys.stderr)
        sys.exit(2)


def message_of(error: InputError) -> str:
    """The line that was raised: a Ray worker's copy also carries its traceback, and Ray Data's
    advice on retries after that.
    """
    text = str(error).strip()
    return (_marked(text) or text.splitlines())[-1]
