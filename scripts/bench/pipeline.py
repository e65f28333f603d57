"""Measure whether photographs are decoded as fast as a GAN trains on them.

    python scripts/bench/pipeline.py
        The quick networks on 64 x 64 faces; three minutes on two free cores.
        Expect ten times as many images/s from the workers as the step takes.
    python scripts/bench/pipeline.py --preset=paper --seeds=1 --steps_per_call=50
        DCGAN's pair of networks: for a GPU.
    python scripts/bench/pipeline.py --tiny --repeats=1
        A few images, to try the program: its numbers mean nothing.

A temporary folder gets random JPEGs of CelebA's size, 178 x 218: smooth, 6 kB each.
The benchmark measures, in images/s: decoding in one thread; the first start, which
decodes everything in one thread per core, and the second; the stream of batches,
decoded by threads, by worker processes, and from memory; the training step on images
that are on the device. Then it runs whole loops, from files and from memory, and
measures the share of their time in which the device waited for images. It reports
medians over the repeats; streams and step take turns.

On a CPU the step and the decoding share the cores: there the loop is slower than
either, and the share that waits says little. Leave the cores free.

The record goes to runs/speed/pipeline.json; `make_tables.py --add=` keeps it.
"""

import contextlib
import functools
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator

import early  # noqa: F401
import jax
import numpy as np
import PIL.Image
import timing
from absl import flags

from veegan_jax.common import files, records
from veegan_jax.common import flags as common_flags
from veegan_jax.config import Config
from veegan_jax.data import photos, prefetching, streams
from veegan_jax.experiments import base
from veegan_jax.experiments import images as image_experiment
from veegan_jax.presets import resolve
from veegan_jax.runtime import distributed, parallel, program

METHOD = flags.DEFINE_string("method", "gan", "what to train")
PRESET = flags.DEFINE_string("preset", "quick", "its networks, on faces")
SEEDS = common_flags.define_number(
    "seeds", 1, "how many at once, on the same images", within="[1, inf)"
)
NUM_IMAGES = common_flags.define_number(
    "num_images", 4000, "in the folder", within="[1, inf)"
)
NUM_WORKERS = common_flags.define_number(
    "num_workers", distributed.cpu_cores(), "processes that decode", within="[1, 1024]"
)
STEPS_PER_CALL = common_flags.define_number(
    "steps_per_call", 4, "steps of one program", within="[1, inf)"
)
REPEATS = common_flags.define_number(
    "repeats", 3, "measurements of each number", within="[1, inf)"
)
MIN_SECONDS = common_flags.define_number(
    "min_seconds", 2.0, "length of a measurement", within="[0, inf)"
)
OUTPUT = common_flags.define_path(
    "output", None, "where the record goes (default: runs/speed/pipeline.json)"
)
TINY = flags.DEFINE_bool("tiny", False, "few images, tiny networks, to try the program")

Rates = dict[str, list[float]]  # what -> images/s, measurement by measurement


def write_images(folder: pathlib.Path, number: int) -> None:
    """Write smooth noise as JPEGs of CelebA's size."""
    random = np.random.default_rng(0)
    for index in range(number):
        coarse = random.integers(0, 256, (14, 11, 3), np.uint8)
        image = PIL.Image.fromarray(coarse).resize((178, 218))
        image.save(folder / f"{index:06d}.jpg", quality=90)


def make_config(method: str, preset: str, tiny: bool) -> Config:
    """Resolve the configuration to measure, on faces."""
    changes = {}
    if tiny:
        changes = dict(batch_size=8, latent_size=6, image_size=16)
        changes |= dict(generator_widths=(6, 5), discriminator_widths=(3, 4))
        changes |= dict(reconstructor_widths=(3, 4), joint_widths=(4,))
    return resolve.resolve(method, "faces", preset, **changes)


@contextlib.contextmanager
def temporary_folder() -> Iterator[pathlib.Path]:
    """Provide a folder that is removed at the end, also by Ctrl-C."""
    with files.temporary(pathlib.Path(tempfile.gettempdir(), "pipeline")) as folder:
        folder.mkdir()
        yield folder


def starts(
    folder: pathlib.Path, rule: photos.Rule, repeats: int
) -> tuple[Rates, dict[str, photos.Photos]]:
    """Measure both starts, in images/s; return the images too, in both forms."""
    rates: Rates = {"first start": [], "second start": []}
    for _ in range(repeats):
        with temporary_folder() as cache:
            for rate in rates.values():
                before = time.perf_counter()
                found = photos.from_folder(folder, rule=rule, cache_dir=str(cache))
                rate.append(len(found) / (time.perf_counter() - before))
            streamed = photos.from_folder(
                folder, rule=rule, memory=0, cache_dir=str(cache)
            )
    return rates, {"memory": found, "files": streamed}


def decode(examples: photos.Photos) -> timing.Runner:
    """Return a runner that decodes in this thread, one image after the other."""
    number = min(256, len(examples))

    def run() -> None:
        examples.take(range(number))

    return run, number


def step_runner(
    config: Config, seeds: int, steps: int, examples: photos.Photos
) -> timing.Runner:
    """Return a runner that trains on one group of batches, placed on the devices."""
    step = functools.partial(image_experiment.step_on_batch, config=config)
    run = parallel.run_steps(
        step, steps, mode="none", devices=jax.devices(), streamed=True
    )
    state = base.init_seeds(range(seeds), config)
    batches = streams.Stream(examples, config.batch_size, 0)
    (group,) = prefetching.groups(batches, [steps])
    group = parallel.batch_placer("none", jax.devices(), seeds)(group)

    def train() -> None:
        nonlocal state
        state, metrics = run(state, group)
        jax.block_until_ready((state, metrics))

    train()  # compiles
    return train, steps * config.batch_size


@contextlib.contextmanager
def stream_runner(
    examples: photos.Photos, batch_size: int, num_workers: int
) -> Iterator[tuple[timing.Runner, int]]:
    """Yield a runner that draws batches, and how many images may wait already."""
    with streams.Stream(examples, batch_size, 0, num_workers=num_workers) as stream:
        number = 8
        waiting = 2 * (4 * num_workers or distributed.cpu_cores()) * batch_size

        def draw() -> None:
            for _ in range(number):
                next(stream)

        next(stream)  # starts the workers
        yield (draw, number * batch_size), waiting


def take_turns(
    examples: dict[str, photos.Photos],
    config: Config,
    *,
    seeds: int,
    num_workers: int,
    steps: int,
    repeats: int,
    min_seconds: float,
) -> Rates:
    """Measure decoding, each stream and the step, in images/s and in turns."""
    sources = {
        "stream, threads": ("files", 0),
        f"stream, {num_workers} workers": ("files", num_workers),
        "stream, memory": ("memory", 0),
    }
    runners = {
        "decode, 1 thread": (decode(examples["files"]), 0),
        "step": (step_runner(config, seeds, steps, examples["memory"]), 0),
    }
    with contextlib.ExitStack() as stack:
        for name, (kind, workers) in sources.items():
            runner = stream_runner(examples[kind], config.batch_size, workers)
            runners[name] = stack.enter_context(runner)
        rates: Rates = {name: [] for name in runners}
        for _ in range(repeats):
            for name, ((run, number), waiting) in runners.items():
                for _ in range(-(-waiting // number)):
                    run()
                rates[name].append(timing.rate((run, number), min_seconds))
    return rates


def loop(
    examples: photos.Photos,
    config: Config,
    *,
    seeds: int,
    num_workers: int,
    steps: int,
    repeats: int,
    min_seconds: float,
) -> tuple[list[float], list[float]]:
    """Measure a run's own loop: images/s, and the share of the time spent waiting.

    An interval is at least ten groups and about min_seconds. One runs before those
    that count, and compiles.
    """
    step = functools.partial(image_experiment.step_on_batch, config=config)
    size = config.batch_size * config.data.image_size**2 * 3
    shared = dict(batch_size=config.batch_size, group_bytes=steps * size)
    with streams.Feed(
        examples, step, steps=2**40, num_workers=num_workers, **shared
    ) as feed:
        state = base.init_seeds(range(seeds), config)
        interval = 10 * steps
        run = feed.run_steps(0, interval)
        state, _ = run(state)
        rates, shares = [], []
        for _ in range(repeats):
            seconds, waited, calls = feed.seconds, feed.waited, 0
            while feed.seconds - seconds < min_seconds or not calls:
                state, _ = run(state)
                calls += 1
            elapsed = feed.seconds - seconds
            rates.append(calls * interval * config.batch_size / elapsed)
            shares.append((feed.waited - waited) / elapsed)
    return rates, shares


def main() -> None:
    tiny = TINY.value
    config = make_config(METHOD.value, PRESET.value, tiny)
    name = "pipeline_tiny.json" if tiny else "pipeline.json"
    output = timing.output(OUTPUT.value, f"runs/speed/{name}")
    start = time.perf_counter()
    num_images = min(NUM_IMAGES.value, 40) if tiny else NUM_IMAGES.value
    rule = photos.Rule(config.data.image_size)
    settings = dict(
        seeds=SEEDS.value,
        steps=STEPS_PER_CALL.value,
        repeats=REPEATS.value,
        min_seconds=0.0 if tiny else MIN_SECONDS.value,
    )
    with temporary_folder() as folder:
        write_images(folder, num_images)
        rates, examples = starts(folder, rule, REPEATS.value)
        rates |= take_turns(examples, config, num_workers=NUM_WORKERS.value, **settings)
        loops = {
            kind: loop(examples[kind], config, num_workers=workers, **settings)
            for kind, workers in (("files", NUM_WORKERS.value), ("memory", 0))
        }
    by_workers = rates[f"stream, {NUM_WORKERS.value} workers"]
    record = {
        **timing.provenance(),
        **settings,
        "tiny": tiny,
        "method": config.method,
        "preset": PRESET.value,
        "batch_size": config.batch_size,
        "image_size": config.data.image_size,
        "num_images": num_images,
        "num_workers": NUM_WORKERS.value,
        "wall_seconds": time.perf_counter() - start,
        "peak_memory_mib": timing.memory(),
        "images_per_second": rates,
        "median": {name: statistics.median(rate) for name, rate in rates.items()},
        "stream_over_step": timing.ratio(by_workers, rates["step"]),
        "loops": {
            kind: {
                "images_per_second": rate,
                "median": statistics.median(rate),
                "waiting_share": share,
                "median_waiting_share": statistics.median(share),
            }
            for kind, (rate, share) in loops.items()
        },
    }
    records.write(output, record)
    lines = [[name, f"{rate:.4g}", ""] for name, rate in record["median"].items()]
    lines += [
        [
            f"loop, {kind}",
            f"{found['median']:.4g}",
            f"{found['median_waiting_share']:.1%}",
        ]
        for kind, found in record["loops"].items()
    ]
    print(f"\n{records.table(['', 'images/s', 'device waits'], lines)}\n")
    ratio = record["stream_over_step"]
    print(
        f"stream by workers / step: {ratio['ratio']:.2f} ({{:.2f}} to {{:.2f}})".format(
            *ratio["ratio_range"]
        )
    )
    print(f"{record['device']}; record: {output}")


if __name__ == "__main__":
    program.run(main)
