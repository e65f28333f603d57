"""Import this before the slow imports, which take seconds; `program.run` comes later.

Until then Ctrl-C ends a script with one line. A standard stream that is closed (`>&-`)
becomes /dev/null: otherwise the next file that is opened, such as a checkpoint, would
get the stream's number, and libraries would print into it.
"""

import contextlib
import os
import signal
import sys
from typing import Any, NoReturn


def _stop(*_: Any) -> NoReturn:
    with contextlib.suppress(OSError):  # nobody may be there to read it
        os.write(2, b"\nstopped by SIGINT before anything was done\n")
    os._exit(128 + signal.SIGINT)


# A test may import a script; its signals and streams are its own.
_HERE = os.path.realpath(os.path.dirname(__file__))
if os.path.dirname(os.path.realpath(sys.argv[0])) == _HERE:
    signal.signal(signal.SIGINT, _stop)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the lowest number that is free
