"""No attack on the sandbox passes, harms or stays; each has the right answer ready."""

import os
import platform
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGKILL, SIGSEGV, SIGSYS

import pytest

from doctor_sun.evaluation import sandbox
from doctor_sun.evaluation.sandbox import SandboxConfig, check_program

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("adopted_orphans", "nothing_left")]

SHORT = SandboxConfig(seconds=1)
WRONG = {"failed", "wrong_answer"}


def check_all(programs: list[str], test: str, config: SandboxConfig) -> set[str]:
    """The verdicts on several programs, side by side."""
    with ThreadPoolExecutor(4) as pool:
        return set(pool.map(lambda program: check_program(program, [test], config), programs))


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
