"""Who may import whom, and what `import zoo` costs."""

import ast
import subprocess
import sys
from pathlib import Path

import zoo

ROOT = Path(zoo.__file__).parent
# From the ground up: a module may import from lower floors only.
FLOORS = [
    {"dtypes", "losses", "data"},
    {"normalise"},
    {"batch_norm"},
    {"layers", "train"},
    {"models"},
    {"registry"},
    {"weights", "statistics", "folding", "summary"},
    {"files", "preprocess"},
    {"convert", "predict", "run"},
    {"curves"},
    {"fit"},
    {"display"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
ALLOWED_ON_ONE_FLOOR = {("layers", "batch_norm"), ("train", "batch_norm")}


def zoo_imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "zoo":
            parts = node.module.split(".")
            names |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("zoo.")}
    return names


def floor(name: str) -> int:
    return next(i for i, names in enumerate(FLOORS) if name in names)


def test_no_module_imports_from_a_floor_above_or_its_own():
    wrong = []
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts == ("__init__",):
            continue
        for target in zoo_imports(path) - {parts[0]}:
            same = floor(target) == floor(parts[0]) and (parts[0], target) not in ALLOWED_ON_ONE_FLOOR
            if floor(target) > floor(parts[0]) or same:
                wrong.append(f"{'.'.join(parts)} imports {target}")
    assert not wrong


def test_families_do_not_import_each_other():
    shared = {"net", "variant", "layout"}
    families = [p for p in (ROOT / "models").glob("*.py") if p.stem not in shared | {"__init__"}]
    for path in families:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("zoo.models"):
                assert node.module.split(".")[-1] in shared, f"{path.stem} imports {node.module}"


def test_import_zoo_brings_in_nothing_that_jax_flax_optax_and_numpy_do_not():
    modules = "print(*{m.split('.')[0] for m in sys.modules})"
    code = f"import sys, jax, flax.linen, optax, numpy; {modules}; import zoo; {modules}"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = (set(line.split()) for line in answer.stdout.splitlines())
    assert after - before == {"zoo"}
