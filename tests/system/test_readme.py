"""README.md and results/*.md: code runs, tables come from records, links exist."""

import pathlib
import re
import shutil
import sys

import numpy as np
import pytest
from absl.testing import flagsaver
from support import programs

from veegan_jax import methods
from veegan_jax.common import figures
from veegan_jax.methods import checks
from veegan_jax.metrics import mixtures as mixture_metrics
from veegan_jax.presets import mixtures as mixture_presets
from veegan_jax.presets import resolve

ROOT = pathlib.Path(__file__).parents[2]
WITH_TABLES = (ROOT / "README.md", *sorted((ROOT / "results").glob("*.md")))
PAGES = (*WITH_TABLES, ROOT / "scripts/README.md", ROOT / "scripts/launch/README.md")


def blocks(page: str = "README.md") -> list[str]:
    """The Python blocks of a page."""
    text = (ROOT / page).read_text()
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_use_the_step():
    (block,) = [b for b in blocks() if "veegan_jax.make" in b]
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["x"].shape == (2500, 2)
    assert np.isfinite(names["x"]).all()
    assert int(names["state"].step) == 12
    np.testing.assert_array_equal(names["states"].step, [10, 10, 10])


def test_ivom_of_a_model_of_your_own(capsys):
    (block,) = blocks("results/cifar10.md")
    names: dict = {}
    exec(compile(block, "cifar10.md", "exec"), names)
    error, converged = map(float, capsys.readouterr().out.split())
    x, found = names["images"], names["found"]
    assert error == pytest.approx(found.error_N.mean())
    assert converged == found.converged_N.mean()
    # No draw of very many comes nearer to any of the images.
    z = np.random.default_rng(0).normal(0, 2, size=(20_000, 4)).astype(np.float32)
    drawn = np.asarray(names["sample"](names["weights"], z)).reshape(20_000, 1, 12)
    best = np.mean((drawn - x.reshape(1, 8, 12)) ** 2, axis=2).min(axis=0)
    assert (found.error_N <= best + 1e-6).all()
    assert found.error_N.mean() > 0.3 * best.mean()  # nor is it far below the best


def test_your_own_method_runs_and_fits_every_mixture(scripts, tmp_path, monkeypatch):
    (block,) = [b for b in blocks() if b.startswith("# lsgan.py")]
    assert block.count("\n") < 32
    (tmp_path / "lsgan.py").write_text(block)
    flags = ["--method_file=lsgan.py", "--steps=20", "--seeds=2", "--samples=100"]
    done = scripts.run("train_mixtures.py", *flags, "--interval=20", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/ring/quick/lsgan/results.json").exists()
    assert re.search(r"\| lsgan +\| ", done.stdout)
    monkeypatch.setattr(methods, "METHODS", dict(methods.METHODS))
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = methods.register_file(tmp_path / "lsgan.py")
    for dataset in mixture_presets.DATASETS:
        config = resolve.resolve(name, dataset, "quick")
        checks.check(methods.get(name), config, mixture_metrics.METRICS)


def test_tables_are_what_the_records_say(tmp_path, monkeypatch):
    copy, drawn = tmp_path / "checkout", []
    shutil.copytree(ROOT / "results", copy / "results")
    shutil.copy(ROOT / "README.md", copy / "README.md")
    # To render them would take most of the time.
    monkeypatch.setattr(figures, "save", lambda _, path, **__: drawn.append(path))
    for script in programs.as_module("make_tables"):
        with flagsaver.flagsaver(root=str(copy)):
            script.main()
    assert len(set(drawn)) == len(drawn) > 10
    for page in WITH_TABLES:
        name = page.relative_to(ROOT)
        assert (copy / name).read_text() == page.read_text(), name
        assert "(not measured yet)" not in page.read_text(), name


def test_the_readme_is_short():
    assert (ROOT / "README.md").read_text().count("\n") <= 250


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_names_lead_to_something(page):
    text = page.read_text()
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
    scripts = ROOT / "scripts"
    for name in set(re.findall(r"\b[\w/]+\.(?:py|sbatch|sh|yaml)\b", text)):
        if name == "lsgan.py":  # the reader's own
            continue
        found = [p / name for p in (ROOT, scripts, scripts / "launch")]
        assert any(path.exists() for path in found), name
    tests = "".join(p.read_text() for p in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in tests, name


def anchors(page: pathlib.Path) -> set[str]:
    """The anchors that GitHub gives a page's titles."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}


def test_every_page_and_every_script_is_in_an_index():
    index = (ROOT / "results/README.md").read_text()
    for page in WITH_TABLES[1:]:
        assert page.name == "README.md" or f"]({page.name})" in index, page.name
    text = "".join(page.read_text() for page in WITH_TABLES)
    programs = set((ROOT / "scripts").glob("*.py")) - {ROOT / "scripts/early.py"}
    for script in programs:
        assert script.name in text, script.name
