"""How every script starts and ends."""

import sys
from collections.abc import Callable

from absl import app, logging

from veegan_jax.common import errors, loop


def run(main: Callable[..., None], file: str = "") -> None:
    """Runs a script's main; a mistake in its input ends it with one message.

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

    try:
        app.run(checked)
    except loop.Interrupted as stop:
        print(f"\n{stop}", file=sys.stderr)
    except (errors.InputError, loop.NonFinite) as error:
        sys.exit(f"\n{error}")
