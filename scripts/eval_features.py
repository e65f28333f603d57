"""Does it drop modes? Scores samples of any model beside real examples.

    python scripts/eval_features.py real.npy samples.npy
    python scripts/eval_features.py photos/ generated/ --image_size=64
    python scripts/eval_features.py real.npz samples.npz --key=images --layout=NCHW

Each file is a .npy or .npz array of any framework: features [N, F] as they are, or
images, of which it takes the principal components. Or it is a folder of images. It says
what it took for the layout and the range of the pixels; --layout and --range say more.
There is no training and nothing is downloaded. 10,000 of each take about a minute.

It prints precision, recall, density and coverage, shares of cells, Frechet and kernel
distances and effective numbers, each beside what the held-out half of the real examples
scores: no generator can be expected to do better. --output writes it as JSON with the
real examples that nothing comes near to, the worst first; --figure draws those, if they
are images. Files that exist are not overwritten.
"""

import pathlib

import early  # noqa: F401
from absl import flags

from veegan_jax.common import errors, figures, files, plots, records
from veegan_jax.common import flags as common_flags
from veegan_jax.data import pixels, sample_files
from veegan_jax.experiments import features
from veegan_jax.runtime import program

common_flags.define(features.Options, from_preset=False)
KEY = flags.DEFINE_string("key", "", "name of the array, in an .npz of several")
LAYOUT = flags.DEFINE_enum("layout", "auto", sample_files.LAYOUTS, "axes of images")
RANGE = flags.DEFINE_enum(
    "range", "auto", list(sample_files.RANGES), "of the pixels of images"
)
IMAGE_SIZE = common_flags.define_number(
    "image_size",
    32,
    "height and width to which a folder's images are scaled",
    within="[1, 1024]",
)
OUTPUT = common_flags.define_path(
    "output", None, "also write the measures to this new JSON file"
)
FIGURE = common_flags.define_path(
    "figure", None, "also draw the missing real images to this new file, PNG, PDF, SVG"
)
SHOWN = 64  # missing examples in the figure and the file


def main(real: str, samples: str) -> None:
    output = files.check_output(OUTPUT.value, "output", ".json")
    figure = files.check_output(FIGURE.value, "figure", *figures.SUFFIXES)
    options = features.Options(**common_flags.read(features.Options))
    data = []
    for path in (real, samples):
        x, how = sample_files.read(
            pathlib.Path(path),
            key=KEY.value,
            layout=LAYOUT.value,
            value_range=RANGE.value,
            image_size=IMAGE_SIZE.value,
        )
        print(f"{path}: {how}")
        data.append(x)
    if figure and data[0].ndim != 4:
        raise errors.InputError(
            f"--figure={figure}: {real} holds features, of which there is no picture; "
            "leave the flag out"
        )
    real_NF, fake_MF, what = features.made(*data, options)
    found = features.measure(real_NF, fake_MF, options)
    compared = found["compared"]
    print(
        f"{what}; {compared['samples']} samples, and as many real examples, beside "
        f"{compared['reference']} others\n\n{features.table(found)}"
    )
    missing = found["missing"][:SHOWN]
    if output:
        kept = {k: found[k] for k in ("samples", "real", "error", "compared")}
        worst = {
            "missing": missing.tolist(),
            "distance": found["distance"][:SHOWN].tolist(),
        }
        records.write(output, {**records.provenance(), "of": what, **kept, **worst})
    if figure:
        images = pixels.unit_to_uint8(data[0][missing])
        plots.image_grid({"farthest from\nany sample": images}, figure)


if __name__ == "__main__":
    program.run(main, "paths: eval_features.py real.npy samples.npy", 2)
