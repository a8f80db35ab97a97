"""Programs written by a model can neither harm the machine nor pass their tests by a trick."""

import socket
from pathlib import Path

import pytest

from release_kit.sft.evaluate import sandbox
from release_kit.sft.evaluate.code_tests import document_passes
from release_kit.sft.evaluate.sandbox import Limits, SandboxError, run_program

QUICK = Limits(wall_s=8, cpu_s=1)


def permitted() -> bool:
    """Whether this machine lets programs be shut in."""
    try:
        return run_program("pass").passed
    except SandboxError:
        return False


needs_namespaces = pytest.mark.skipif(not permitted(), reason="this machine permits no namespaces")


@needs_namespaces
@pytest.mark.parametrize("program", ["assert 1 + 1 == 2", "import math, re, json, typing\nassert math.gcd(6, 4) == 2",
                                     "open('a', 'w').write('x')\nassert open('a').read() == 'x'"])  # fmt: skip
def test_a_harmless_program_passes(program):
    assert run_program(program).passed


@needs_namespaces
@pytest.mark.parametrize(
    ("program", "kinds"),
    [
        ("assert 1 == 2", {"raised"}),
        ("while True: pass", {"died", "time"}),
        ("import time\ntime.sleep(600)", {"time"}),
        ("raise SystemExit(0)", {"raised"}),
        ("import os\nos._exit(0)", {"died"}),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\nwhile True: pass", {"died", "time"}),
        ("x = []\nwhile True: x.append(bytearray(10**7))", {"raised", "died", "time"}),
        ("import os\nfor _ in range(500): os.fork()", {"raised", "died", "time"}),
        ("f = open('big', 'wb')\nwhile True: f.write(b'0' * 10**6)", {"raised", "died"}),
        ("import sys\nwhile True: print('x' * 10**6); sys.stderr.write('y' * 10**6)", {"died", "time"}),
        ("import ctypes\nctypes.string_at(0)", {"died"}),
        ("def f(): f()\nf()", {"raised"}),
    ],
)
def test_a_program_that_takes_too_much_or_lies_does_not_pass(program, kinds):
    # What is ended by the clock has only this long; what ends by itself gets the time that a busy machine needs.
    limits = Limits(wall_s=1 if "time" in kinds else 20, cpu_s=1)
    assert run_program(program, limits=limits).kind in kinds


@needs_namespaces
def test_a_fork_bomb_leaves_no_process_behind(tmp_path: Path):
    program = "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass\n"
    lines, _, token = sandbox._run_child(program, tmp_path, Limits(wall_s=1, cpu_s=1), True)
    assert f"passed {token}" not in lines
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path).encode() in _read(path)]
    assert not left


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@needs_namespaces
def test_nothing_can_be_read_or_written_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    secret = tmp_path / "secret"
    secret.write_text("token")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    for place in (secret, "/etc/passwd", "/proc/self/environ", "/proc/1/environ", Path.home() / ".bashrc"):
        assert run_program(f"open({str(place)!r}).read()", limits=QUICK).kind == "raised", place
    for place in (tmp_path / "evil", "/usr/evil", "/evil", Path.home() / "evil"):
        run_program(f"open({str(place)!r}, 'w').write('x')", limits=QUICK)
        assert not Path(place).exists(), place
    assert run_program("import os\nassert 'HF_TOKEN' not in os.environ\nassert 'HOME' not in os.environ").passed


@needs_namespaces
def test_no_connection_leaves_the_sandbox():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        program = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2).send(b'x')"
        assert run_program(program, limits=QUICK).kind == "raised"
        with pytest.raises(BlockingIOError):
            server.accept()


def test_without_namespaces_a_program_is_refused_unless_it_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    refusing = tmp_path / "child.py"
    source = sandbox.CHILD.read_text().replace("_check(_libc.unshare(", "raise OSError(1, 'no'); _check(_libc.unshare(")
    refusing.write_text(source)
    monkeypatch.setattr(sandbox, "CHILD", refusing)
    monkeypatch.delenv(sandbox.UNSANDBOXED_VARIABLE, raising=False)
    with pytest.raises(SandboxError, match="--allow-unsandboxed"):
        run_program("pass")
    assert run_program("assert True", allow_unsandboxed=True).passed
    assert run_program("assert False", allow_unsandboxed=True).kind == "raised"
    assert run_program("while True: pass", allow_unsandboxed=True, limits=Limits(wall_s=1, cpu_s=1)).kind != "passed"


@needs_namespaces
def test_the_tests_of_a_document_decide():
    document = {
        "prompt": "def double(x):\n",
        "entry_point": "double",
        "test": "def check(f):\n    assert f(2) == 4\n    assert f(-1) == -2\n",
    }
    assert document_passes(document, "    return x * 2\n")
    assert not document_passes(document, "    return x + 2\n")
    assert not document_passes(document, "    return (\n")
    assert not document_passes(document, "    import sys\n    sys.exit(0)\n")
