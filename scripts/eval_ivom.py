r"""How near can a generator come to real images? IvOM of any run of this repository.

    python scripts/eval_ivom.py runs/cifar10/quick/veegan
        1,280 test images, three starts each, 200 iterations of L-BFGS: ten minutes a
        seed for the quick networks on one CPU core. Expect .0085, far below the .075 of
        the best of three random samples, and near PCA's .008.
    python scripts/eval_ivom.py runs/stacked_mnist/quick/veegan --images=128
    python scripts/eval_ivom.py runs/ring/quick/gan
        Stacked MNIST, and mixtures, whose targets are fresh samples.
    python scripts/eval_ivom.py runs/cifar10/full/gan --images=128 --starts=10 \
        --iterations=1000 --output=runs/ivom-search/gan
        A search to its end: three minutes. If few images have `converged`, the usual
        one states too large an error: for this run 12 %.

It minimizes over z the mean squared error between each test image x and G(z), pixels in
[0, 1] (IvOM, inference via optimization: Metz et al. 2017). It prints the mean over the
images beside three baselines: the error of the mean image, of as many principal
components as z has dimensions, and of random z. It writes results.json, nearest.png
(real images over the nearest generated ones, from the best to the worst) and errors.png
(the distribution) to --output. Stop it at any time; the same command continues it.
"""

import pathlib

import early  # noqa: F401
import numpy as np

from veegan_jax import methods
from veegan_jax.common import flags as common_flags
from veegan_jax.common import plots_errors
from veegan_jax.config import Config
from veegan_jax.data import mixtures
from veegan_jax.experiments import diverged, ivom_table, ivom_targets, stored
from veegan_jax.experiments import images as image_experiment
from veegan_jax.experiments import ivom as ivom_experiment
from veegan_jax.runtime import distributed, program

OUTPUT = common_flags.define_path(
    "output", None, "where everything goes (default: the run's folder ivom)"
)
METHOD_FILE = common_flags.define_path(
    "method_file", None, "of a run of your own method: its Python file"
)
IMAGE_DIR = common_flags.define_path(
    "image_dir", None, "of a run on a folder of images: that folder"
)
CROP = common_flags.define_number(
    "crop", 0, "of a run on images: as it was in training", within="[0, inf)"
)
common_flags.define(ivom_experiment.Options, from_preset=False)
common_flags.define(distributed.Options, from_preset=False)


def source_of(
    workdir: pathlib.Path, config: Config, options: ivom_experiment.Options
) -> image_experiment.Source | None:
    """Load the images of a run on faces; other datasets need no source: None."""
    if config.dataset != "faces":
        return None
    from veegan_jax.experiments import faces

    return faces.load_for_evaluation(
        workdir, IMAGE_DIR.value, CROP.value, config, options.data_dir
    )


def draw_figures(
    config: Config, found: dict[str, np.ndarray], seeds: list[int], output: pathlib.Path
) -> None:
    """Draw errors.png, and for images nearest.png.

    Args:
      config: the run's.
      found: what `ivom_experiment.measure` returned besides the record.
      seeds: of the run.
      output: the folder to write to.
    """
    lines = {
        f"seed {seed}": error_N
        for seed, error_N in zip(seeds, found["error"], strict=True)
    }
    baselines = {
        "PCA": found["pca"],
        "random z": found["random"][0],
        "mean image": found["mean_image"],
    }
    about = f"{config.method} on {config.dataset}"
    plots_errors.distribution(
        lines | baselines,
        output / "errors.png",
        dashed=tuple(baselines),
        title=f"{about}: errors of the nearest generated images",
    )
    if ivom_targets.image_shape(config) is None:
        return

    test, nearest = ivom_targets.nearest_images(found, config)
    error_N = found["error"][0]
    places = np.linspace(0, len(error_N) - 1, min(48, len(error_N))).astype(int)
    chosen = np.argsort(error_N)[places]
    rows = {
        "real": (test[chosen], None),
        "nearest": (nearest[chosen], [f"{error:.4f}" for error in error_N[chosen]]),
    }
    title = f"{about}, seed {seeds[0]}: from the nearest image to the farthest"
    plots_errors.captioned(rows, output / "nearest.png", title=title)


def refuse_unread(config: Config, file_method: str) -> None:
    """Refuse flags that a measurement of this run would not read.

    Args:
      config: the run's.
      file_method: the name of the method in `--method_file`; "" without.

    Raises:
      InputError: naming the flag.
    """
    of = f"the run is of {config.method} on {config.dataset}, which does not need it"
    if config.method != file_method:
        common_flags.refuse(of, "method_file")
    if config.dataset != "faces":
        common_flags.refuse(of, "image_dir", "crop")
    needless = config.dataset == "digits" or mixtures.is_mixture(config.dataset)
    if IMAGE_DIR.value or needless:
        common_flags.refuse(of, "data_dir")


def main(name: str) -> None:
    hosts = distributed.Options(**common_flags.read(distributed.Options))
    workdir = pathlib.Path(name)
    options = ivom_experiment.Options(**common_flags.read(ivom_experiment.Options))
    distributed.start(hosts)
    given = METHOD_FILE.value
    own = "" if given is None else methods.register_file(given)
    config, _ = stored.configuration(workdir)
    refuse_unread(config, own)
    output = pathlib.Path(OUTPUT.value or workdir / "ivom")
    source = source_of(workdir, config, options)
    record, found = ivom_experiment.measure(workdir, options, output, source)
    seeds = [seed["seed"] for seed in record["per_seed"]]
    if distributed.is_main_process():
        draw_figures(config, found, seeds, output)
    print(f"\n{ivom_table.table({config.method: record})}")
    print(f"\nfigures and results.json: {output}\n", flush=True)
    diverged.raise_any(diverged.lines(workdir, record))


if __name__ == "__main__":
    program.run(main, "work directory: eval_ivom.py runs/cifar10/quick/veegan")
