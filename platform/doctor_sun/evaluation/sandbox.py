"""Untrusted programs against a benchmark's assertions: contained, and judged by another process.

Two interpreters are started for every program, both with an empty environment, no files open but
pipes, and no right to anything but to compute and to use these pipes:

- The candidate (`sandbox_candidate`) runs the program. It is never told the assertions, only which
  function to call with which arguments, and it answers with data.
- The judge (`main` below) runs the assertions. In them the names that the program defines stand
  for calls to the candidate; what comes back is read as plain data (numbers, text, containers, a
  few kinds of collections) and built anew, so that no code of the program takes part in a
  comparison. What is no plain data (an instance, a function, a generator) stays in the candidate:
  the judge has a handle that can be called, iterated over and passed on, and equals nothing.
  Builtins and standard modules in an assertion are the judge's own. A test in which two results of
  the program are compared, so that the program would judge itself, is refused.

The wall is a seccomp filter: a list of system calls that a computation needs, and death for any
other. Since files cannot be opened either, there is no directory to clean up, and nothing to allow
by path; the standard modules that the program names are imported before. Processes and threads
cannot be started, so killing the candidate leaves nothing. The filter comes with kernels from 4.14
on and needs no privilege, so it works in containers under their default profiles. Without it,
nothing is run. Memory and time are bounded for both.

Differences from running program and tests in one namespace: a function that alters its argument in
place alters a copy; arguments that are neither plain data nor from the program (a lambda) are
refused; only the standard library can be imported, by a statement that names the module, and
threads and files are not to be had.
"""

import ast
import builtins
import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast, get_args

from doctor_sun.errors import InputError
from doctor_sun.evaluation import sandbox_candidate as wire

Verdict = Literal["pass", "failed", "wrong_answer", "timeout"]
"""As OpenCompass counts: wrong_answer, an assertion does not hold; failed, any other error."""

SYSTEM_CALLS = (
    *("read", "write", "close", "exit", "exit_group", "futex", "getrandom", "sched_yield"),
    *("brk", "mmap", "munmap", "mremap", "mprotect"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall"),
    *("clock_gettime", "clock_getres", "gettimeofday", "time", "nanosleep", "clock_nanosleep"),
)
"""What a computation may ask of the kernel; none of them names a file, process or address."""

HARMLESS = {"ioctl": errno.ENOTTY, "madvise": errno.EINVAL}
"""What is asked without need ("is this a terminal?", hints on memory): answered with an error."""

START_SECONDS = 60.0
"""Longest wait for both interpreters to start, in seconds, on a busy machine."""

NOT_IMPORTED = {"antigravity", "this"}
"""The standard modules that do more than define names when they are imported."""

START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from doctor_sun.evaluation import {0}; {0}.main()"
)


@dataclass(kw_only=True)
class SandboxConfig:
    """How long and how large a program may run."""

    seconds: float = 10.0
    """Time for the program and all its tests, in seconds, once the interpreters are started."""

    memory_mib: int = 512
    """Address space of the program and, likewise, of its judge, in MiB."""


DEFAULT = SandboxConfig()


class _ProgramError(Exception):
    """The program raised what has no meaning to a test."""


class _Ungradable(Exception):
    """The tests are not of a kind that can be judged here; the message says why."""


def check_program(
    program: str, tests: Sequence[str], config: SandboxConfig = DEFAULT, setup: str = ""
) -> Verdict:
    """Whether an untrusted program meets all tests; may be called from several threads at once.

    `tests` and `setup` are the benchmark's own: assertions, and what runs between the program and
    them. Functions and imports of the setup are there for both sides, its classes for the program.

    InputError: this system cannot contain a program, or the tests cannot be judged.
    """
    if not tests or config.seconds <= 0 or config.memory_mib <= 0:
        raise InputError("a check needs tests, a time (seconds > 0) and memory (memory_mib > 0)")
    limits = {
        "filter": _system_call_filter().hex(),
        "seconds": config.seconds,
        "memory_mib": config.memory_mib,
    }
    imports = "\n".join(line for line in program.splitlines() if "import" in line)
    trusted = "\n".join((setup, *tests))
    job = json.dumps({"program": program, "setup": setup, "tests": list(tests)})
    with _start("sandbox_candidate", {**limits, "modules": _modules(imports, setup)}) as candidate:
        assert candidate.stdin is not None
        assert candidate.stdout is not None
        pipes = candidate.stdin.fileno(), candidate.stdout.fileno()
        options = {**limits, "modules": _modules(trusted), "pipes": pipes}
        try:
            with _start("sandbox", options, pass_fds=pipes) as judge:
                candidate.stdin.close()  # ours: the judge has its own
                candidate.stdout.close()
                try:
                    said = judge.communicate(job, timeout=config.seconds + START_SECONDS)[0]
                except subprocess.TimeoutExpired:
                    raise InputError(f"no sandbox within {START_SECONDS:g} s") from None
                finally:
                    judge.kill()
        finally:
            candidate.kill()
    return _read_verdict(said, judge.returncode)


def _start(
    module: str, options: dict[str, Any], pass_fds: Sequence[int] = ()
) -> subprocess.Popen[str]:
    """A fresh interpreter in `main` of a module of this package: no site, no environment."""
    root = str(Path(__file__).parents[2])
    code = START.format(module)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code, root, json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=pass_fds,
        cwd="/",
        env={},
        start_new_session=True,
        text=True,
    )


def _read_verdict(said: str, status: int) -> Verdict:
    """What the judge's output and its exit status mean."""
    first, _, last = said.partition("\n")
    if first != wire.READY:
        raise InputError(first or "the sandbox's interpreter does not start")
    for verdict in get_args(Verdict):
        if verdict == last:
            return cast(Verdict, verdict)
    if last:
        raise InputError(last)
    # Else the judge was ended by its alarm, or broke on what the program sent.
    return "timeout" if status == -signal.SIGALRM else "failed"


def _modules(*sources: str) -> list[str]:
    """The standard modules that a text may mean.

    Never a submodule that it names: some, such as `venv.__main__`, act when they are imported.
    """
    words = {word for source in sources for word in re.findall(r"\w+", source)}
    return sorted(words & (sys.stdlib_module_names - NOT_IMPORTED))


@cache
def _system_call_filter() -> bytes:
    """The seccomp filter as the kernel's instructions. InputError: it cannot be made here."""
    try:
        import pyseccomp

        allowed = pyseccomp.SyscallFilter(pyseccomp.KILL_PROCESS)
        allowed.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
        for name in SYSTEM_CALLS:
            allowed.add_rule(pyseccomp.ALLOW, name)
        for name, number in HARMLESS.items():
            allowed.add_rule(pyseccomp.ERRNO(number), name)
        with os.fdopen(os.memfd_create("filter"), "r+b") as file:
            allowed.export_bpf(file)
            file.seek(0)
            return file.read()
    except (ImportError, RuntimeError, OSError) as error:
        raise InputError(
            f"programs of a model are only run under a seccomp filter: {error} "
            "(needs Linux, pip install pyseccomp, apt install libseccomp2)"
        ) from None


class _Held:
    """What is no plain data: it stays in the candidate under a name, and equals nothing."""

    __slots__ = ("_ask", "_name")

    def __init__(self, ask: Callable[..., Any], name: object) -> None:
        object.__setattr__(self, "_ask", ask)
        object.__setattr__(self, "_name", name)

    def __call__(self, *args: object, **named: object) -> Any:
        return self._ask("call", self, args, named)

    def __getattr__(self, name: str) -> Any:
        return self._ask("getattr", self, name)

    def __setattr__(self, name: str, value: object) -> None:
        self._ask("setattr", self, name, value)

    def __iter__(self) -> Any:
        return self._ask("iter", self)

    def __next__(self) -> Any:
        return self._ask("next", self)


def _held_name(value: object) -> Any:
    if isinstance(value, _Held):
        return value._name
    raise _Ungradable(f"a test passes the program a {type(value).__name__}, which is no plain data")


def _ask(requests: BinaryIO, replies: BinaryIO, operation: str, *operands: object) -> Any:
    """Have the candidate do something, and read what it says came of it."""
    wire.send(requests, [operation, *(wire.encode(operand, _held_name) for operand in operands)])
    outcome, content = wire.receive(replies)
    if outcome == "value":
        return wire.decode(content, partial(_Held, partial(_ask, requests, replies)))
    if content == "AssertionError":
        raise AssertionError
    if content == "StopIteration" and operation == "next":
        raise StopIteration
    raise _ProgramError("the program raised")


def _bound(tree: ast.AST) -> set[str]:
    """The variables and parameters of code."""
    nodes = list(ast.walk(tree))
    names = {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    return names | {node.arg for node in nodes if isinstance(node, ast.arg)}


def _taken(tree: ast.AST, trusted: Container[str]) -> set[str]:
    """The names that code takes from the program: those that nobody else defines."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return {name for name in names if name not in trusted} - _bound(tree)


def _compares_results(tree: ast.AST, taken: Container[str]) -> bool:
    """Whether code compares, or passes to a trusted function, two results of the program."""

    def takes(node: ast.AST) -> bool:
        return any(isinstance(part, ast.Name) and part.id in taken for part in ast.walk(node))

    sides = [
        [node.left, *node.comparators] if isinstance(node, ast.Compare) else node.args
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare) or (isinstance(node, ast.Call) and not takes(node.func))
    ]
    return any(sum(map(takes, operands)) > 1 for operands in sides)


def _parsed(source: str) -> ast.Module:
    """The syntax tree of trusted code that compiles. _Ungradable: it does not."""
    try:
        tree = ast.parse(source.strip())
        compile(tree, "<test>", "exec")
    except (SyntaxError, ValueError):
        raise _Ungradable("a test or its setup is no Python") from None
    return tree


def _judge(
    program: str, setup: ast.Module, tests: Sequence[ast.Module], ask: Callable[..., Any]
) -> str:
    """The verdict. _Ungradable: the tests are not of a kind that can be judged."""
    definitions = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    shared: list[ast.stmt] = [node for node in setup.body if isinstance(node, definitions)]
    setup.body = [node for node in setup.body if not isinstance(node, ast.ClassDef)]
    nodes = [node for tree in (setup, *tests) for node in ast.walk(tree)]
    called = {
        node.func.id
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    # A program may have to define a function by the name of a builtin: then it is the only one
    # that is called.
    builtin = set(dir(builtins)) - (called if len(called) == 1 else set())
    scope: dict[str, Any] = {
        node.value.id: sys.modules[node.value.id]
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in sys.modules
    }
    results: set[str] = set()
    try:
        ask("run", ast.unparse(ast.Module(shared, [])))
        ask("run", program)
        for tree in (setup, *tests):
            taken = _taken(tree, builtin | set(scope))
            results |= taken
            if _compares_results(tree, results):
                raise _Ungradable("a test compares two results of the program with each other")
            scope |= {name: ask("name", name) for name in taken}
            exec(compile(tree, "<test>", "exec"), scope)
            if tree is setup and taken:
                results |= _bound(setup)
    except AssertionError:
        return "wrong_answer"
    except _Ungradable:
        raise
    except BaseException:
        return "failed"
    return "pass"


def main() -> None:
    """In the judge's process: whether the candidate stands, then the verdict on the job from stdin,
    or why there is none.
    """
    options = json.loads(sys.argv[2])
    job = json.load(sys.stdin)
    requests = os.fdopen(options["pipes"][0], "wb")
    replies = os.fdopen(options["pipes"][1], "rb")
    started = wire.receive(replies)
    print(started, flush=True)
    if started == wire.READY:
        try:
            wire.preload(options["modules"])
            # Before the wall: where there is an error, Python looks for a file to quote the line.
            setup, *tests = map(_parsed, (job["setup"], *job["tests"]))
            signal.setitimer(signal.ITIMER_REAL, options["seconds"])
            wire.lock_down(
                bytes.fromhex(options["filter"]), options["seconds"], options["memory_mib"]
            )
            said = _judge(job["program"], setup, tests, partial(_ask, requests, replies))
        except (_Ungradable, OSError, ValueError, MemoryError) as error:
            said = str(error) or type(error).__name__
        print(said, end="", flush=True)
    os._exit(0)
