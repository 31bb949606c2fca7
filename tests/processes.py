"""The processes that tests and benchmarks look for, watch and kill."""

import psutil


def descendants(*parts: str, of: psutil.Process | None = None) -> list[psutil.Process]:
    """Living processes under one (else under this one) whose command line holds one of the parts.

    Ray's processes are our descendants, and asking its state service takes longer. Those that end
    while they are looked at are left out: a zombie has no command line any more.
    """
    found = []
    for process in (of or psutil.Process()).children(recursive=True):
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if any(part in line for part in parts):
            found.append(process)
    return found
