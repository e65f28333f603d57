"""The scripts as the tests use them: in processes of their own, or as modules."""

import importlib.util
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

from absl import flags

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
# Flags of train_mixtures.py for a run of a second.
TINY = [
    "--method=gan",
    "--steps=400",
    "--interval=100",
    "--seeds=2",
    "--samples=100",
    "--batch_size=8",
    "--save_every=0",
    "--generator_widths=8",
    "--discriminator_widths=8",
]


def run(script: str, *arguments, cwd: pathlib.Path) -> subprocess.CompletedProcess:
    """Run a script as a newcomer types it; return its output and exit status."""
    return subprocess.run(
        [sys.executable, SCRIPTS / script, *arguments],
        cwd=cwd,
        text=True,
        capture_output=True,
        timeout=600,
    )


def as_module(name: str) -> Iterator[ModuleType]:
    """A script as a module; the flags are as before when the tests are done.

    Scripts share names of flags, and so do the tests of one process: until then those
    of this one hide those of others. Libraries keep theirs.
    """
    before = {flag: flags.FLAGS[flag] for flag in flags.FLAGS}
    may_be_hidden = {flag: holder.allow_override for flag, holder in before.items()}
    for holder in before.values():
        holder.allow_override = True
    try:
        path = SCRIPTS / f"{name}.py"
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        yield module
    finally:
        for flag in set(flags.FLAGS) - set(before):
            delattr(flags.FLAGS, flag)
        for flag, holder in before.items():
            if flags.FLAGS[flag] is not holder:
                flags.FLAGS[flag] = holder
            holder.allow_override = may_be_hidden[flag]
