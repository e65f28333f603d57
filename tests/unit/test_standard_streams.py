"""Scripts whose reader has gone, or whose Ctrl-C comes during the imports."""

import ast
import errno
import io
import logging
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest
from support import programs

from veegan_jax.runtime import program, watchdog

SCRIPTS = sorted(
    path
    for folder in (programs.SCRIPTS, programs.SCRIPTS / "bench")
    for path in folder.glob("*.py")
    if "program.run(main" in path.read_text()
)


def test_output_without_a_reader_is_dropped():
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        lasting = program._lasting(stream)
        print("±", file=lasting, flush=True)
        assert os.read(reading, 10) == "±\n".encode(stream.encoding)
        os.close(reading)
        for _ in range(2):
            print("nobody reads this", file=lasting, flush=True)
        assert os.path.samestat(os.fstat(writing), os.stat(os.devnull))


def test_a_full_disk_below_the_output_is_an_error():
    with open("/dev/full", "w") as full:
        output = program._Output(full.fileno(), "w", closefd=False)
        with pytest.raises(OSError, match="No space left"):
            output.write(b"a table")


def test_closed_and_captured_streams():
    with program._lasting(None) as closed:
        print("dropped", file=closed, flush=True)
    captured = io.StringIO()
    assert program._lasting(captured) is captured


def test_the_last_word_of_a_process_needs_no_reader(monkeypatch):
    """Else the process would not end."""

    def write(number, data):
        raise BrokenPipeError

    def leave(status):
        raise SystemExit(status)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit, match="130"):
        program._stop_at_once()
    with pytest.raises(SystemExit, match="75"):
        watchdog._exit("gone", 75)


@pytest.fixture
def script(tmp_path):
    """Runs a few lines as a script that has imported `early`."""
    shutil.copy(programs.SCRIPTS / "early.py", tmp_path)

    def run(lines: str, redirections: str = "") -> subprocess.CompletedProcess:
        path = tmp_path / "script.py"
        path.write_text(f"import early\n{lines}")
        return subprocess.run(
            ["sh", "-c", f'"$0" "$1" {redirections}', sys.executable, path],
            cwd=tmp_path,
            text=True,
            capture_output=True,
        )

    return run


def test_ctrl_c_during_the_imports_is_one_line(script):
    done = script(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)"
    )
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr == "\nstopped by SIGINT before anything was done\n"


def test_files_never_take_the_numbers_of_closed_streams(script):
    done = script("print(open(__file__).fileno())", "<&- 2>&-")
    assert int(done.stdout) > 2


def test_a_test_that_imports_a_script_keeps_its_signals():
    before = signal.getsignal(signal.SIGINT)
    import early

    assert signal.getsignal(signal.SIGINT) is before
    assert early._stop is not before


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_import_early_before_all_that_is_slow(path: pathlib.Path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module.partition(".")[0]]
        else:
            continue
        if names == ["early"]:
            return
        assert set(names) <= sys.stdlib_module_names
    pytest.fail("early is not imported")


@pytest.mark.parametrize(
    ("error", "news"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (ValueError("os_error_code='28'"), False),  # TensorStore's form
        (RuntimeError("cannot schedule new futures after shutdown"), False),
        (RuntimeError("cannot schedule new futures after interpreter shutdown"), False),
        (RuntimeError("cannot schedule new futures"), True),
        (None, True),
    ],
)
def test_a_library_logs_only_what_no_message_will_say(error, news):
    """A full disk is one message, not one with the tracebacks of orbax's threads."""
    exc_info = (type(error), error, None) if error else None
    record = logging.LogRecord("absl", logging.ERROR, "f", 1, "m", (), exc_info)
    assert program._is_news(record) == news
