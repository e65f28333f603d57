"""Amplifies a fraction of a data set by L-GAN and its rivals, judged by classifiers.

    python scripts/lgan_amplify.py
    python scripts/lgan_amplify.py --dataset=mnist --fraction=0.1
    python scripts/lgan_amplify.py --dataset=mnist --fraction=0.01 --ways=lgan,gaussian

Every way to generate (--ways, see lgan_jax/generators.py) makes 5,000 images of each
class for every seed; classifiers learn from batches of which a quarter, a half and
three quarters are generated. Prints the tables; results.json and the figures are in
the work directory. Without MNIST on the machine the bundled 8 x 8 digits are used.
Stop it at any time and give the same command to go on; more --ways, or --strong_ways,
add to what was measured before.
"""

import pathlib

from absl import flags

from lgan_jax import amplification, config, figures, report, stages
from veegan_jax.common import flags as common_flags
from veegan_jax.data import images
from veegan_jax.runtime import distributed, program

WORKDIR = flags.DEFINE_string(
    "workdir", None, "where everything goes (default: runs/lgan/DATASET/FRACTION)"
)
common_flags.define(config.Config, from_preset=True)
common_flags.define(amplification.Options, from_preset=True)
common_flags.define(distributed.Options, from_preset=False)


def main() -> None:
    hosts = distributed.Options(**common_flags.read(distributed.Options))
    changes = common_flags.read(config.Config)
    run_changes = common_flags.read(amplification.Options)
    data_dir = run_changes.get("data_dir")
    dataset = images.choose(changes.pop("dataset", "auto"), data_dir or None)
    run_config = config.preset(dataset, **changes)
    options = amplification.preset(dataset, **run_changes)
    distributed.start(hosts)
    name = f"runs/lgan/{dataset}/{run_config.fraction:g}"
    workdir = pathlib.Path(WORKDIR.value or name)
    materials = amplification.prepare(run_config, options, workdir)
    given = materials.task, run_config, options.stages()
    if options.dry_run:
        print(stages.dry_run(*given, mode=options.parallel))
        return
    models = stages.train(
        *given, workdir, mode=options.parallel, save_every=options.save_every
    )
    record = amplification.run(models, materials, options, workdir)

    def draw() -> list[str]:
        made = amplification.read_images(workdir, options)
        return [*figures.draw(models, record, made, workdir / "figures")]

    drawn = distributed.on_main_process(draw)
    print(f"\n{report.everything(record)}\n")
    print(f"figures ({', '.join(drawn)}) and results.json: {workdir}")


if __name__ == "__main__":
    program.run(main)
