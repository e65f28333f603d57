"""Load a method from a Python file of the user's, as Python loads a script."""

import importlib.machinery
import importlib.util
import pathlib
import sys
import types

from veegan_jax.common import errors

_OURS = ("veegan_jax", "lgan_jax")
_beside: dict[str, types.ModuleType] = {}  # what the newest file imported, by name


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles the source each time: a compiled copy may be older than the file."""

    def get_code(self, fullname: str) -> types.CodeType:
        del fullname
        path = self.path
        try:
            return self.source_to_code(self.get_data(path), path)
        except OSError as error:
            raise errors.InputError(
                f"--method_file={path} cannot be read: {error.strerror or error}"
            ) from error
        except SyntaxError as error:
            raise errors.InputError(
                f"--method_file={path} is not Python: line {error.lineno}: {error.msg}"
            ) from error
        except ValueError as error:  # such as null bytes
            raise errors.InputError(
                f"--method_file={path} is not Python: {error}"
            ) from error


def load(path: pathlib.Path) -> tuple[types.ModuleType, dict[str, bytes]]:
    """Run a file as a module; it can import the files beside it.

    Args:
      path: the file, of any suffix.

    Returns:
      The module; and the contents of the file and of those beside it that it imports,
      by their path relative to the file's folder.

    Raises:
      InputError: if the file cannot be read or is not Python; the message names the
        line. Other exceptions of the file's code keep their traceback.
    """
    if not path.exists():
        raise errors.InputError(f"--method_file={path}: there is no such file")
    # The folder of an earlier method may have files of the same names.
    for name in _beside:
        sys.modules.pop(name, None)
    _beside.clear()
    before = set(sys.modules)
    name = f"method_file:{path.stem}"  # no other module has such a name
    loader = _Loader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec  # the loader is given
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and Flax modules look theirs up
    folder = path.resolve().parent
    sys.path.insert(0, str(folder))
    try:
        loader.exec_module(module)
    except SystemExit as error:
        raise errors.InputError(
            f"--method_file={path} ends the program when it is imported: put the call "
            "under if __name__ == '__main__':"
        ) from error
    sources = {path.name: path.read_bytes()}
    for name in sorted(set(sys.modules) - before):
        file = _file_beside(sys.modules[name], folder)
        if file:
            _beside[name] = sys.modules[name]
            sources[file.relative_to(folder).as_posix()] = file.read_bytes()
    return module, sources


def _file_beside(module: types.ModuleType, folder: pathlib.Path) -> pathlib.Path | None:
    """Return the file of a module in a folder; None for an installed library's."""
    file = getattr(module, "__file__", None)
    if not file or module.__name__.partition(".")[0] in _OURS:
        return None
    path = pathlib.Path(file).resolve()
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    is_source = path.suffix == ".py" and path.is_file()
    beside = path.is_relative_to(folder) and not installed and is_source
    return path if beside else None
