"""A script given one sample: a table with empty cells, figures, and no warning."""

import json

from support.programs import TINY


def test_one_sample_of_a_mixture(scripts, tmp_path):
    flags = [*TINY, "--samples=1", "--workdir=run", "--gif"]
    done = scripts.run("train_mixtures.py", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr and "nan" not in done.stdout, done.stderr
    assert "spread: empty if no mode of a seed has two samples" in done.stdout
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    assert record["oracle"]["spread"] is None and record["oracle"]["modes"] == 1
    for name in ("samples.png", "curves.png", "training.gif"):
        assert (tmp_path / "run" / name).exists()
