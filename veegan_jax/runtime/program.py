"""How every script starts and ends."""

import errno
import functools
import io
import logging as log
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from absl import app, logging

from veegan_jax.common import errors, files
from veegan_jax.runtime import distributed, loop, watchdog, workdirs


def run(main: Callable[..., None], file: str = "") -> None:
    """Run a script's main; a mistake in its input ends it with one message.

    The exit status is 0 when all is done; 75 (EX_TEMPFAIL) when the same command goes
    on, after a signal asked to stop or another process of the run died; 130 after a
    SIGINT that could not wait for the next checkpoint; 1 after anything else.

    Args:
      main: called with the one argument that is not a flag, or with none.
      file: what that argument is; "" if there is none.
    """

    def checked(argv: list[str]) -> None:
        logging.set_verbosity(logging.WARNING)  # orbax tells of every file otherwise
        logging.get_absl_logger().addFilter(_is_news)
        arguments = argv[1:]
        if file and len(arguments) != 1:
            raise errors.InputError(f"give one {file}")
        if arguments and not file:
            raise errors.InputError(
                f"unknown argument {arguments[0]!r}: flags start with --"
            )
        main(*arguments)
        distributed.finish()

    # A figure's ± and a folder's name must not end a run in an ASCII-only terminal.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not pytest's
            stream.reconfigure(errors="backslashreplace")
    sys.unraisablehook = functools.partial(_unraisable, sys.unraisablehook)
    # As an exception it could come up, and be lost, in any callback of a library.
    signal.signal(signal.SIGINT, _stop_at_once)
    try:
        app.run(checked)
    except loop.Interrupted as stop:  # all processes at the same step
        # A cluster may send it again, to a process that is about to leave.
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
        # Which file, the system says only of one that it could not open.
        folders = ", ".join(map(str, workdirs.places()))
        place = error.filename or f"a file under {folders}"
        _end(files.refusal(place, error.errno))
    except distributed.Unreachable as error:
        print(f"\n{error}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)
    except Exception as error:
        if watchdog.is_lost_process(error):
            watchdog.leave(error)
        _end_with_traceback(error)


def _stop_at_once(*_: Any) -> NoReturn:
    """End this process as a kill does: no save under way is lost but that one."""
    words = (
        "stopped at once by SIGINT; give the same command to go on from the newest "
        "checkpoint"
    )
    os.write(2, f"\n{words}\n".encode())
    if not distributed.is_alone():
        watchdog.fail(words)
    os._exit(128 + signal.SIGINT)


def _is_news(record: log.LogRecord) -> bool:
    """Not so what orbax logs of refused writes: an exception tells it, a bit later."""
    error = record.exc_info and record.exc_info[1]
    return not error or files.system_error(error) is None


def _unraisable(usual: Callable[[Any], None], what: Any) -> None:
    """Print an exception that nobody can catch.

    But for those of the threads in which TensorStore writes, after a disk refused one
    of orbax's files: the others then come back to an event loop that has ended.
    """
    if str(what.exc_value) != "Event loop is closed":
        usual(what)


_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def _end(words: str) -> NoReturn:
    if distributed.is_alone():
        sys.exit(f"\n{words}")
    print(f"\n{words}", file=sys.stderr)
    watchdog.fail(words)


def _end_with_traceback(error: Exception) -> NoReturn:
    if distributed.is_alone():
        raise error
    traceback.print_exc()
    # The innermost is the last line of what JAX makes of an exception in a callback.
    text = str(error).strip().splitlines()
    watchdog.fail(f"{type(error).__name__}: {text[-1]}" if text else repr(error))
