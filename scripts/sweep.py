"""Trains a method on a mixture with many hyper-parameters at once, and compares them.

    python scripts/sweep.py --vary=learning_rate=0.0005,0.001,0.002
    python scripts/sweep.py --dataset=grid --vary=gamma=0.1,0.3 \\
        --vary=reconstruction_weight=0.03,0.1,0.3 --seeds=3

Every combination of the values, with every seed, is a member of one program, and the
members spread over all devices and hosts: five seeds of eight variants are forty
members, ten on each of four GPUs. Seeds start at 100, apart from those of the tables,
as what is chosen here is not to be judged by them. Stop it at any time and give the
same command to go on.
"""

import pathlib

import early  # noqa: F401
from absl import flags

from veegan_jax.common import errors
from veegan_jax.common import flags as common_flags
from veegan_jax.data import mixtures
from veegan_jax.experiments import base, diverged, sweep
from veegan_jax.presets import mixtures as mixture_presets
from veegan_jax.presets import resolve
from veegan_jax.runtime import distributed, program

VARY = flags.DEFINE_multi_string(
    "vary", [], f"FIELD=VALUE,VALUE,...; again for each of {', '.join(sweep.FIELDS)}"
)
WORKDIR = common_flags.define_path(
    "workdir", None, "where everything goes (default: runs/sweep/DATASET/METHOD/FIELDS)"
)
METHOD_FILE = common_flags.define_path(
    "method_file", None, "a Python file with init, train_step and sample to train"
)
SETTINGS = resolve.settings(mixture_presets)
common_flags.define(
    *SETTINGS,
    from_preset=True,
    help_of={
        "dataset": f"{mixture_presets.DESCRIPTION}; {mixture_presets.MORE} "
        "(default: ring)"
    },
)
common_flags.define(base.Options, from_preset=False)
common_flags.define(distributed.Options, from_preset=False)
flags.FLAGS.set_default("first_seed", 100)


def grid() -> dict[str, tuple[float, ...]]:
    """Field -> values, as --vary gives them.

    Raises:
      InputError: for words that are not FIELD=VALUE,VALUE.
    """
    found: dict[str, tuple[float, ...]] = {}
    for text in VARY.value:
        name, equals, values = text.partition("=")
        try:
            numbers = tuple(float(word) for word in values.split(","))
        except ValueError:
            numbers = ()
        if not equals or not numbers or name in found:
            raise errors.InputError(
                f"--vary={text} must be FIELD=NUMBER,NUMBER,..., each field once"
            )
        found[name] = numbers
    if not found:
        raise errors.InputError("give --vary=FIELD=NUMBER,NUMBER,... at least once")
    return found


def main() -> None:
    hosts = distributed.Options(**common_flags.read(distributed.Options))
    options = base.Options(**common_flags.read(base.Options))
    changes, values = common_flags.read(*SETTINGS), grid()
    distributed.start(hosts)  # first, as a method's file may use JAX
    method = base.pop_method(changes, METHOD_FILE.value)
    dataset = changes.pop("dataset", "ring")
    config = resolve.resolve(method, dataset, options.preset, **changes)
    resolve.refuse_unread(config, changes)
    place = mixtures.folder(config.dataset)
    name = f"runs/sweep/{place}/{method}/{'-'.join(values)}"
    workdir = pathlib.Path(WORKDIR.value or name)
    if options.dry_run:
        print(sweep.dry_run(config, values, options))
        return
    record = sweep.run(config, values, options, workdir)
    print(f"\n{dataset} by {method}\n\n{sweep.table(record)}")
    print(f"\nresults.json: {workdir}\n", flush=True)
    diverged.raise_any(sweep.failures(workdir, record))


if __name__ == "__main__":
    program.run(main)
