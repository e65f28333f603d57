"""Find the data sets that tensorflow-datasets prepared."""

import contextlib
import os
import pathlib
import re

from veegan_jax.common import errors, files

_DEFAULT_ROOT = "~/tensorflow_datasets"
_NAMED = 5  # entries of a folder that a message names


def data_root(data_dir: str | None) -> pathlib.Path:
    """Return the folder of tensorflow-datasets: the given one or the default."""
    if data_dir:
        return files.user_path(data_dir, "--data_dir")
    named = files.variable_path("TFDS_DATA_DIR")
    # Without a home folder nothing is there, and the message says where it would be.
    return named or files.home_path(_DEFAULT_ROOT) or pathlib.Path(_DEFAULT_ROOT)


def find(dataset: str, data_dir: str | None) -> pathlib.Path | None:
    """Return the folder of a set's newest prepared version, or None."""
    try:
        return _newest(data_root(data_dir) / dataset)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise errors.InputError(
            f"{error.filename} cannot be read ({error.strerror}): give another folder "
            "by --data_dir or TFDS_DATA_DIR"
        ) from error


def _newest(folder: pathlib.Path) -> pathlib.Path | None:
    """Return the newest prepared version in the folder of a set, or None.

    Raises:
      OSError: if the folder cannot be listed.
    """
    versions = {}
    for path in folder.iterdir():
        version = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", path.name)
        if version and (path / "dataset_info.json").is_file():
            versions[tuple(map(int, version.groups()))] = path
    return versions[max(versions)] if versions else None


def missing(dataset: str, data_dir: str | None) -> str:
    """Return a message for a set that is not prepared, to be followed by a remedy.

    It says who names the folder, what the folder holds, and which folder to give.
    """
    root = data_root(data_dir)
    named_by = naming(data_dir)
    named = f", the folder that {named_by} names" if named_by else ""
    inside = [path.name for path in _children(root)]
    if not os.path.isdir(root):
        held = "which is a file" if os.path.exists(root) else "which does not exist"
    elif dataset in inside:
        held = f"whose {dataset} holds no prepared version, with its dataset_info.json"
    else:
        shown = ", ".join(inside[:_NAMED]) or "nothing"
        held = f"which holds {shown}" + (", ..." if len(inside) > _NAMED else "")
    near = _near(dataset, root)
    give = (
        f"it is prepared under {near}, so give that folder"
        if near
        else (f"give the folder that holds {dataset}")
    )
    return (
        f"{dataset} is not prepared under {root}{named}, {held}: {give} by --data_dir "
        "or TFDS_DATA_DIR"
    )


def _near(dataset: str, root: pathlib.Path) -> pathlib.Path | None:
    """Return where a set is instead: one or two levels up, one down, or beside.

    A file stands for its folder.
    """
    root = root.absolute()
    if os.path.isfile(root):
        root = root.parent
    for path in (root, *root.parents[:2], *_children(root), *_children(root.parent)):
        with contextlib.suppress(OSError):
            if _newest(path / dataset):
                return path
    return None


def not_prepared(dataset: str, data_dir: str | None) -> errors.InputError:
    """Return the error for a set that is not prepared, with the remedies."""
    message, root = missing(dataset, data_dir), data_root(data_dir)
    if not _near(dataset, root):
        where = "" if os.path.isfile(root) else f" --data_dir={root}"
        message += (
            ", or prepare it once:\n  pip install -e '.[data]' && python "
            f"scripts/prepare_data.py --datasets={dataset}{where}"
        )
    return errors.InputError(message)


def naming(data_dir: str | None) -> str | None:
    """Return the flag or variable that names tensorflow-datasets' folder, or None."""
    if data_dir:
        return "--data_dir"
    return "TFDS_DATA_DIR" if os.environ.get("TFDS_DATA_DIR") else None


def _children(folder: pathlib.Path) -> list[pathlib.Path]:
    """List what is in a folder and not hidden, by name; nothing if it is unreadable."""
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return []
    return [path for path in found if not path.name.startswith(".")]
