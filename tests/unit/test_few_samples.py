"""Metrics that few samples, seeds or images leave undefined: empty cells, no warning.

Warnings are errors in this session, so NumPy's would fail these tests.
"""

import functools

import jax
import numpy as np
import PIL.Image
import pytest
from tables import mixtures as mixture_tables

from lgan_jax import report, sample_quality
from veegan_jax.common import plots, records
from veegan_jax.data import mixtures
from veegan_jax.experiments import base, sweep
from veegan_jax.experiments import images as image_experiment
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.metrics import diversity, stacked_mnist_sampling
from veegan_jax.metrics import mixtures as mixture_metrics
from veegan_jax.metrics import stacked_mnist as stacked_mnist_metrics

NAN = float("nan")
GAN = {  # the part of a record that names the run
    "config": {"method": "gan", "dataset": "grid"},
    "options": {"preset": "quick"},
}


def cells(table: str) -> list[list[str]]:
    """The rows of a Markdown table, without its header."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[c.strip() for c in line.split("|")[1:-1]] for line in lines[2:]]


@pytest.mark.parametrize("values", ([], [NAN], [1, np.inf], [NAN, 2, 3]))
def test_no_mean_of_what_is_undefined(values):
    assert records.mean_and_std(np.array(values, float)) == (None, None)


def test_means_are_not_rounded_before_they_are_printed():
    values = np.array([0.1234449, 0.1234451], np.float32)
    mean, std = records.mean_and_std(values)
    assert (mean, std) == (values.mean(), values.std(ddof=1))
    assert records.mean_and_std(values[:1]) == (values[0], None)
    # A float32 survives the JSON; 5 digits would make it 0.12345, and a cell 0.1235.
    number = records.number(np.float32(0.12344996))
    assert np.float32(number) == np.float32(0.12344996)
    assert records.cell(number) == "0.1234"


def test_the_spread_of_equal_values_is_zero():
    equal = np.full(3, 0.1)
    assert equal.std(ddof=1) > 0  # of the rounding of the mean
    assert records.mean_and_std(equal) == (pytest.approx(0.1), 0)
    errors = stacked_mnist_sampling.standard_errors(
        np.eye(1000, dtype=int)[7], np.full(1000, 1 / 1000)
    )
    assert set(errors.values()) == {0}


@pytest.mark.parametrize("value", (None, NAN, np.float32(np.inf)))
def test_an_undefined_cell_is_empty(value):
    assert records.cell(value) == records.cell(value, 0.1) == ""
    assert records.number(value) is None and records.fixed(records.number(value)) == ""


@pytest.mark.parametrize("num_samples, seeds", ((1, 1), (5, 2)))
def test_few_samples_of_a_mixture(num_samples, seeds):
    keys = jax.random.split(jax.random.key(0), seeds)
    grid = mixtures.get("grid")
    x_SNX = np.stack([mixtures.sample(grid, key, num_samples) for key in keys])
    metrics = jax.tree.map(np.asarray, mixture_experiment.score(x_SNX, "grid"))
    names = [n for n in mixture_metrics.METRICS if n in metrics]
    true = mixture_experiment.oracle("grid", num_samples)
    options = base.Options(seeds=seeds)
    record = base.by_seed(metrics, names, options, {}) | {
        "oracle": {n: records.number(true[n].mean()) for n in names},
        **GAN,
    }
    table = mixture_experiment.table({"gan": record})
    oracle, gan = cells(table)
    assert oracle[6] == "" and (gan[6] == "") == np.isnan(metrics["spread"]).any()
    assert "\n\nspread: empty if no mode of a seed has two samples" in table
    variants = [{"values": {"gamma": 0.1}, **record}]
    swept = sweep.table({"variants": variants, "oracle": record["oracle"]})
    assert cells(swept)[0][-1] == "" and "spread: empty" in swept
    # The tables of make_tables.py, of a record with one seed.
    assert "None" not in mixture_tables.summary({"grid": {"gan": record}})


def test_no_line_below_a_table_whose_cells_are_full():
    mean = {"spread": 1.0}
    record = {"mean": mean, "std": mean, "oracle": mean, **GAN}
    table = mixture_experiment.table({"gan": record})
    assert table.splitlines()[-1].startswith("|")


def test_all_seeds_that_diverged_leave_empty_cells():
    found = base.by_seed(
        {"modes": np.array([3.0, 4.0])},
        ["modes"],
        base.Options(seeds=2),
        {0: "", 1: ""},
    )
    assert found["mean"] == found["std"] == {"modes": None}


def test_the_kl_of_even_modes_is_not_negative(generator):
    share_NK = generator.normal(1, 1e-5, (500, 25)) / 25
    share_NK = np.float32(share_NK / share_NK.sum(axis=1, keepdims=True))
    kl = functools.partial(mixture_metrics._reverse_kl, mixture=mixtures.get("grid"))
    kl_N = jax.vmap(kl)(share_NK)
    assert kl_N.min() == 0 and kl_N.max() < 1e-6
    uniform_T = np.full(1000, 1 / 1000, np.float32)
    assert stacked_mnist_metrics.kl(uniform_T, np.nextafter(uniform_T, 1)) == 0


def test_variety_needs_two_images_of_each_kind(generator):
    image = generator.integers(0, 256, (3, 4, 4, 1), np.uint8)
    assert diversity.variety(image, image) == 1
    same = np.repeat(image[:1], 2, axis=0)
    for x, test in ((image[:1], image), (image, image[:1]), (image, same)):
        assert np.isnan(diversity.variety(x, test))
    run = {"mean": {"variety": None}, "std": {"variety": None}}
    table = image_experiment.table({"gan": run})
    assert cells(table) == [["gan", ""]] and "variety: empty without two" in table


def test_one_stack_of_digits():
    expected = stacked_mnist_sampling.expected(np.full(1000, 1 / 1000), 1)
    assert expected["modes"] == pytest.approx(1)
    assert expected["kl_uniform"] == pytest.approx(np.log(1000))
    names = list(stacked_mnist_metrics.METRICS)
    record = {
        **{part: dict.fromkeys(names) for part in ("metrics", "oracle", "mean", "std")},
        "standard_error": {},
        "expected": {"modes": None},
        **GAN,
    }
    empty = [""] * len(names)
    assert cells(stacked_mnist_experiment.table({"gan": record})) == [
        ["real digits", *empty],
        ["sampling floor", *empty],
        ["**gan**", *empty],
    ]
    lines = cells(stacked_mnist_metrics.table(record, "images.npy"))
    assert [line[1:4] for line in lines] == [[""] * 3] * len(names)


def test_no_error_leaves_nothing_to_cut_and_quality_may_be_undefined():
    quality = dict.fromkeys(sample_quality.METRICS, 1.0) | {"vendi": None}
    cell = {"accuracy": [[[100.0]]] * 3, "sample_quality": quality}
    record = {
        "cells": {"basic": {"none": [cell, cell], "lgan": [cell, cell]}},
        "config": {"latent_size": 4},
    }
    assert report.error_cut(record, "lgan", 1) == ""
    _, gaussian = cells(report.sample_quality_table(record))
    assert gaussian == ["lgan", "1 ± 0", "1 ± 0", "", "1 ± 0"]


def test_figures_of_one_sample_and_one_step(tmp_path):
    point = np.ones((1, 2), np.float32)
    plots.samples_and_density({"one": point}, point, tmp_path / "samples.png")
    plots.animation([("step 1", point)], point, tmp_path / "training.gif")
    log = [{"step": 1, "spread": [None, None], "modes": [1, 2]}]
    plots.curves(log, ["spread", "modes"], tmp_path / "curves.png")
    for name in ("samples.png", "training.gif", "curves.png"):
        with PIL.Image.open(tmp_path / name) as image:
            assert min(image.size) > 100
