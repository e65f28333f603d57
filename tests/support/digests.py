"""Prints digests of short fixed runs, to show that a change of code changed no bit.

    python tests/support/digests.py > before.txt
    ... change the code ...
    python tests/support/digests.py > after.txt && diff before.txt after.txt

Every case runs a script in an empty folder, with two CPU devices, and prints one line:
the SHA-256 of the newest checkpoint, of the samples, and of the numbers in the record.
The names of metrics and fields do not count. Another processor rounds differently, so
compare two outputs of one machine. About six minutes on two CPU cores.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
METHODS = (
    *("gan", "pacgan", "ali", "unrolled"),
    *("veegan", "veegan_adversarial", "veegan_mean", "veegan_plus"),
)
# A record's parts that hold results; the others say when and where it was made.
RESULTS = ("per_seed", "mean", "std", "oracle", "baselines", "cells")
SHORT = "--steps=20 --interval=10 --seeds=2 --samples=100 --cpu_devices=2"
IMAGES = "--steps=6 --interval=3 --seeds=2 --samples=100 --cpu_devices=2"
LGAN = (
    "--dataset=digits --seeds=1 --repeats=1 --generated=60 --classifier_steps=120 "
    "--autoencoder_steps=20 --sampler_steps=20 --cpu_devices=2"
)


def cases() -> dict[str, list[str]]:
    """Name of the work directory -> script and flags."""
    mixtures = "train_mixtures.py"
    lines = {
        f"{dataset}-{method}": f"{mixtures} --method={method} --dataset={dataset} "
        + SHORT
        for dataset, method in (
            *(("ring", method) for method in METHODS),
            *(("grid", method) for method in ("veegan", "veegan_plus")),
        )
    }
    lines |= {
        "high_dim": f"{mixtures} --dataset=high_dim {SHORT}",
        "best-grid": f"{mixtures} --preset=best --dataset=grid {SHORT}",
        "paper-ali": f"{mixtures} --preset=paper --method=ali {SHORT}",
        "pmap": f"{mixtures} --parallel=pmap {SHORT}",
        "jit": f"{mixtures} --parallel=jit --method=veegan {SHORT}",
        "resume": f"{mixtures} --save_every=0 {SHORT}",
    }
    stacks = "train_stacked_mnist.py --dataset=digits"
    single = "train_cifar10.py --dataset=digits"
    lines |= {f"stacked-{m}": f"{stacks} --method={m} {IMAGES}" for m in METHODS}
    lines |= {f"single-{m}": f"{single} --method={m} {IMAGES}" for m in METHODS}
    lines["stacked-pmap"] = f"{stacks} --method=veegan --parallel=pmap {IMAGES}"
    lines["single-jit"] = f"{single} --method=veegan_plus --parallel=jit {IMAGES}"
    for method in ("ali", "veegan", "veegan_plus"):
        lines[f"infer-{method}"] = (
            f"infer_mnist.py --dataset=digits --method={method} {IMAGES}"
        )
    lines["sweep"] = (
        "sweep.py --vary=learning_rate=0.001,0.002 --vary=gamma=0.1,0.2 " + SHORT
    )
    lines["lgan"] = f"lgan_amplify.py {LGAN}"
    return {name: line.split() for name, line in lines.items()}


def run(script: str, *arguments: str, cwd: pathlib.Path) -> None:
    """Runs a script; what it prints is shown only if it fails."""
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    done = subprocess.run(command, cwd=cwd, text=True, capture_output=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def numbers(tree: Any) -> list[float]:
    """All numbers of JSON values."""
    if isinstance(tree, dict):
        return [x for value in tree.values() for x in numbers(value)]
    if isinstance(tree, list):
        return [x for value in tree for x in numbers(value)]
    is_number = isinstance(tree, int | float) and not isinstance(tree, bool)
    return [float(tree)] if is_number else []


def digest_of_record(path: pathlib.Path) -> str:
    """Digest of a record's results; the time that a cell took does not count."""
    record = json.loads(path.read_text())
    for by_generator in record.get("cells", {}).values():
        for cells in by_generator.values():
            for cell in cells:
                cell.pop("seconds", None)
    values = sorted(x for name in RESULTS for x in numbers(record.get(name)))
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def digest_of_arrays(path: pathlib.Path) -> str:
    """Digest of an .npz file's arrays."""
    digest = hashlib.sha256()
    with np.load(path, allow_pickle=False) as arrays:
        for name in sorted(arrays):
            digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()[:16]


def checkpoint_steps(workdir: pathlib.Path) -> list[pathlib.Path]:
    """A run's checkpoints, the oldest first."""
    found = [p for p in (workdir / "checkpoints").glob("*") if p.name.isdigit()]
    return sorted(found, key=lambda path: int(path.name))


def digest(workdir: pathlib.Path) -> str:
    """One line for all that a run left."""
    parts = []
    for folder in sorted({p.parent for p in workdir.rglob("checkpoints")}):
        newest = checkpoint_steps(folder)[-1]
        told = json.loads((newest / "digest" / "metadata").read_text())
        parts.append(told["sha256"][:16])
    for path in sorted(workdir.rglob("samples.npz")):
        parts.append(digest_of_arrays(path))
    parts += [digest_of_record(p) for p in sorted(workdir.rglob("results.json"))]
    return " ".join(parts)


def main() -> None:
    wanted = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        base = pathlib.Path(name)
        # Programs of milliseconds that compile for seconds: XLA need not optimize them.
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(base / "compiled")
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
        for case, (script, *flags) in cases().items():
            if wanted and not any(case.startswith(prefix) for prefix in wanted):
                continue
            workdir = base / case
            run(script, *flags, f"--workdir={workdir}", cwd=base)
            if case == "resume":
                whole = digest(workdir)
                shutil.rmtree(checkpoint_steps(workdir)[-1])
                run(script, *flags, f"--workdir={workdir}", cwd=base)
                if digest(workdir) != whole:
                    sys.exit(f"{case}: resumed to {digest(workdir)}, not {whole}")
            if case in ("ring-veegan", "single-veegan", "single-gan"):
                flags = ("--images=8", "--iterations=10", "--cpu_devices=2")
                run("eval_ivom.py", str(workdir), *flags, cwd=base)
            print(case, digest(workdir), flush=True)


if __name__ == "__main__":
    main()
