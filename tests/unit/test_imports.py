"""The layers: the source is read, so that no import can hide."""

import ast
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
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


# From the bottom to the top; a module may import from its own layer and from below.
LAYERS = (
    ("common",),
    ("runtime", "cost"),
    ("config", "data", "networks"),
    ("methods",),
    ("metrics", "classifier"),
    ("presets",),
    ("experiments",),
)


def layer(name: str) -> int | None:
    """The layer of a dotted name of veegan_jax; None for the package itself."""
    parts = name.split(".")
    places = [i for i, packages in enumerate(LAYERS) if parts[1:2][0] in packages]
    assert places, f"{name} belongs to no layer"
    return places[0]


def test_data_flows_one_way():
    seen = set()
    for path in modules("veegan_jax"):
        if path.parent == ROOT / "veegan_jax" and path.name in (
            "__init__.py",
            "gan.py",
        ):
            continue  # the public face
        own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        names = starting_with(imports(path.read_text()), "veegan_jax")
        for name in names:
            assert name != "veegan_jax", f"{own} imports the public face"
            assert layer(name) <= layer(own), f"{own} imports {name}"
            seen.add((layer(name), layer(own)))
    assert len(seen) > len(LAYERS)  # the rule has something to hold


def test_modules_import_each_other_without_a_circle():
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
            ".__init__"
        ): imports(path.read_text())
        for path in modules(*PACKAGES)
    }

    def module_of(name: str) -> str | None:
        while name and name not in files:
            name = name.rpartition(".")[0]
        return name or None

    # A package's __init__ may import its own modules, which import names below them.
    graph = {
        own: {m for n in names if (m := module_of(n)) and not own.startswith(m)}
        for own, names in files.items()
    }
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_lgan_shares_plumbing_data_and_what_judges_images():
    shared = ("common", "runtime", "cost", "data", "classifier")
    names_of = [f"veegan_jax.{name}" for name in shared]
    modules_of = ("veegan_jax.methods.base", "veegan_jax.networks.conv")

    def forbidden(names):
        ours = starting_with(names, "veegan_jax")
        return ours - starting_with(names, *names_of, *modules_of)

    assert offenders(modules("lgan_jax"), forbidden) == {}


def test_networks_know_no_training_state():
    def forbidden(names):
        return starting_with(names, "optax", "veegan_jax.methods")

    assert offenders(modules("veegan_jax/networks"), forbidden) == {}


def test_veegan_does_not_know_lgan():
    assert (
        offenders(modules("veegan_jax"), lambda n: starting_with(n, "lgan_jax")) == {}
    )


def test_methods_do_not_import_each_other():
    shared = ("__init__.py", "base.py", "critic.py", "slope_penalty.py")
    paths = [p for p in modules("veegan_jax/methods") if p.name not in shared]
    assert len(paths) >= 5

    def forbidden(names):
        allowed = (f"veegan_jax.methods.{name[:-3]}" for name in shared[1:])
        ours = starting_with(names, "veegan_jax.methods")
        return ours - starting_with(names, *allowed)

    # ALICE is ALI with one more term.
    alone = {"veegan_jax/methods/alice.py": {"veegan_jax.methods.ali"}}
    assert offenders(paths, forbidden) == alone


def test_plotting_and_tensorflow_are_imported_where_used():
    def forbidden(names):
        return starting_with(
            names, "matplotlib", "tensorflow", "tensorflow_datasets", "tensorboard"
        )

    paths = modules(*PACKAGES)
    assert offenders(paths, forbidden, top_level_only=True) == {}
    # And they are used: the rule has something to hold.
    assert "veegan_jax/common/plots.py" in offenders(paths, forbidden)


@pytest.mark.parametrize(
    ("package", "knowing"),
    [
        ("absl.flags", {"veegan_jax/common/flags.py"}),
        ("absl", {"veegan_jax/common/flags.py", "veegan_jax/runtime/program.py"}),
    ],
)
def test_only_scripts_and_their_two_helpers_know_absl(package, knowing):
    found = offenders(modules(*PACKAGES), lambda names: starting_with(names, package))
    assert set(found) == knowing


def test_the_benchmarks_share_the_scripts_first_import():
    """The path of a script is searched first, so they need a link, and no copy."""
    link = ROOT / "scripts/bench/early.py"
    assert link.is_symlink() and link.resolve() == ROOT / "scripts/early.py"


def test_no_package_module_imports_a_script_or_a_test():
    def forbidden(names):
        return starting_with(names, "scripts", "tests", "conftest", "pytest", "torch")

    assert offenders(modules(*PACKAGES), forbidden) == {}


def test_tests_share_helpers_only_through_support():
    """A test file that imports another one breaks when either is moved."""
    files = {path.stem for path in modules("tests") if path.parent.name != "support"}

    def forbidden(names):
        return starting_with(names, *files, "tests")

    assert offenders(modules("tests"), forbidden) == {}
