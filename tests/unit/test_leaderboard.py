"""The leaderboard, sweeps and published rows, from records of made-up numbers."""

import json
import math

import matplotlib.image
import numpy as np
import pytest
from support import records_of_runs
from tables import common, leaderboard, mixtures, published_rows, stacked_mnist, sweeps

from veegan_jax.common import errors, plots_scores
from veegan_jax.metrics import published

PLANE = np.zeros((2, 9, 2), np.float32)


def leave(tmp_path, method, dataset, **values):
    """Leave a run whose seeds have these values, and keep its record."""
    run = tmp_path / f"{dataset}-{method}"
    image = np.zeros((2, 40, 8, 8, 3), np.uint8)
    is_mixture = dataset in mixtures.TITLES
    arrays = {"plane": PLANE} if is_mixture else {"image": image, "real": image[0]}
    record = records_of_runs.leave(run, dataset, "quick", method=method, **arrays)
    record["per_seed"] = [
        {"seed": s} | {name: found[s] for name, found in values.items()}
        for s in range(2)
    ]
    (run / "results.json").write_text(json.dumps(record))
    page = mixtures if is_mixture else stacked_mnist
    page.collect(run, dataset, tmp_path / "results").write()


def cells(table):
    rows = [line.split("|")[1:-1] for line in table.splitlines() if "|" in line]
    return [[cell.strip() for cell in row] for row in rows]


def test_methods_are_sorted_by_their_share_of_the_modes(tmp_path):
    for method, modes in (("gan", [4, 6]), ("veegan", [8, 6]), ("hinge", [0, 1])):
        leave(tmp_path, method, "ring", filled_modes=modes)
        leave(tmp_path, method, "grid", filled_modes=[m + 1 for m in modes])
    leave(tmp_path, "gan", "high_dim", filled_modes=[10, 10])
    leave(tmp_path, "veegan", "high_dim", filled_modes=[5, 5])
    leave(tmp_path, "veegan", "stacked_mnist", kl_uniform=[0.1, 0.2])
    made = leaderboard.tables(tmp_path / "results")["leaderboard"]
    header, _, true, first, second = cells(made)  # hinge was not run in 1200-D
    assert header[2:5] == ["ring (8)", "grid (25)", "1200-D (10)"]
    assert true[0] == "true samples"
    gan = (100 * 5 / 8 + 100 * 6 / 25 + 100) / 3
    veegan = (100 * 7 / 8 + 100 * 8 / 25 + 50) / 3
    assert gan > veegan
    assert [first[0], first[1]] == ["**GAN**", f"{gan:.0f}"]
    assert [second[0], second[1]] == ["**VEEGAN**", f"{veegan:.0f}"]
    assert first[2] == "62 ± 18"  # 50 % and 75 %
    share = [100 * math.exp(-kl) for kl in (0.1, 0.2)]
    assert second[6] == f"{np.mean(share):.0f} ± {np.std(share, ddof=1):.0f}"
    assert first[6] == ""
    figure = tmp_path / "results" / "figures" / "leaderboard.png"
    assert matplotlib.image.imread(figure).std() > 0


def test_costs_are_those_of_the_benchmark(tmp_path):
    leave(tmp_path, "gan", "grid", filled_modes=[1, 1])
    (tmp_path / "results" / "speed").mkdir()
    record = {
        "command": "python scripts/bench/methods.py",
        "commit": "0123",
        "device": "cpu",
        "wall_seconds": 3.0,
        "rows": [
            {
                "dataset": "grid",
                "method": "gan",
                "median": 10.0,
                "cost": {"ratio": 6.04, "ratio_range": [5.0, 7.0]},
            }
        ],
    }
    path = tmp_path / "results" / "speed" / "methods.json"
    path.write_text(json.dumps(record))
    *_, row = cells(leaderboard.tables(tmp_path / "results")["leaderboard"])
    assert "6.0" in row
    record["rows"][0]["median"] = -1
    path.write_text(json.dumps(record))
    with pytest.raises(errors.InputError, match=r"methods\.json: rows\[0\]\.median"):
        leaderboard.tables(tmp_path / "results")


def test_without_records_there_is_no_leaderboard(tmp_path):
    assert leaderboard.tables(tmp_path) == {"leaderboard": common.EMPTY}


def test_every_method_says_what_it_needs():
    assert leaderboard.NEEDS.keys() <= common.LABELS.keys()
    assert set(leaderboard.resolve.ROWS) <= leaderboard.NEEDS.keys()


def test_a_missing_score_leaves_its_line_empty(tmp_path):
    path = tmp_path / "scores.png"
    panels = {"ring": {"a": np.array([20.0, 40.0])}, "grid": {"b": np.array([90.0])}}
    plots_scores.ranking(
        panels, ["a", "b"], path, best=dict.fromkeys(panels, 99.0), title="$x"
    )
    assert matplotlib.image.imread(path).std() > 0


def sweep(tmp_path, first_seed, values):
    metrics = {"modes": 20.0, "high_quality": 9.5, "filled_modes": 2.0, "mode_tv": 0.9}
    record = {
        "command": "python scripts/sweep.py --method=mdgan",
        "commit": "0123456789abc",
        "device": "1 x cpu",
        "wall_seconds": 60.0,
        "config": {"method": "mdgan", "dataset": "grid", "steps": 10},
        "options": {"first_seed": first_seed, "seeds": 2},
        "variants": [
            {
                "values": {"data_reconstruction_weight": value},
                "per_seed": [{"seed": first_seed}, {"seed": first_seed + 1}],
                "mean": metrics | {"modes": 20 + value},
                "std": dict.fromkeys(metrics, 1.0),
            }
            for value in values
        ],
        "oracle": metrics | {"modes": 25},
    }
    run = tmp_path / f"sweep-{first_seed}"
    run.mkdir()
    (run / "results.json").write_text(json.dumps(record))
    return run


def test_the_chosen_weight_stands_below_those_that_were_tried(tmp_path):
    results = tmp_path / "results"
    for run in (sweep(tmp_path, 0, [2.0]), sweep(tmp_path, 100, [0.2, 2.0])):
        sweeps.collect(run, results).write()
    names = {p.name for p in (results / "sweeps" / "grid").iterdir()}
    start = "mdgan-data_reconstruction_weight"
    assert names == {f"{start}-seed-0.json", f"{start}-seed-100.json"}
    rows = cells(sweeps.table(results))
    assert [row[:3] for row in rows[2:]] == [
        ["true samples", "", ""],
        ["MDGAN", "0.2", "2 from 100"],
        ["MDGAN", "2", "2 from 100"],
        ["**MDGAN**", "2", "2 from 0"],
    ]
    assert "22 ± 1" in rows[-1]
    assert "`python scripts/sweep.py --method=mdgan`" in sweeps.repeat(results)
    assert sweeps.table(tmp_path) == sweeps.repeat(tmp_path) == common.EMPTY


def test_published_rows_name_their_source_and_protocol():
    made = published_rows.tables()
    grid = made["mixtures-published"]
    veegan = next(row for row in cells(grid) if row[0] == "VEEGAN")
    assert veegan == ["VEEGAN", "VEEGAN paper", "8 / 52.9", "24.6 / 40", "5.5 / 28.29"]
    assert "- PacGAN paper: mixtures: G 4 x 400" in grid
    stacked = made["stacked_mnist-published"]
    assert "78.9 ± 6.5 / 4.5 ± 0.13" in stacked  # standard errors
    sources = {row.source for row in (*published.MIXTURES, *published.STACKED_MNIST)}
    assert sources <= published.PROTOCOLS.keys()
