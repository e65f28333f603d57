"""Runs in work directories: claimed before training, read back after it.

Dimension key: S seeds.
"""

import hashlib
import pathlib
from typing import Any

import jax
import numpy as np

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.common import errors, files
from veegan_jax.config import Config
from veegan_jax.experiments import base, sizes
from veegan_jax.methods.base import TrainState
from veegan_jax.presets import resolve
from veegan_jax.runtime import checkpoint, distributed, workdirs

METHOD_SHA256 = "method_sha256"  # in a run's identity, if the method is a user's
METHOD_FOLDER = "method"  # in a work directory: the user's files


def claim(
    workdir: pathlib.Path,
    config: Config,
    options: base.Options,
    more: dict[str, Any] | None = None,
) -> None:
    """Claim a work directory for a run; a dry run claims nothing.

    Args:
      workdir: of the run.
      config: what to train.
      options: how to run it.
      more: what else makes the run what it is, JSON values.

    Raises:
      InputError: if the work directory cannot be written or holds another run.
    """
    identity = configs.to_json(config)
    identity |= {"seeds": options.seeds, "first_seed": options.first_seed}
    if found := methods.fingerprint(config.method):
        identity |= {METHOD_SHA256: found}
    if options.dry_run:
        return
    workdirs.claim(workdir, identity | (more or {}), newer=[METHOD_SHA256])
    distributed.on_main_process(lambda: _keep_method(config.method, workdir))


def _keep_method(name: str, workdir: pathlib.Path) -> None:
    """Copy the files of a user's method, which will be edited, to the run's folder."""
    for file, content in methods.sources(name).items():
        path = workdir / METHOD_FOLDER / file
        if not path.exists():
            with files.writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                files.save_atomically(path, lambda out, c=content: out.write(c))


def configuration(workdir: pathlib.Path) -> tuple[Config, range]:
    """Return the configuration and the seeds of the run that a work directory holds.

    Raises:
      InputError: if it holds none, or another kind of run, such as a sweep.
    """
    identity = workdirs.claimed(workdir)
    _check_method(workdir, identity)
    try:
        options = base.Options(
            seeds=identity.pop("seeds"), first_seed=identity.pop("first_seed")
        )
        objective = methods.objective_class(identity["method"])
        config = configs.from_json(identity, objective)
        resolve.page_of(config.dataset)
    except (KeyError, TypeError, ValueError) as error:
        why = str(error) if isinstance(error, errors.InputError) else repr(error)
        raise errors.InputError(
            f"{workdir / 'config.json'} does not describe one run of a method "
            f"({why}); give a work directory of a training script"
        ) from error
    return config, options.seed_numbers()


def _check_method(workdir: pathlib.Path, identity: dict[str, Any]) -> None:
    """Refuse a run of a user's method that is not registered, or is another by now."""
    method, files_of_run = identity.get("method"), identity.pop(METHOD_SHA256, {})
    if not isinstance(method, str) or not isinstance(files_of_run, dict):
        return  # damaged, as the reader of the configuration will say
    kept = [f for f in files_of_run if pathlib.Path(f).stem == method]
    where = f"={workdir / METHOD_FOLDER / kept[0]}" if kept else ""
    if method not in methods.METHODS:
        raise errors.InputError(
            f"{workdir} holds a run of the method {method!r}, which is not built in: "
            f"give its file by --method_file{where}"
        )
    now = methods.fingerprint(method)
    changed = [f for f, sha in files_of_run.items() if now.get(f, sha) != sha]
    if changed:
        raise errors.InputError(
            f"{workdir} was trained by another version of {changed[0]}; give the "
            f"method as it was by --method_file{where}"
        )


def restore(
    workdir: pathlib.Path, step: int = 0
) -> tuple[Config, range, int, TrainState]:
    """Read a finished or interrupted run from its work directory alone.

    Args:
      workdir: of the run.
      step: of the checkpoint; 0: the newest.

    Returns:
      Its configuration, its seeds, the steps taken and the states [S, ...].

    Raises:
      InputError: if it holds no run, or one without a checkpoint, or none of the step.
    """
    config, seeds = configuration(workdir)
    sizes.check(config, len(seeds))
    checkpoints = checkpoint.Checkpoints(workdir / "checkpoints")
    try:
        done, state = checkpoints.restore(base.init_seeds(seeds, config), step)
    finally:
        checkpoints.close()
    if not done:
        raise errors.InputError(f"{workdir} holds no checkpoint yet; train it first")
    return config, seeds, done, state


def weights_sha256(state: TrainState) -> str:
    """Return the digest of the parameters and moments that a state generates with."""
    digest = hashlib.sha256()
    names = ("params", "batch_stats", "ema")  # a user's state may have params alone
    used = [getattr(state, name, None) for name in names]
    for leaf in jax.tree.leaves(used):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()
