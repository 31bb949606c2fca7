"""Untrusted programs: honest ones are judged as they are; no attack passes, harms or stays."""

import ctypes
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGKILL, SIGSEGV, SIGSYS

import pytest

from doctor_sun.errors import InputError
from doctor_sun.evaluation import sandbox
from doctor_sun.evaluation.sandbox import SandboxConfig, check_program

pytestmark = pytest.mark.slow

PR_SET_CHILD_SUBREAPER = 36
SHORT = SandboxConfig(seconds=1)
WRONG = {"failed", "wrong_answer"}


@pytest.fixture(scope="module", autouse=True)
def _adopt_orphans() -> None:
    """What a check leaves running, at any depth, becomes a child of this process."""
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def children() -> set[str]:
    """The processes under this one, dead ones that nobody waited for too."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                found.add(f"{process.name} {(process / 'cmdline').read_bytes()!r}")
        except OSError:
            continue
    return found


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path: Path) -> Iterator[None]:
    """No process, open file or file stays behind."""
    descriptors = Path("/proc/self/fd")
    before = children(), len(list(descriptors.iterdir()))
    yield
    assert (children(), len(list(descriptors.iterdir()))) == before
    assert list(tmp_path.iterdir()) == []


def check_all(programs: list[str], test: str, config: SandboxConfig) -> set[str]:
    """The verdicts on several programs, side by side."""
    with ThreadPoolExecutor(4) as pool:
        return set(pool.map(lambda program: check_program(program, [test], config), programs))


HONEST = [
    (
        "import re\ndef f(s):\n  return 'yes' if re.search('^a(b*)$', s) else 'no'",
        ["assert f('abb') == 'yes'", "assert f('c')==('no')"],
    ),
    (
        "def similar(a, b):\n  return tuple(set(a) & set(b))",
        ["assert set(similar((3, 4, 5),(5, 4, 7))) == set((4, 5))"],
    ),
    (
        "import math\ndef f(r):\n  return 4 / 3 * math.pi * r**3",
        ["assert math.isclose(f(10), 4188.790204786391, rel_tol=0.001)"],
    ),
    (
        "from collections import Counter\ndef f(x):\n  return Counter(x)",
        ["assert f('aab') == {'a': 2, 'b': 1}", "assert f('') == {}"],
    ),
    (
        "from collections import Counter\ndef f(x):\n  return Counter(x).most_common(2)",
        ["assert f('aabbbc') == [('b', 3), ('a', 2)]"],
    ),
    (
        "import collections\ndef f(x):\n  d = collections.defaultdict(list)\n"
        "  for k, v in x:\n    d[k].append(v)\n  return d",
        ["assert f([(1, 'a'), (1, 'b')]) == {1: ['a', 'b']}"],
    ),
    (
        "from collections import deque\ndef f(x):\n  d = deque(x)\n  d.rotate(1)\n  return d",
        ["assert list(f([1, 2, 3])) == [3, 1, 2]", "assert f([]) != []"],
    ),
    (
        "from collections import OrderedDict\ndef f(x):\n  return OrderedDict(sorted(x.items()))",
        ["assert f({2: 'b', 1: 'a'}) == {1: 'a', 2: 'b'}"],
    ),
    (
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(x): return P(x, 2)",
        ["assert f(1) == (1, 2)"],
    ),
    (
        "import heapq as hq\ndef f(x, n):\n  return hq.nlargest(n, x)",
        ["assert f([25, 35, 22, 85], 2)==[85, 35]"],
    ),
    (
        "from itertools import groupby\n"
        "def f(x):\n  return [[k, len(list(g))] for k, g in groupby(x)]",
        ["assert f([1, 1, 2]) == [[1, 2], [2, 1]]"],
    ),
    ("def f(n):\n  yield from range(n)", ["assert list(f(3)) == [0, 1, 2]"]),
    ("def f(x):\n  return map(str, x)", ["assert sorted(f((2, 1))) == ['1', '2']"]),
    (
        "def f(x):\n  return x.keys(), x.values(), x.items()",
        ["assert f({1: 2})[0] == {1}", "assert [*f({1: 2})[1]] == [2]"],
    ),
    (
        "def f(x):\n  return x > 2 or None",
        ["assert f(3)", "assert not f(2)", "assert f(2) is None", "assert f(3) == True"],
    ),
    (
        "def f(x):\n  return x * 2",
        [
            "assert f(1.5) == 3",
            "assert f(-7) == -14",
            "assert f(10**5000) == 2 * 10**5000",
            "assert f(2 + 1j) == 4 + 2j",
            "assert f(float('-inf')) == float('-inf')",
            "assert math.isnan(f(float('nan')))",
            "assert f(b'ab') == b'abab'",
            "assert f('\\ud800é') == '\\ud800é\\ud800é'",
        ],
    ),
    (
        "from fractions import Fraction\nfrom decimal import Decimal\n"
        "def f():\n  return Fraction(1, 2), Decimal('1.5'), range(3), frozenset({1})",
        ["assert f() == (0.5, 1.5, range(3), {1})"],
    ),
    (
        "class Pair(object):\n  def __init__(self, a, b):\n    self.a = a\n    self.b = b\n"
        "def chain(arr, n):\n  return max(p.b - p.a for p in arr) + n",
        ["assert chain([Pair(5, 24), Pair(15, 25), Pair(a=27, b=40)], 4) == 23"],
    ),
    (
        "class Stack:\n  def __init__(self):\n    self.items = []\n"
        "  def push(self, x):\n    self.items.append(x)\n    return self",
        ["assert Stack().push(1).push(2).items == [1, 2]"],
    ),
    ("def sum(a, b):\n  return a + b + 1", ["assert sum(10, 15) == 26"]),
    (
        "def f(x, t):\n  return [i for i in x if not isinstance(i, t)]",
        ["assert f((4, 7.7, 'a'), int) == [7.7, 'a']"],
    ),
    (
        "from dataclasses import dataclass\nfrom typing import List\n"
        "@dataclass\nclass P:\n  x: int\n"
        "def f(x: List[int]) -> int:\n  return P(sum(x)).x",
        ["assert f([1, 2]) == 3"],
    ),
    (
        "try:\n  import numpy\nexcept ImportError:\n  numpy = None\ndef f():\n  return numpy",
        ["assert f() is None"],
    ),
    (
        "import datetime, random, sys, time\nprint('hello', flush=True)\ndef f():\n"
        "  time.sleep(0.01)\n  random.seed()\n  print(sys.stdout.isatty())\n"
        "  return datetime.datetime.now() > datetime.datetime.strptime('2020', '%Y')\n"
        "if __name__ == '__main__':\n  raise ValueError",
        ["assert f()"],
    ),
]


@pytest.mark.parametrize(("program", "tests"), HONEST)
def test_honest_programs_pass(program: str, tests: list[str]) -> None:
    assert check_program(program, tests) == "pass"


@pytest.mark.parametrize(
    ("program", "verdict"),
    [
        ("def f(x):\n  return x", "wrong_answer"),
        ("def f(x):\n  return None", "wrong_answer"),
        ("def f(x):\n  return [2]", "wrong_answer"),
        ("def f(x):\n  assert False", "wrong_answer"),
        ("assert False", "wrong_answer"),
        ("def f(x):\n  yield 2", "wrong_answer"),
        ("def f(x) return 2", "failed"),
        ("def f(x):\n  return 2\n\0", "failed"),
        ("def f(x):\n  return '\ud800'", "failed"),
        ("def g(x):\n  return 2", "failed"),
        ("def f():\n  return 2", "failed"),
        ("import numpy\ndef f(x):\n  return 2", "failed"),
        ("def f(x):\n  return int(input())", "failed"),
        ("", "failed"),
    ],
)
def test_wrong_programs_are_told_apart(program: str, verdict: str) -> None:
    assert check_program(program, ["assert f(1) == 2"]) == verdict


def test_one_failing_test_is_enough() -> None:
    tests = ["assert f(1) == 2", "assert f(2) == 3", "assert f(3) == 5"]
    assert check_program("def f(x):\n  return x + 1", tests) == "wrong_answer"


def test_setup_runs_between_program_and_tests() -> None:
    program = (
        "class Node:\n  def __init__(self, data):\n    self.left = None\n"
        "def depth(node):\n  return 1 + depth(node.left) if node else 0"
    )
    setup = "root = Node(1) \r\nroot.left = Node(2) \r\nroot.left.left = Node(3)"
    assert check_program(program, ["assert (depth(root)) == 3 "], setup=setup) == "pass"
    assert check_program(program, ["assert (depth(root)) == 2 "], setup=setup) == "wrong_answer"
    with pytest.raises(InputError, match="two results"):
        check_program(program, ["assert depth(root) == root.left"], setup=setup)


def test_setup_defines_for_both_sides() -> None:
    setup = "import math\nclass P:\n  x = 4.0\ndef near(a, b):\n  return math.isclose(a, b)"
    program = "near = lambda a, b: True\ndef f(p):\n  return math.sqrt(p.x)"
    assert check_program(program, ["assert near(f(P()), 2)"], setup=setup) == "pass"
    assert check_program(program, ["assert near(f(P()), 3)"], setup=setup) == "wrong_answer"


def test_an_altered_argument_is_a_copy() -> None:
    program = "def f(x):\n  x.append(1)\n  return x"
    assert check_program(program, ["x = []\nassert f(x) == [1] and x == []"]) == "pass"


# Each has the right answer ready, should it get away with what it tries.
REFUSED = {
    "fork bomb": "import os\nwhile True:\n  os.fork()",
    "vfork": "import ctypes\nctypes.CDLL(None).vfork()",
    "subprocess": "import subprocess\nsubprocess.Popen(['sleep', '100'])",
    "system": "import os\nos.system('sleep 100 &')",
    "spawn": "import os\nos.posix_spawn('/bin/sleep', ['sleep', '100'], dict())",
    "exec": "import os\nos.execv('/bin/true', ['true'])",
    "thread": "import threading, time\nthreading.Thread(target=time.sleep, args=[100]).start()",
    "write": "open('{folder}/evidence', 'w').write('x')",
    "write in the working directory": "open('evidence', 'w')",
    "mkdir": "import os\nos.mkdir('{folder}/evidence')",
    "link": "import os\nos.symlink('/etc', '{folder}/evidence')",
    "unlink": "import os\nos.unlink('{tests}')",
    "chmod": "import os\nos.chmod('{folder}', 0)",
    "memfd": "import os\nos.memfd_create('x')",
    "read": "open('/etc/passwd').read()",
    "read the tests": "open('{tests}').read()",
    "list": "import os\nos.listdir('/')",
    "stat": "import os\nos.stat('/')",
    "own environment": "open('/proc/self/environ').read()",
    "parent's memory": "import os\nopen('/proc/' + str(os.getppid()) + '/mem', 'rb')",
    "parent's memory by number": "open('/proc/{pid}/mem', 'rb')",
    "socket": "import socket\nsocket.socket().connect(('127.0.0.1', {port}))",
    "datagram": "import socket\nsocket.socket(type=socket.SOCK_DGRAM)",
    "name service": "import ctypes as c\n"
    "c.CDLL(None).getaddrinfo(b'a.b', b'80', None, c.byref(c.c_long()))",
    "kill the parent": "import os\nos.kill(os.getppid(), 9)",
    "kill": "import os\nos.kill({pid}, 9)",
    "kill all": "import os\nos.kill(-1, 9)",
    "signal by file": "import fcntl\nfcntl.fcntl(1, fcntl.F_SETOWN, {pid})",
    "session": "import os\nos.setsid()",
    "limits": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "ptrace": "import ctypes\nctypes.CDLL(None).ptrace(16, {pid}, 0, 0)",
    "others' memory": "import ctypes\nctypes.CDLL(None).process_vm_readv({pid}, 0, 0, 0, 0, 0)",
    "prctl": "import ctypes\nctypes.CDLL(None).prctl(1, 0, 0, 0, 0)",
    "mount": "import ctypes\nctypes.CDLL(None).mount(b'a', b'/mnt', b'tmpfs', 0, 0)",
    "unshare": "import ctypes\nctypes.CDLL(None).unshare(0x10000000)",
    "io_uring": "import ctypes\nctypes.CDLL(None).syscall(425, 8, b'0' * 120)",
    "reboot": "import ctypes\nctypes.CDLL(None).reboot(0)",
    "_exit": "import os\nos._exit(0)",
    "exit": "import sys\nsys.exit(0)",
    "SystemExit": "raise SystemExit",
    "abort": "import os\nos.abort()",
    "crash": "import ctypes\nctypes.string_at(0)",
    "close everything": "import os\nos.closerange(0, 100)",
}
# The same kernel by other numbers: that of fork, those of 32 bits (getpid), those of x32.
X86_64 = {
    "by number": "import ctypes\nctypes.CDLL(None).syscall(57)",
    "32 bits": "import ctypes, mmap\nm = mmap.mmap(-1, 4096, prot=7)\n"
    "m.write(bytes.fromhex('b814000000cd80c3'))\n"
    "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()",
    "x32": "import ctypes\nctypes.CDLL(None).syscall(0x40000000 | 39)",
}
if platform.machine() == "x86_64":
    REFUSED |= X86_64
CAUGHT = {0, -SIGKILL}
ENDS = {"_exit": {0}, "exit": CAUGHT, "SystemExit": CAUGHT, "crash": {-SIGSEGV}}
"""How a candidate ends that is not ended for its system call."""


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.mark.parametrize("name", REFUSED)
def test_refused(
    name: str, tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the program is imported, and once it is called."""
    started: list[subprocess.Popen[str]] = []
    start = sandbox._start
    monkeypatch.setattr(
        sandbox,
        "_start",
        lambda *args, **named: started.append(start(*args, **named)) or started[-1],
    )
    attack = REFUSED[name].format(
        folder=tmp_path, tests=__file__, pid=os.getpid(), port=listener.getsockname()[1]
    )
    # Caught, if it can be: an attack that is only answered with an error would go on to the answer.
    shield = "Exception" if ENDS.get(name) == CAUGHT else "BaseException"
    lines = "\n".join(f"    {line}" for line in attack.splitlines())
    program = f"def attack():\n  try:\n{lines}\n  except {shield}:\n    pass\n"
    for place in ("attack()\ndef f(x):\n  return 2", "def f(x):\n  attack()\n  return 2"):
        assert check_program(program + place, ["assert f(1) == 2"]) == "failed"
    assert {process.returncode for process in started[::2]} <= ENDS.get(name, {-SIGSYS})
    assert Path(__file__).is_file()
    with pytest.raises(BlockingIOError):
        listener.accept()


EQUAL = """
class Any{base}:
  __eq__ = __ge__ = __le__ = __contains__ = lambda self, other: True
  __ne__ = lambda self, other: False
  __bool__ = lambda self: False
  __hash__ = lambda self: hash(2)
  __len__ = lambda self: 1
  __float__ = lambda self: 3.0
  __index__ = __int__ = lambda self: 3
  __getattr__ = lambda self, name: self
  __call__ = lambda self, *args: self
  __rsub__ = __sub__ = __abs__ = lambda self, *other: 0
  __class__ = property(lambda self: {lie})
def f(x):
  return {value}
"""


@pytest.mark.parametrize(
    "test",
    [
        *("f(1) == 2", "2 == f(1)", "f(1) in (2, 5)", "not f(1) != 2", "[f(1)] == [2]"),
        *("not f(1)", "math.isclose(f(1), 2)", "set([f(1)]) == {2}", "f(1).x == 2"),
    ],
)
def test_an_object_that_equals_everything(test: str) -> None:
    programs = [
        EQUAL.format(base=base, value=value, lie=lie)
        for base, value, lie in (
            *(("", "Any()", "object"), ("", "Any()", "int"), ("", "Any", "object")),
            *(("(int)", "Any(3)", "int"), ("(float)", "Any(3)", "int"), ("(str)", "Any(3)", "str")),
            *(("(list)", "Any([3])", "list"), ("(set)", "Any([3])", "set"), ("", "[Any()]", "int")),
        )
    ]
    assert check_all(programs, f"assert {test}", SandboxConfig()) <= WRONG


def test_truth_that_changes_with_the_question() -> None:
    program = (
        "class T:\n  n = 0\n  def __bool__(self):\n    T.n += 1\n    return T.n % 2 == 1\n"
        "def f(x):\n  return T()"
    )
    assert check_program(program, ["assert f(1)", "assert not f(2)"]) == "wrong_answer"


TAMPERED = [
    "import builtins\nfor name in dir(builtins):\n"
    "  if name[0] != '_':\n    setattr(builtins, name, lambda *args: True)",
    "import builtins\nclass Never(BaseException):\n  pass\nbuiltins.AssertionError = Never",
    "import math\nmath.isclose = lambda *args, **named: True",
    "class math:\n  isclose = lambda *args, **named: True",
    "set = sorted = abs = lambda *args: 7",
    "import sys\nw = sys.modules['doctor_sun.evaluation.sandbox_candidate']\n"
    "w.encode = lambda value, hold: ['held', 0]",
    "import json\njson.dumps = lambda *args, **named: '[\"value\", true]'",
    'import json\njson.dumps = lambda *args, **named: \'{"value": 1, "x": NaN}\'',
    "import os, sys\nfor i in range(3):\n  os.write(i, b'ready\\npass')\n"
    "print('pass')\nprint('pass', file=sys.stderr)",
    "import sys\nsys.settrace(lambda *args: None)\nsys.setrecursionlimit(10**9)",
    "import atexit, os\natexit.register(os._exit, 0)",
]


@pytest.mark.parametrize("test", ["f(1) == 2", "math.isclose(f(1), 2)", "set([f(1)]) == set([2])"])
def test_tampering(test: str) -> None:
    programs = [f"def f(x):\n  return 3\n{tampering}\n" for tampering in TAMPERED]
    assert check_all(programs, f"assert {test}", SandboxConfig()) <= WRONG


FORGED = [
    b'["value", true]\n',
    b'["value", ["held", 0]]\n',
    b'["value", ["list", [["held", 0]]]]\n',
    b'["value", ["class", 0]]\n',
    b'["error", "StopIteration"]\n',
    b'["error", "SystemExit"]\n',
    b"pass\n",
    b"ready\npass\n",
    b"[" * 100_000 + b"\n",
    b'["value", ["int", "' + b"f" * 1_000_000 + b'"]]\n',
    b'["value", ["set", [["list", []]]]]\n',
    b'["value", ["__import__", "os"]]\n',
    b'["value", ["range", [1]]]\n',
    b"\0\xff\n",
    b"x" * (9 << 20),
]


@pytest.mark.parametrize("earlier", [0, 1, 2])
def test_forged_messages(earlier: int) -> None:
    """What is written to whatever is open, in place of which answer ever, is no verdict."""
    programs = [
        "import os\nfor fd in range(64):\n  try:\n"
        f'    os.write(fd, b\'["value", ["held", 0]]\\n\' * {earlier} + {message!r} * 3)\n'
        "  except OSError:\n    pass\ndef f(x):\n  return 3"
        for message in FORGED
    ]
    assert "pass" not in check_all(programs, "assert f(1) == 2", SandboxConfig(seconds=2))


@pytest.mark.parametrize(
    "search",
    [
        "import gc\npool = gc.get_objects()",
        "import sys\nframe = sys._getframe()\nwhile frame:\n"
        "  pool += [frame.f_locals, frame.f_globals, frame.f_code]\n  frame = frame.f_back",
        "import sys\npool = [vars(m) for m in [*sys.modules.values()]] + sys.argv + sys.orig_argv",
        "import os, time\ntime.sleep(0.2)\npool = [os.read(3, 10**6), os.read(4, 10**6)]",
        "import ctypes\npool = [ctypes.string_at(id(pool) + i * 256, 256) for i in range(99)]",
    ],
)
def test_the_answers_are_not_to_be_found(search: str) -> None:
    lines = "\n".join(f"  {line}" for line in search.splitlines())
    program = (
        f"def f(x):\n  pool = []\n{lines}\n  found = ''\n  for each in pool:\n    try:\n"
        "      found += repr(each)\n    except Exception:\n      pass\n"
        "  return x + 918273644 if str(x + 918273644) in found else 0"
    )
    assert check_program(program, ["assert f(1) == 918273645"], SHORT) != "pass"


@pytest.mark.parametrize(
    "program",
    [
        "while True:\n  pass",
        "import time\ntime.sleep(1e6)",
        "def f(x):\n  while True:\n    pass",
        "import signal\nfor i in signal.valid_signals() - {9, 19}:\n  try:\n"
        "    signal.signal(i, signal.SIG_IGN)\n  except OSError:\n    pass\nwhile True:\n  pass",
        "class F:\n  def __del__(self):\n    while True:\n      pass\ndef f(x):\n  F()\n  return 2",
        "import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
    ],
)
def test_what_does_not_end_is_ended(program: str) -> None:
    assert check_program(program, ["assert f(1) == 2"], SHORT) == "timeout"


@pytest.mark.parametrize(
    "program",
    [
        "x = bytearray(10**10)",
        "def f(x):\n  return [0] * 10**9",
        "x = []\nwhile True:\n  x.append(' ' * 10**6)",
        "def f(x):\n  return 'x' * 10**8",
        "def f(x):\n  a = [1]\n  for _ in range(60):\n    a = [a, a]\n  return a",
        "def f(x):\n  a = []\n  a.append(a)\n  return a",
        "def f(x):\n  a = []\n  for _ in range(10**5):\n    a = [a]\n  return a",
        "x = 9 ** 9 ** 9",
        "def f(x):\n  return f(x)",
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(x):\n  return f(x)",
        "import sys\nsys.setrecursionlimit(10**9)\nclass A:\n  def __repr__(self):\n"
        "    return repr(self)\nrepr(A())",
        "def f(x):\n  while True:\n    try:\n      f(x)\n    except BaseException:\n      f(x)",
        "x = " + "(" * 10**5 + ")" * 10**5,
        "x = " + "-" * 10**6 + "1",
    ],
)
def test_memory_and_depth_are_bounded(program: str) -> None:
    config = SandboxConfig(seconds=2, memory_mib=256)
    assert check_program(program, ["assert f(1) == 2"], config) in ("failed", "timeout")


@pytest.mark.parametrize(("answer", "verdict"), [(2, "pass"), (3, "wrong_answer")])
def test_much_output_goes_nowhere(answer: int, verdict: str) -> None:
    program = f"for _ in range(200):\n  print('x' * 10**6)\ndef f(x):\n  return {answer}"
    assert check_program(program, ["assert f(1) == 2"]) == verdict


def test_a_test_may_be_what_does_not_end() -> None:
    program = "def f():\n  while True:\n    yield 1"
    assert check_program(program, ["assert 2 in f()"], SHORT) == "timeout"
    assert check_program("x = 1", ["assert any(0 for _ in iter(int, 1))"], SHORT) == "timeout"
    assert check_program("x = 1", ["assert x == [0] * 10**9"]) == "failed"


def test_from_several_threads() -> None:
    programs = [f"def f(x):\n  return x + {i % 3}" for i in range(12)]
    with ThreadPoolExecutor(6) as pool:
        verdicts = list(pool.map(lambda p: check_program(p, ["assert f(1) == 2"]), programs))
    assert verdicts == ["wrong_answer", "pass", "wrong_answer"] * 4


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        ([], "needs tests"),
        (["assert f(("], "no Python"),
        (["assert f(lambda x: x) == 1"], "passes the program a function"),
        (["assert f(1) == f(2)"], "compares two results"),
        (["assert math.isclose(f(1), f(2))"], "compares two results"),
    ],
)
def test_what_cannot_be_judged_is_said(tests: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_program("def f(x):\n  return x", tests)


def test_nothing_runs_unprotected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = f"open({str(tmp_path / 'evidence')!r}, 'w')"
    with pytest.raises(InputError, match="seconds"):
        check_program(program, ["assert True"], SandboxConfig(seconds=0))
    sandbox._system_call_filter.cache_clear()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyseccomp", None)
        with pytest.raises(InputError, match="libseccomp2"):
            check_program(program, ["assert True"])
    # What the kernel refuses: no filter, none that it knows, one that is too long.
    for refused in (b"", bytes(8), bytes(40_000)):
        monkeypatch.setattr(sandbox, "_system_call_filter", lambda bpf=refused: bpf)
        with pytest.raises(InputError, match="prctl"):
            check_program(program, ["assert True"])
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(InputError, match="does not start"):
        check_program(program, ["assert True"])
