"""L-GAN's records become tables, and its ablation trains what it changes, only."""

import dataclasses
import functools
import json
import pathlib

import pytest
from support import programs
from tables import lgan as lgan_tables

from lgan_jax import config, options
from veegan_jax.common import errors
from veegan_jax.runtime import distributed

TINY = dict(
    autoencoder_steps=4,
    sampler_steps=4,
    autoencoder_widths=(4,),
    sampler_widths=(3,),
)


def cell(level, shares):
    made = {"accuracy": [[[level, level]]] * shares}
    if shares > 1:
        made["sample_quality"] = dict(
            fidelity=90.0, nearest=1.1, vendi=20.0, coverage=70.0
        )
    return made


@pytest.fixture
def record():
    return {
        "command": "python scripts/lgan_amplify.py '--workdir=else where' --seeds=2 "
        "--data_dir /home/me --classifier=there.npz",
        "commit": "0123456789abcdef",
        "device": "2 x cpu",
        "config": {"dataset": "mnist", "fraction": 0.1},
        "options": {
            "generated": 50,
            "seeds": 2,
            "first_seed": 0,
            "generators": "lgan",
            "validate": False,
            "sample_quality": True,
            "classifier_steps": 0,
        },
        "known": 60,
        "classes": 10,
        "wall_seconds": 120.0,
        "cells": {
            "basic": {
                "all data": [cell(97.0, 1), cell(97.2, 1)],
                "none": [cell(94.0, 1), cell(94.2, 1)],
                "lgan": [cell(94.5, 3), cell(94.9, 3)],
            }
        },
    }


def test_a_record_becomes_its_tables(record, tmp_path):
    (tmp_path / "run" / "figures").mkdir(parents=True)
    (tmp_path / "run" / "figures" / "accuracy.png").write_bytes(b"picture")
    (tmp_path / "run" / "results.json").write_text(json.dumps(record))
    results = tmp_path / "results"
    empty = lgan_tables.tables(results)
    assert set(empty.values()) == {lgan_tables.EMPTY}
    assert "lgan-mnist-0.0333-sample-quality" in empty
    lgan_tables.collect(tmp_path / "run", results).write()
    picture = results / "figures" / "lgan-mnist-0.1-accuracy.png"
    assert picture.read_bytes() == b"picture"
    made = lgan_tables.tables(results)
    assert "94.70 (+0.60, -0.67 to +1.87)" in made["lgan-mnist-0.1"]
    assert "| lgan | 90 ± 0   |" in made["lgan-mnist-0.1-sample-quality"]
    assert "`python scripts/lgan_amplify.py --seeds=2`" in made["lgan-mnist-repeat"]
    assert "| 0123456789 | 2 from 0 | 2 " in made["lgan-mnist-repeat"]
    assert "60 images" in made["lgan-mnist-fractions"]
    assert made["lgan-digits-fractions"] == lgan_tables.EMPTY
    assert made["lgan-mnist-0.1-strong"] == made["lgan-mnist-long"] == lgan_tables.EMPTY
    record["options"] |= {"classifier_steps": 24, "sample_quality": False}
    (tmp_path / "run" / "results.json").write_text(json.dumps(record))
    lgan_tables.collect(tmp_path / "run", results).write()
    longer = lgan_tables.tables(results)
    assert "| best step by the test set" in longer.pop("lgan-mnist-long")
    assert [*(results / "figures").iterdir()] == [picture]
    assert longer.pop("lgan-mnist-repeat").count("0123456789") == 2
    assert longer.items() <= made.items()
    record["options"]["classifier_steps"] = 0
    basic = record["cells"]["basic"]
    few = {name: cells[:1] for name, cells in basic.items()}
    record["cells"] = {"basic": few, "strong": few}
    (tmp_path / "run" / "results.json").write_text(json.dumps(record))
    lgan_tables.collect(tmp_path / "run", results).write()
    both = lgan_tables.tables(results)
    assert both["lgan-mnist-0.1"] == made["lgan-mnist-0.1"]  # of all seeds
    assert "94.50 (+0.50)" in both["lgan-mnist-0.1-strong"]
    (results / "lgan" / "mnist-0.1.json").unlink()
    assert "94.50 (+0.50)" in lgan_tables.tables(results)["lgan-mnist-0.1"]


def test_a_record_is_not_replaced_by_less(record, tmp_path):
    def add(changed):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / "results.json").write_text(json.dumps(changed))
        lgan_tables.collect(tmp_path / "run", tmp_path).write()

    add(record)
    add(record)  # as much
    kept = (tmp_path / "lgan" / "mnist-0.1.json").read_bytes()
    basic = record["cells"]["basic"]
    fewer_seeds = {name: cells[:1] for name, cells in basic.items()}
    fewer_rows = {name: basic[name] for name in ("all data", "none")}
    for fewer, words in (
        (fewer_seeds, "1 seeds of all data"),
        (fewer_rows, "0 seeds of lgan"),
    ):
        with pytest.raises(errors.InputError, match=f"has {words}.*has 2: move that"):
            add(record | {"cells": {"basic": fewer}})
    assert (tmp_path / "lgan" / "mnist-0.1.json").read_bytes() == kept


RECORDS = sorted((pathlib.Path(__file__).parents[2] / "results/lgan").rglob("*.json"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_published_record_is_what_its_command_repeats(path):
    """The presets have not moved away from under the records."""
    record = json.loads(path.read_text())
    words = [w.removeprefix("--") for w in record["command"].split()[2:]]
    given = dict(word.partition("=")[::2] for word in words)
    assert given.pop("dataset") == "mnist"
    fields = {f.name: f.type for f in dataclasses.fields(config.Config)}
    changes = {n: fields[n](v) for n, v in given.items() if n in fields}
    whole = config.preset("mnist", **changes | record.get("changes", {}))
    assert record["config"] == json.loads(json.dumps(dataclasses.asdict(whole)))
    seeds = int(given.get("seeds", 10))
    assert record["options"]["seeds"] == seeds
    for rows in record["cells"].values():
        assert all(len(cells) == seeds for cells in rows.values())


def test_a_run_judged_inside_what_is_known_is_no_result(record, tmp_path):
    record["options"]["validate"] = True
    (tmp_path / "results.json").write_text(json.dumps(record))
    with pytest.raises(errors.InputError, match="--validate"):
        lgan_tables.collect(tmp_path, tmp_path / "results")


def test_an_unfinished_run_is_not_added(tmp_path):
    with pytest.raises(errors.InputError, match=r"no results\.json there"):
        lgan_tables.collect(tmp_path, tmp_path / "results")
    with pytest.raises(errors.InputError, match=r"no \*/ablation\.json"):
        lgan_tables.collect_ablation(tmp_path, tmp_path / "results")


def test_every_variant_is_a_configuration():
    for dataset in ("mnist", "digits"):
        whole = config.preset(dataset)
        variants = config.variants(whole)
        for name, changes in variants.items():
            changed = config.preset(dataset, **changes)
            assert (changed == whole) == (name == "as it is")
    assert config.keeps_autoencoders(variants["no penalty"])
    assert not config.keeps_autoencoders(variants["half the latent size"])


@pytest.fixture
def ablate(monkeypatch, tmp_path):
    tiny = functools.partial(
        options.Options,
        sample_quality=False,
        generated=20,
        repeats=1,
        classifier_steps=12,
    )
    preset = config.preset
    monkeypatch.setattr(options, "Options", tiny)
    monkeypatch.setattr(
        config, "preset", lambda dataset, **changes: preset(dataset, **TINY | changes)
    )
    monkeypatch.setattr(
        distributed, "use_cpu_cores", lambda num: None
    )  # JAX is running
    monkeypatch.chdir(tmp_path)
    yield from programs.as_module("lgan_ablate")


@pytest.mark.slow
def test_an_ablation_copies_the_autoencoders(ablate, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        ablate.report, "ablation_table", lambda rows, name: str([*rows])
    )
    given = ablate.flags.FLAGS
    given.dataset, given.seeds, given.only = "digits", 1, ["all accepted"]
    ablate.main()
    assert "['as it is', 'all accepted']" in capsys.readouterr().out
    folders = [
        tmp_path / "runs/lgan/ablation/digits/lgan" / name
        for name in ("as_it_is", "all_accepted")
    ]
    kept = [json.loads((f / "ablation.json").read_text()) for f in folders]
    assert [r["changes"] for r in kept] == [{}, {"acceptance": "all"}]
    logs = [(f / "autoencoder" / "metrics.jsonl").read_text() for f in folders]
    assert logs[0] == logs[1]  # with its seconds
    none = [r["cells"]["basic"]["none"][0]["accuracy"] for r in kept]
    assert none[0] == none[1]
    given.only = ["nothing"]
    with pytest.raises(errors.InputError, match="--only=nothing: unknown; any of as"):
        ablate.main()
