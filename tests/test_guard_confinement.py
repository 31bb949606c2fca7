"""What a confined process may not do, and what it still can."""

import subprocess
import sys
from pathlib import Path

import pytest

DENIED = {
    "a socket": "socket.socket()",
    "a program": "subprocess.run(['true'])",
    "a child": "os.fork()",
    "a signal": "os.kill(os.getppid(), 0)",
    "a new file": "open(path + '.new', 'w')",
    "an old file": "open(path, 'r+')",
    "a deletion": "os.unlink(path)",
    "another name": "os.rename(path, path + '.moved')",
    "a folder": "os.mkdir(path + '.folder')",
    "other rights": "os.chmod(path, 0o777)",
    "a thread's socket": "threaded(socket.socket)",
    "memory of others": "open(f'/proc/{os.getppid()}/mem', 'rb+')",
}
TRY = """
import io, os, socket, subprocess, sys, threading
from PIL import Image
from doctor_sun.serving.guard.confinement import confine
def threaded(call):
    found = []
    def run():
        try:
            call()
        except OSError as error:
            found.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if found:
        raise found[0]
path = sys.argv[1]
assert confine()
assert open(path).read() == "text"
stream = io.BytesIO()
Image.new("RGB", (9, 9)).save(stream, "PNG")
Image.open(stream).load()
try:
    {denied}
except PermissionError:
    print("denied")
"""


@pytest.mark.parametrize("what", DENIED)
def test_a_confined_process_is_denied(what: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    program = TRY.replace("{denied}", DENIED[what])
    run = subprocess.run(
        [sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=False
    )
    assert run.stdout == "denied\n", run.stderr
    assert file.read_text() == "text"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
