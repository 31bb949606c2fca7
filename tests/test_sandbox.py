"""Programs in the sandbox are judged as they are, and bounded in time and memory."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from doctor_sun.errors import InputError
from doctor_sun.evaluation import sandbox
from doctor_sun.evaluation.sandbox import SandboxConfig, check_program

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("adopted_orphans", "nothing_left")]

SHORT = SandboxConfig(seconds=1)


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
