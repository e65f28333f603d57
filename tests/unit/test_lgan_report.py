"""The amplification's tables: paired gains, and the steps at which they are read."""

import math

import numpy as np
import pytest
from scipy import stats

from lgan_jax import report


@pytest.fixture
def record(generator):
    """Ten seeds of made-up accuracies: [share, repeat, evaluation point] each."""

    def cells(shares, level):
        return [
            {"accuracy": generator.normal(level, 0.5, (shares, 2, 12)).tolist()}
            for _ in range(10)
        ]

    return {
        "config": {"fraction": 0.1, "dataset": "mnist"},
        "options": {"generated": 5000},
        "known": 6000,
        "classes": 10,
        "cells": {
            "basic": {
                "all data": cells(1, 97),
                "none": cells(1, 94),
                "lgan": cells(3, 95),
            }
        },
    }


def accuracy(record, name):
    return np.array([cell["accuracy"] for cell in record["cells"]["basic"][name]])


def test_gains_are_paired_by_seed(record):
    none_S = accuracy(record, "none")[:, 0, :, -1].mean(axis=1)
    ours_S = accuracy(record, "lgan")[:, 1, :, -1].mean(axis=1)
    low, high = stats.ttest_rel(ours_S, none_S).confidence_interval(0.95)
    difference = (ours_S - none_S).mean()
    expected = f"{ours_S.mean():.2f} ({difference:+.2f}, {low:+.2f} to {high:+.2f})"
    assert report.gain(record, "lgan", 1) == expected
    assert expected in report.table(record)
    assert "94.3 (+0.3)" in report.table(record)  # the published row
    error = 100 - none_S.mean()
    cut = [100 * x / error for x in (difference, low, high)]
    expected = "{:.1f} ({:.1f} to {:.1f})".format(*cut)
    assert report.error_cut(record, "lgan", 1) == expected


def test_evaluation_points_compare_at_the_right_steps(record):
    def differences(label):
        (line,) = [
            x for x in report.eval_points_table(record).split("\n") if label in x
        ]
        return [
            float(cell.split("(")[1].split(",")[0]) for cell in line.split("|")[2:5]
        ]

    none_SE = accuracy(record, "none")[:, 0].mean(axis=1)
    ours_SAE = accuracy(record, "lgan").mean(axis=2)
    last_SA = ours_SAE[:, :, -1]
    expected = last_SA.mean(axis=0) - none_SE[:, -1].mean()
    np.testing.assert_allclose(differences("equal steps"), expected, atol=0.006)
    # Of 12 points the ninth, sixth and third are at 75, 50 and 25 % of the steps.
    expected = [
        (last_SA[:, a] - none_SE[:, point - 1]).mean()
        for a, point in enumerate((9, 6, 3))
    ]
    np.testing.assert_allclose(differences("in proportion"), expected, atol=0.006)
    # 6,000 of 56,000 images: a little after the first point.
    share = math.log(12 * 6000 / 56000) / math.log(2)
    none_S = (1 - share) * none_SE[:, 0] + share * none_SE[:, 1]
    expected = last_SA.mean(axis=0) - none_S.mean()
    np.testing.assert_allclose(differences("and generated"), expected, atol=0.006)
    best = ours_SAE.max(axis=2).mean(axis=0) - none_SE.max(axis=1).mean()
    np.testing.assert_allclose(differences("best step"), best, atol=0.006)


def test_equal_epochs_before_the_first_point_are_left_out(record):
    record["known"] = 4000  # 12 points of 54,000 images: at 4,500
    assert "and generated" not in report.eval_points_table(record)


def test_a_run_judged_by_held_out_images_says_so(record):
    assert "| test accuracy" in report.table(record)
    record["options"]["validate"] = True
    table = report.table(record)
    assert "| held-out accuracy" in table and "all data, the judging ones too" in table
    assert "published" not in table + report.eval_points_table(record)


def test_one_seed_has_no_interval(record):
    for rows in record["cells"].values():
        for name in rows:
            del rows[name][1:]
    assert report.gain(record, "lgan", 0).count("to") == 0
    assert "nan" not in report.table(record) + report.eval_points_table(record)
