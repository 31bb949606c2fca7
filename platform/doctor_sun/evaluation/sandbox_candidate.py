"""The process that runs an untrusted program, and what it shares with its judge (see `sandbox`).

An interpreter that is started for every program imports this: only the standard library, and of
that only what is quick to import. Once the program runs, nothing here can be trusted any more.
"""

import ctypes
import importlib
import json
import math
import os
import resource
import sys
import time
import types
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from operator import attrgetter
from typing import Any, BinaryIO

MESSAGE_LIMIT = 8 << 20
"""Longest message between judge and candidate, in bytes."""

CLASSES = (object, bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
"""What counts as plain data though it is a class."""

# Kinds of plain data: as which text or parts each is sent, and how it is built again. A value of a
# derived class is sent as the first kind here that it belongs to.
TEXTS: dict[str, tuple[type, Callable[[Any], str], Callable[[str], object]]] = {
    "int": (int, hex, lambda text: int(text, 16)),
    "float": (float, float.hex, float.fromhex),
    "complex": (complex, complex.__repr__, complex),
    "bytes": (bytes, bytes.hex, bytes.fromhex),
    "bytearray": (bytearray, bytearray.hex, bytearray.fromhex),
    "Decimal": (Decimal, str, Decimal),
    "Fraction": (Fraction, str, Fraction),
}
PARTS: dict[str, tuple[type, Callable[[Any], Iterable[Any]], Callable[[list[Any]], object]]] = {
    "list": (list, iter, list),
    "tuple": (tuple, iter, tuple),
    "set": (set, iter, set),
    "frozenset": (frozenset, iter, frozenset),
    "deque": (deque, iter, deque),
    "range": (range, attrgetter("start", "stop", "step"), lambda parts: range(*parts)),
    "Counter": (Counter, Counter.items, lambda parts: Counter(dict(parts))),
    "OrderedDict": (OrderedDict, OrderedDict.items, OrderedDict),
    "dict": (dict, dict.items, dict),
    "dict_keys": (type({}.keys()), iter, lambda parts: dict.fromkeys(parts).keys()),
    "dict_items": (type({}.items()), iter, lambda parts: dict(parts).items()),
    "dict_values": (type({}.values()), iter, lambda parts: dict(enumerate(parts)).values()),
}

IMPORTED_LATE = {
    "collections": ("copy", "heapq"),
    "functools": ("typing", "weakref"),
    "codecs": ("encodings.hex_codec", "encodings.rot_13"),
    "datetime": ("_strptime",),
    "time": ("_strptime",),
    "urllib": ("urllib.parse",),
    "xml": ("xml.etree.ElementTree",),
}
"""What a standard module imports only when it is used, and submodules worth having."""

READY = "ready"
"""What a process says once it is locked down; anything else tells why it is not."""

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
SECCOMP_MODE_FILTER = 2
SIGKILL = 9


class _SockFprog(ctypes.Structure):
    """The kernel's `struct sock_fprog`: a filter and its length in instructions of eight bytes."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def encode(value: Any, hold: Callable[[object], Any]) -> Any:
    """Plain data as JSON: None, bool and str as they are, all else after the name of its kind.

    `hold` tells by what to call a value that is no plain data, or raises.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, type) and value in CLASSES:
        return ["class", CLASSES.index(value)]
    for name, (kind, text, _) in TEXTS.items():
        if isinstance(value, kind):
            return [name, text(value)]
    for name, (kind, parts, _) in PARTS.items():
        if isinstance(value, kind):
            return [name, [encode(part, hold) for part in parts(value)]]
    return ["held", hold(value)]


def decode(data: Any, held: Callable[[Any], Any]) -> Any:
    """The value that `encode` told of, built of exactly the types of this interpreter.

    `held` finds what is called so. Whatever is raised, the data is not from `encode`.
    """
    if data is None or isinstance(data, bool | str):
        return data
    kind, content = data
    if kind == "class":
        return CLASSES[content]
    if kind == "held":
        return held(content)
    if kind in TEXTS:
        return TEXTS[kind][2](content)
    return PARTS[kind][2]([decode(part, held) for part in content])


def send(stream: BinaryIO, message: object) -> None:
    """Write one message. ValueError: it is too long."""
    line = json.dumps(message).encode()
    if len(line) >= MESSAGE_LIMIT:
        raise ValueError("the message is too long")
    stream.write(line + b"\n")
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Read one message. EOFError: the other side is gone, or its message is too long."""
    line = stream.readline(MESSAGE_LIMIT)
    if not line.endswith(b"\n"):
        raise EOFError("no whole message")
    return json.loads(line)


def preload(modules: Iterable[str]) -> None:
    """Import standard modules, as long as files can be read; what fails to import is left out."""
    for name in ("warnings", *modules):
        with suppress(Exception):
            for module in (name, *IMPORTED_LATE.get(name, ())):
                importlib.import_module(module)
    time.localtime()  # reads the time zone
    # What is not there by now is a ModuleNotFoundError, not a refused system call.
    sys.path.clear()
    for package in list(sys.modules.values()):
        if hasattr(package, "__path__"):
            package.__path__ = []


def lock_down(bpf: bytes, seconds: float, memory_mib: int) -> None:
    """Give up for good, in this process, whatever the filter does not let through.

    OSError or ValueError: the system does not allow to lock down, and the process is unprotected.
    """
    for limit, value in (
        (resource.RLIMIT_AS, memory_mib << 20),
        # The judge's clock ends a check; this one stops what has lost its judge.
        (resource.RLIMIT_CPU, math.ceil(seconds) + 5),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (least, least))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_void_p] * 4
    program = _SockFprog(len(bpf) // 8, bpf)
    for option, first, second in (
        (PR_SET_PDEATHSIG, SIGKILL, None),
        (PR_SET_DUMPABLE, 0, None),
        (PR_SET_NO_NEW_PRIVS, 1, None),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)),
    ):
        if prctl(option, first, second, None, None) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Do what the judge asks, by name, until it is gone: `[operation, operands...]`.

    The reply is `["value", data]` or `["error", name of the exception]`.
    """
    program = types.ModuleType("program")
    sys.modules["program"] = program
    scope = vars(program)
    held: list[object] = []

    def hold(value: object) -> int:
        held.append(value)
        return len(held) - 1

    def run(source: str) -> None:
        exec(compile(source, "<program>", "exec", dont_inherit=True), scope)

    operations: dict[str, Callable[..., object]] = {
        "run": run,
        "name": scope.__getitem__,
        "call": lambda function, args, named: function(*args, **named),
        "getattr": getattr,
        "setattr": setattr,
        "iter": iter,
        "next": next,
    }
    while True:
        try:
            operation, *operands = receive(requests)
        except EOFError:
            return
        try:
            done = operations[operation](*(decode(data, held.__getitem__) for data in operands))
            send(replies, ["value", encode(done, hold)])
        except BaseException as error:
            send(replies, ["error", type(error).__name__])


def main() -> None:
    """Lock this process down and serve the judge, over what were stdin and stdout."""
    options = json.loads(sys.argv[2])
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    os.close(null)
    try:
        preload(options["modules"])
        lock_down(bytes.fromhex(options["filter"]), options["seconds"], options["memory_mib"])
    except (OSError, ValueError, MemoryError) as error:
        send(replies, str(error) or type(error).__name__)
        return
    send(replies, READY)
    serve(requests, replies)
