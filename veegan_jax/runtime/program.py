"""Start and end a script: exit statuses and messages."""

import contextlib
import errno
import functools
import io
import logging as log
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from absl import app, logging

from veegan_jax.common import errors, files
from veegan_jax.common import flags as common_flags
from veegan_jax.runtime import compiled, distributed, loop, numerics, watchdog, workdirs


def run(main: Callable[..., None], file: str = "", count: int = 1) -> None:
    """Run a script's main; a mistake in its input ends it with one message.

    The exit status is 0 when all is done. It is 75 (EX_TEMPFAIL) when the same command
    continues the run: a signal asked to stop, or another process of the run died. It is
    130 after a SIGINT that did not wait for the next checkpoint, and 1 after any other
    error. What is printed to a reader that has gone, such as `head`, or to a terminal
    that has hung up, is dropped, and the work goes on. JAX's settings that change
    numbers are set back; see `numerics.pin`. Compiled programs are kept; see
    `compiled.keep`.

    Args:
      main: called with the arguments that are not flags.
      file: the meaning of these arguments, for messages; "" if there are none.
      count: how many there are: 1 or 2.
    """

    def checked(argv: list[str]) -> None:
        logging.set_verbosity(logging.WARNING)  # else orbax logs every file
        logging.get_absl_logger().addFilter(_is_news)
        for handler in log.root.handlers[:]:
            if type(handler) is log.StreamHandler:  # a library's: all would come twice
                log.root.removeHandler(handler)
        arguments = argv[1:]
        if file and len(arguments) != count:
            raise errors.InputError(f"give {('one', 'two')[count - 1]} {file}")
        if arguments and not file:
            raise errors.InputError(
                f"unknown argument {arguments[0]!r}: flags start with --"
            )
        numerics.pin()
        if common_flags.KEEP_COMPILED.value:
            compiled.keep()
        main(*(str(files.user_path(a)) for a in arguments))
        distributed.finish()
        sys.stdout.flush()  # a full disk is told here, and not at the interpreter's end

    for name in ("stdout", "stderr"):
        setattr(sys, name, _lasting(getattr(sys, name)))
    sys.unraisablehook = functools.partial(_unraisable, sys.unraisablehook)
    # KeyboardInterrupt could be raised, and lost, in any callback of a library.
    signal.signal(signal.SIGINT, _stop_at_once)
    try:
        app.run(checked)
    except SystemExit as end:
        helped = any(word.lstrip("-") in _HELP for word in sys.argv[1:])
        sys.exit(0 if helped and end.code == 1 else end.code)
    except loop.Interrupted as stop:  # all processes at the same step
        # A cluster may send the signal again to a process that is about to leave.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is saved
        if distributed.is_main_process():
            print(f"\n{stop}", file=sys.stderr)
        distributed.finish()
        sys.exit(os.EX_TEMPFAIL)
    except KeyboardInterrupt:
        _stop_at_once()
    except (errors.InputError, loop.NonFinite) as error:
        _end(str(error))
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            _end_with_traceback(error)
        # Writers name their files, but not all of orbax's do.
        folders = ", ".join(map(str, workdirs.places()))
        place = error.filename or f"a file under {folders or 'this folder'}"
        _end(files.refusal(place, error.errno))
    except distributed.Unreachable as error:
        print(f"\n{error}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)
    except Exception as error:
        if watchdog.is_lost_process(error):
            watchdog.leave(error)
        if missing := numerics.missing_platform():
            _end(missing)
        _end_with_traceback(error)


_HELP = ("help", "helpfull", "helpshort", "?")


class _Output(io.FileIO):
    """A standard stream that outlives its reader."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # EIO: a terminal hung up
                error.filename = "the standard output"
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return memoryview(data).nbytes


def _lasting(stream: Any) -> Any:
    """Return a standard stream that no text and no reader who leaves can break."""
    if stream is None:  # it was closed before this process started
        return open(os.devnull, "w")
    if not isinstance(stream, io.TextIOWrapper):  # pytest's
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        # In an ASCII-only terminal a ± or a folder's name must not end the run.
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _stop_at_once(*_: Any) -> NoReturn:
    """End this process at once; only a checkpoint that is being written is lost."""
    message = "stopped at once by SIGINT"
    if workdirs.places():
        message += "; give the same command to go on from the newest checkpoint"
    with contextlib.suppress(OSError):  # nobody may be there to read it
        os.write(2, f"\n{message}\n".encode())
    files.remove_temporaries()
    if not distributed.is_alone():
        watchdog.fail(message)
    os._exit(128 + signal.SIGINT)


def _is_news(record: log.LogRecord) -> bool:
    """Drop orbax's log of a failed write; the exception follows.

    Nor is it news that its threads cannot go on in a process that is ending.
    """
    error = record.exc_info and record.exc_info[1]
    if not error:
        return True
    return files.system_error(error) is None and not re.fullmatch(_ENDING, str(error))


_ENDING = r"cannot schedule new futures after (interpreter )?shutdown"


def _unraisable(usual: Callable[[Any], None], what: Any) -> None:
    """Print an exception in a thread or destructor, unless it says nothing new.

    When the disk refuses one of orbax's files, the threads that write the other files
    return to an event loop that has ended, and raise because of that.
    """
    if str(what.exc_value) != "Event loop is closed":
        usual(what)


_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def _end(message: str) -> NoReturn:
    if distributed.is_alone():
        sys.exit(f"\n{message}")
    print(f"\n{message}", file=sys.stderr)
    watchdog.fail(message)


def _end_with_traceback(error: Exception) -> NoReturn:
    if distributed.is_alone():
        raise error
    traceback.print_exc()
    # JAX wraps an exception of a callback; its last line is the innermost one.
    text = str(error).strip().splitlines()
    watchdog.fail(f"{type(error).__name__}: {text[-1]}" if text else repr(error))
