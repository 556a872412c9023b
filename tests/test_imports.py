"""Who may import whom, and what `import zoo` costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import zoo

ROOT = Path(zoo.__file__).parent
# From the ground up: a wing may import from lower floors, and a file from its own wing.
FLOORS = [
    {"errors"},
    {"layers", "losses", "data"},
    {"norm"},
    {"models"},
    {"weights"},
    {"plots", "explain"},
    {"training"},
    {"bench"},
    {"cli"},
    {"__main__"},
]


def zoo_imports(path: Path) -> list[tuple[str, ...]]:
    """The modules of zoo that a file imports, anywhere in it, as paths below zoo."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            names.append(("relative",))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "zoo":
            below = tuple(node.module.split(".")[1:])
            names += [(*below, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [tuple(a.name.split(".")[1:]) for a in node.names if a.name.split(".")[0] == "zoo"]
    return names


def wing(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def floor(name: str) -> int:
    return next(i for i, names in enumerate(FLOORS) if name in names)


MODULES = [path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"]


def test_every_wing_has_its_floor_and_nothing_else_lies_about():
    entries = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert entries - {"__init__"} == set().union(*FLOORS)


def test_no_module_imports_from_a_floor_above_or_another_wing_of_its_own():
    wrong = []
    for path in MODULES:
        for target in {names[0] for names in zoo_imports(path)} - {wing(path)}:
            if floor(target) >= floor(wing(path)):
                wrong.append(f"{path.relative_to(ROOT)} imports {target}")
    assert not wrong


def test_no_files_import_each_other_in_a_circle():
    def module(names: tuple[str, ...]) -> Path | None:
        """The file that an import means: a name of a module, or a module itself."""
        for parts in (names, names[:-1]):
            for path in (ROOT.joinpath(*parts).with_suffix(".py"), ROOT.joinpath(*parts, "__init__.py")):
                if parts and path in MODULES:
                    return path
        return None

    arrows = {path: {module(names) for names in zoo_imports(path)} - {None, path} for path in MODULES}
    while free := [path for path, targets in arrows.items() if not targets & set(arrows)]:
        for path in free:
            del arrows[path]
    assert not arrows, "circle among " + ", ".join(str(path.relative_to(ROOT)) for path in arrows)


def test_families_import_what_they_share_and_never_each_other():
    shared = {"net", "variants", "values", "layout", "branches", "inception", "preactivation", "residual"}
    shared |= {"separable", "squeeze_excite"}
    above = {"registry", "summary", "__init__"}
    for path in (ROOT / "models").glob("*.py"):
        if path.stem in shared | above:
            continue
        targets = {names[1] for names in zoo_imports(path) if names[0] == "models"}
        assert targets <= shared, f"{path.stem} imports {targets - shared}"


def test_import_zoo_brings_in_nothing_that_jax_flax_optax_and_numpy_do_not():
    modules = "print(*{m.split('.')[0] for m in sys.modules})"
    code = f"import sys, jax, flax.linen, optax, numpy; {modules}; import zoo; {modules}"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = (set(line.split()) for line in answer.stdout.splitlines())
    assert after - before == {"zoo"}


def test_a_name_is_loaded_when_it_is_used():
    code = "import sys, zoo; print('jax' in sys.modules); zoo.create; print('jax' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="'zoo' has no attribute 'creat'"):
        _ = zoo.creat


@pytest.mark.parametrize(
    ("words", "loaded"),
    [
        ("--help", {"rich"}),
        ("--version", {"rich"}),
        ("trian", {"rich"}),
        ("list res*", {"rich", "tyro"}),
        ("list --help", {"rich", "tyro"}),
        ("show --help", {"rich", "tyro"}),
        ("show --image-sise", {"rich", "tyro"}),
    ],
)
def test_what_needs_no_net_loads_none(words, loaded):
    """Of what the project depends on."""
    heavy = {"jax", "jaxlib", "flax", "optax", "numpy", "safetensors", "PIL", "matplotlib", "rich", "tyro"}
    code = (
        "import atexit, sys; atexit.register(lambda: print('\\n', *{m.split('.')[0] for m in sys.modules}));"
        "from zoo.__main__ import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, *words.split()]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == (2 if words in ("trian", "show --image-sise") else 0)
    assert "Traceback" not in answer.stderr
    assert heavy & set(answer.stdout.splitlines()[-1].split()) == loaded


def test_every_public_name_exists_after_import_zoo():
    missing = [name for name in zoo.__all__ if not hasattr(zoo, name)]
    assert not missing
    assert callable(zoo.batch_norm)
