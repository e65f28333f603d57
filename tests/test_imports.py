"""Who may import whom, read from the source, so that no import can hide."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("veegan_jax", "lgan_jax")


def imports(source: str, *, top_level_only: bool = False) -> set[str]:
    """Dotted names of all that a module imports, absolute ones.

    `from a import b` yields a.b: whether b is a module or a name, "a.b" starts with
    "a". With top_level_only, what runs when the module is imported: everything but
    the bodies of functions.
    """
    names = set()

    def visit(node):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if not (top_level_only and function):
            for child in ast.iter_child_nodes(node):
                visit(child)

    visit(ast.parse(source))
    return names


def starting_with(names: set[str], *packages: str) -> set[str]:
    return {n for n in names if any(n == p or n.startswith(p + ".") for p in packages)}


def modules(*folders: str) -> list[pathlib.Path]:
    return [path for f in folders for path in sorted((ROOT / f).rglob("*.py"))]


def offenders(paths, forbidden, *, top_level_only=False):
    """Path -> forbidden imports, where there are any."""
    found = {
        str(path.relative_to(ROOT)): forbidden(
            imports(path.read_text(), top_level_only=top_level_only)
        )
        for path in paths
    }
    return {path: names for path, names in found.items() if names}


def test_the_reader_of_imports_sees_every_form():
    source = """
import a.b, c as d
from e.f import g as h, i
try:
    import j
except ImportError:
    pass
class K:
    import l
    def method(self):
        from m import n
async def o():
    import p
"""
    at_import = {"a.b", "c", "e.f.g", "e.f.i", "j", "l"}
    assert imports(source) == at_import | {"m.n", "p"}
    assert imports(source, top_level_only=True) == at_import
    assert starting_with({"jax.numpy", "jaxopt", "a"}, "jax") == {"jax.numpy"}


@pytest.mark.parametrize("package", PACKAGES)
def test_there_are_modules_to_read(package):
    assert ROOT / package / "__init__.py" in modules(package)


def test_common_knows_no_gan():
    paths = modules("veegan_jax/common")
    assert len(paths) > 5

    def forbidden(names):
        return starting_with(names, *PACKAGES) - starting_with(
            names, "veegan_jax.common"
        )

    assert offenders(paths, forbidden) == {}


def test_lgan_shares_plumbing_data_and_what_judges_images():
    shared = ("veegan_jax.common", "veegan_jax.data", "veegan_jax.networks.conv")
    judge = ("veegan_jax.metrics.classifier", "veegan_jax.metrics.classifier_files")

    def forbidden(names):
        return starting_with(names, "veegan_jax") - starting_with(
            names, *shared, *judge
        )

    assert offenders(modules("lgan_jax"), forbidden) == {}


def test_veegan_does_not_know_lgan():
    assert (
        offenders(modules("veegan_jax"), lambda n: starting_with(n, "lgan_jax")) == {}
    )


def test_methods_do_not_import_each_other():
    paths = [p for p in modules("veegan_jax/methods") if p.name != "__init__.py"]
    assert len(paths) >= 5

    def forbidden(names):
        return starting_with(names, "veegan_jax.methods")

    assert offenders(paths, forbidden) == {}


def test_plotting_and_tensorflow_are_imported_where_used():
    def forbidden(names):
        return starting_with(
            names, "matplotlib", "tensorflow", "tensorflow_datasets", "tensorboardX"
        )

    paths = modules(*PACKAGES)
    assert offenders(paths, forbidden, top_level_only=True) == {}
    # And they are used: the rule has something to hold.
    assert "veegan_jax/common/plots.py" in offenders(paths, forbidden)


@pytest.mark.parametrize(
    ("package", "knowing"),
    [
        ("absl.flags", {"veegan_jax/common/flags.py"}),
        ("absl", {"veegan_jax/common/flags.py", "veegan_jax/common/program.py"}),
    ],
)
def test_only_scripts_and_their_two_helpers_know_absl(package, knowing):
    found = offenders(modules(*PACKAGES), lambda names: starting_with(names, package))
    assert set(found) == knowing


def test_no_package_module_imports_a_script_or_a_test():
    def forbidden(names):
        return starting_with(names, "scripts", "tests", "conftest", "pytest", "torch")

    assert offenders(modules(*PACKAGES), forbidden) == {}
