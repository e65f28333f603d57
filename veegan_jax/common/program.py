"""How every script starts and ends."""

import os
import sys
import traceback
from collections.abc import Callable

from absl import app, logging

from veegan_jax.common import cluster, errors, loop


def run(main: Callable[..., None], file: str = "") -> None:
    """Runs a script's main; a mistake in its input ends it with one message.

    The exit status is 0 when all is done; 75 (EX_TEMPFAIL) after a signal asked to
    stop, when the same command goes on; 1 after anything else.

    Args:
      main: called with the one argument that is not a flag, or with none.
      file: what that argument is; "" if there is none.
    """

    def checked(argv: list[str]) -> None:
        logging.set_verbosity(logging.WARNING)  # orbax tells of every file otherwise
        arguments = argv[1:]
        if file and len(arguments) != 1:
            raise errors.InputError(f"give one {file}")
        if arguments and not file:
            raise errors.InputError(
                f"unknown argument {arguments[0]!r}: flags start with --"
            )
        main(*arguments)
        cluster.finish()

    try:
        app.run(checked)
    except loop.Interrupted as stop:  # all processes at the same step
        if cluster.is_first():
            print(f"\n{stop}", file=sys.stderr)
        cluster.finish()
        sys.exit(os.EX_TEMPFAIL)
    except (errors.InputError, loop.NonFinite) as error:
        if cluster.is_alone():
            sys.exit(f"\n{error}")
        print(f"\n{error}", file=sys.stderr)
        cluster.fail(str(error))
    except (Exception, KeyboardInterrupt) as error:
        if cluster.is_alone():
            raise
        traceback.print_exc()
        cluster.fail(repr(error))
