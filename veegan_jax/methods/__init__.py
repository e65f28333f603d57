"""The registry: a method is one module with the functions of `base.Method`.

ALI and the VEEGANs also have `reconstruct`; a module may have an `Objective`, the group
of settings that its losses read. A new method is a new file and one line here, or one
call of `register`; it needs `generate` only for interpolations and IvOM.
"""

import importlib.util
import pathlib
from types import ModuleType

from veegan_jax import config
from veegan_jax.common import errors
from veegan_jax.methods import ali, gan, pacgan, unrolled, veegan, veegan_plus

METHODS: dict[str, ModuleType] = {
    "gan": gan,
    "pacgan": pacgan,
    "ali": ali,
    "unrolled": unrolled,
    "veegan": veegan,
    "veegan_adversarial": veegan,
    "veegan_mean": veegan,
    "veegan_plus": veegan_plus,
}


def get(name: str) -> ModuleType:
    """Return the method's module.

    Raises:
      InputError: if there is none; the message lists those that exist.
    """
    if name not in METHODS:
        raise errors.InputError(f"unknown method {name!r}: one of {', '.join(METHODS)}")
    return METHODS[name]


def objective_class(name: str) -> type:
    """Return the class of a method's settings: its `Objective`, or an empty one."""
    return getattr(get(name), "Objective", config.Objective)


def has_generator(name: str) -> bool:
    """Whether a method maps given latents to samples; yours may only draw them."""
    return hasattr(get(name), "generate")


def has_reconstructor(name: str) -> bool:
    """Whether a method maps x to z."""
    return hasattr(get(name), "reconstruct")


def register(name: str, method: ModuleType) -> None:
    """Add a method from outside the package.

    Args:
      name: what `--method` calls it.
      method: a module (or any object) with `init`, `train_step` and `sample`.

    Raises:
      InputError: if the name is taken, or one of the three functions is missing.
    """
    missing = [f for f in ("init", "train_step", "sample") if not hasattr(method, f)]
    if missing:
        raise errors.InputError(f"method {name!r} lacks {', '.join(missing)}")
    if METHODS.setdefault(name, method) is not method:
        raise errors.InputError(f"method {name!r} exists already; choose another name")


def register_file(path: str) -> str:
    """Register the method in a Python file, as `--method_file` names it.

    Returns:
      The method's name: the file's, without its suffix.

    Raises:
      InputError: see `register`; or if there is no such file.
    """
    name = pathlib.Path(path).stem
    if not pathlib.Path(path).is_file():
        raise errors.InputError(f"--method_file={path}: there is no such file")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader  # there is such a file
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    register(name, module)
    return name
