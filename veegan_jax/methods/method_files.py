"""Load a method from a Python file of the user's, as Python loads a script."""

import dataclasses
import importlib.machinery
import importlib.util
import pathlib
import sys
import sysconfig
import types

from veegan_jax.common import errors
from veegan_jax.runtime import numerics

_OURS = ("veegan_jax", "lgan_jax")
_INSTALLED = [
    pathlib.Path(path).resolve()
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
    if (path := sysconfig.get_path(name))
]


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """A file that was run as a module."""

    path: pathlib.Path
    module: types.ModuleType
    before: frozenset[str]  # names of the modules that were there before it
    sources: dict[str, bytes]  # contents of the file and of what it imports, by name
    imported: set[str] = dataclasses.field(default_factory=set)  # names of modules

    def note_imports(self) -> None:
        """Add the user's files that were imported since, such as inside a function."""
        for name in sorted(set(sys.modules) - self.before):
            file = _user_file(sys.modules[name])
            if file and name != self.module.__name__:
                suffix = "/__init__.py" if file.name == "__init__.py" else ".py"
                key = name.replace(".", "/") + suffix
                self.imported.add(name)
                if key not in self.sources:
                    self.sources[key] = file.read_bytes()

    def is_unchanged(self) -> bool:
        """Whether the file still has the contents that were run."""
        source = self.sources[self.path.name]
        return self.path.is_file() and self.path.read_bytes() == source


_newest: list[Loaded] = []  # its imports make way for those of the next file


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles the source each time: a compiled copy may be older than the file."""

    def get_code(self, fullname: str) -> types.CodeType:
        del fullname
        path = self.path
        try:
            source = self.get_data(path)
        except OSError as error:
            raise errors.InputError(
                f"--method_file={path} cannot be read: {error.strerror or error}"
            ) from error
        if path.endswith(".ipynb"):
            raise errors.InputError(
                f"--method_file={path} is a notebook: save its code as a .py file"
            )
        try:
            return self.source_to_code(source, path)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            where = f"line {line}: " if line else ""
            why = error.msg if isinstance(error, SyntaxError) else error
            utf = "; save it as UTF-8" if b"\0" in source else ""
            raise errors.InputError(
                f"--method_file={path} is not Python: {where}{why}{utf}"
            ) from error


def load(path: pathlib.Path) -> Loaded:
    """Run a file as a module; it can import the files beside it.

    Args:
      path: the file, of any suffix.

    Raises:
      InputError: if the file cannot be read or is not Python, when the message names
        the line; or if it changes JAX's settings. Other exceptions of the file's code
        keep their traceback.
    """
    if not path.exists():
        raise errors.InputError(f"--method_file={path}: there is no such file")
    # The folder of an earlier method may have files of the same names.
    for earlier in _newest:
        for name in earlier.imported:
            sys.modules.pop(name, None)
    settings, before = numerics.settings(), frozenset(sys.modules)
    name = f"method_file:{path.stem}"  # no other module has such a name
    loader = _Loader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec  # the loader is given
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and Flax modules look theirs up
    sys.path.insert(0, str(path.resolve().parent))
    try:
        loader.exec_module(module)
    except SystemExit as error:
        raise errors.InputError(
            f"--method_file={path} ends the program when it is imported: put the call "
            "under if __name__ == '__main__':"
        ) from error
    changed = [n for n, v in numerics.settings().items() if v != settings[n]]
    if changed:
        raise errors.InputError(
            f"--method_file={path} sets {changed[0]}, on which all numbers depend: "
            "leave JAX's settings as they are"
        )
    found = Loaded(path, module, before, {path.name: path.read_bytes()})
    found.note_imports()
    _newest[:] = [found]
    return found


def _user_file(module: types.ModuleType) -> pathlib.Path | None:
    """Return the file of a module; None for a library's, Python's and our own."""
    file = getattr(module, "__file__", None)
    if not file or module.__name__.partition(".")[0] in _OURS:
        return None
    path = pathlib.Path(file).resolve()
    folders = "site-packages", "dist-packages"
    installed = any(path.is_relative_to(folder) for folder in _INSTALLED)
    if installed or set(folders) & set(path.parts) or path.suffix != ".py":
        return None
    return path if path.is_file() else None
