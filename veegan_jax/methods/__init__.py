"""The registry: a method is one module with the functions of `base.Method`.

ALI and the VEEGANs also have `reconstruct`; a module may have an `Objective`, the group
of settings that its losses read. A new method is a new file and one line here, or one
call of `register`; it needs `generate` only for interpolations and IvOM.
"""

import hashlib
import pathlib
import re
from types import ModuleType

from veegan_jax import config
from veegan_jax.common import errors
from veegan_jax.methods import (
    ali,
    alice,
    autoencoder,
    bures,
    gan,
    gdpp,
    hinge,
    mdgan,
    meg,
    method_files,
    pacgan,
    rpgan,
    topk,
    unrolled,
    veegan,
    veegan_plus,
    wgan_gp,
)

METHODS: dict[str, ModuleType] = {
    "gan": gan,
    "pacgan": pacgan,
    "ali": ali,
    "unrolled": unrolled,
    "wgan_gp": wgan_gp,
    "hinge": hinge,
    "topk": topk,
    "gdpp": gdpp,
    "bures": bures,
    "rpgan": rpgan,
    "mdgan": mdgan,
    "alice": alice,
    "meg": meg,
    "veegan": veegan,
    "veegan_adversarial": veegan,
    "veegan_mean": veegan,
    "veegan_plus": veegan_plus,
    "autoencoder": autoencoder,
}
BUILT_IN = frozenset(METHODS)
ALL = "all"  # stands for several methods on a command line
RESERVED = ALL, "oracle"  # a row of the tables
_files: dict[str, method_files.Loaded] = {}  # the users' methods that came from files


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


def sees_latents(name: str) -> bool:
    """Whether one of a method's networks judges pairs (z, x): D, or MEG's T."""
    return getattr(get(name), "SEES_LATENTS", has_reconstructor(name))


def register(name: str, method: ModuleType) -> None:
    """Add a method from outside the package.

    Args:
      name: what `--method` calls it.
      method: a module (or any object) with `init`, `train_step` and `sample`.

    Raises:
      InputError: if the name is taken or cannot stand in a table, or one of the three
        functions is missing.
    """
    wanted = ("init", "train_step", "sample")
    missing = [f for f in wanted if not hasattr(method, f)]
    if missing:
        raise errors.InputError(
            f"method {name!r} lacks {', '.join(missing)}; it needs the functions "
            f"{', '.join(wanted)}"
        )
    if METHODS.get(name) is method:
        return
    _check_name(name)
    METHODS[name] = method
    _files.pop(name, None)


def register_file(path: str | pathlib.Path) -> str:
    """Register the method in a Python file, as `--method_file` names it.

    Returns:
      The method's name: the file's, without its suffix.

    Raises:
      InputError: see `register` and `method_files.load`; or if another file was
        registered by this name, as compiled functions of it may be in use.
    """
    path = pathlib.Path(path)
    name = path.stem
    earlier = _files.get(name) if name in METHODS else None
    if earlier and earlier.path.absolute() == path.absolute():
        if earlier.is_unchanged():
            return name
        raise errors.InputError(
            f"--method_file={path} was edited after it was registered, and functions "
            "of the earlier one may be compiled: start a new process"
        )
    _check_name(name, f"--method_file={path}: ")
    loaded = method_files.load(path)
    try:
        register(name, loaded.module)
    except errors.InputError as error:
        raise errors.InputError(f"--method_file={path}: {error}") from error
    _files[name] = loaded
    return name


def _check_name(name: str, before: str = "") -> None:
    """Refuse a name that is taken, or that folders or tables would not show."""
    if name in METHODS:
        raise errors.InputError(
            f"{before}method {name!r} exists already; choose another name"
        )
    starts_well = name[:1].isalnum() or re.match("_[^_]", name)
    if name in RESERVED or not starts_well or not name.isprintable() or "|" in name:
        raise errors.InputError(
            f"{before}a method cannot be called {name!r}; choose another name, of "
            "letters, digits and _"
        )


def note_imports(name: str) -> None:
    """Add what a user's method imported while it ran to its sources."""
    if name in _files:
        _files[name].note_imports()


def sources(name: str) -> dict[str, bytes]:
    """Return the contents of the files of a user's method; {} if it came from none."""
    return _files[name].sources if name in _files else {}


def fingerprint(name: str) -> dict[str, str]:
    """Return 16 digits of the SHA-256 of each file of a user's method, by its name."""
    return {
        file: hashlib.sha256(content).hexdigest()[:16]
        for file, content in sorted(sources(name).items())
    }
