"""Who may import whom: the floors of the library, held against its source. The table below is the documentation."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "mmsada_lab"
ROOT = Path(__file__).parents[1] / PACKAGE

# A unit is a top-level module or folder. It may import units of lower floors; units of one floor never import each
# other, except where BESIDE says so. Inside a folder, its own modules import each other freely.
FLOORS = {
    "cli": 5, "data_cli": 5, "weights_cli": 5, "batch": 5, "grids": 5,     # doors
    "demo": 5, "reproduce": 5, "recipes": 5,
    "notebooks": 5, "gallery": 5, "reference": 5,
    "experiment": 4, "trained": 4,                       # wires: a run, and what is done with a finished one
    "train": 3, "evaluate": 3, "checks": 3,              # loops, and what they need
    "acceleration": 3,                                   # what they run on
    "checkpoint": 3, "first_stage": 3,                   # where one continues
    "methods": 2,                                        # algorithms: where data, model and loss meet
    "data": 1, "models": 1, "losses": 1, "runs": 1, "validators": 1,  # neighbours
    "processes": 1,                                      # of which several train one model
    "paper": 0, "config": 0, "presets": 0, "errors": 0, "atomic": 0,  # facts (standard library only)
}  # fmt: skip
TOWER = {"analysis": {"runs", "config", "paper", "errors"}}  # beside the floors: looks at finished runs
TOWER_USERS = {"cli", "batch", "demo", "reproduce"}  # doors may open on the tower
BESIDE = {
    ("cli", "batch"),
    ("cli", "data_cli"),
    ("cli", "weights_cli"),
    ("cli", "demo"),
    ("cli", "recipes"),
    ("cli", "reproduce"),
    ("reproduce", "batch"),
    ("reproduce", "recipes"),
    ("demo", "batch"),
    ("cli", "grids"),
    ("batch", "grids"),
    ("grids", "notebooks"),
    ("demo", "notebooks"),
    ("cli", "notebooks"),
    ("cli", "gallery"),
    ("gallery", "notebooks"),
    ("cli", "reference"),
    ("reference", "notebooks"),
    ("config", "errors"),
    ("config", "paper"),
    ("presets", "config"),
    ("presets", "errors"),
    ("paper", "errors"),
}
TORCH_FREE = {
    "",
    "analysis",
    "runs",
    "config",
    "paper",
    "errors",
    "batch",
    "cli",
    "data_cli",
    "weights_cli",
    "grids",
    "recipes",
    "reproduce",
    "notebooks",
}  # while being imported; "" is __init__
TORCH = {"torch", "accelerate", "safetensors.torch"}
UNITS = FLOORS.keys() | TOWER.keys()


def unit_of(module: str) -> str:
    """The unit of a dotted module: `mmsada_lab.data.windows` is in `data`, the package itself in ``""``."""
    return [*module.split("."), ""][1]


def modules(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """Every module below the package's folder, as its dotted name and its syntax tree."""
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        yield ".".join([PACKAGE, *parts]).removesuffix(".__init__"), ast.parse(path.read_text(), str(path))


def imported(node: ast.stmt, module: str, *, is_package: bool) -> list[str]:
    """Dotted names an import statement may load, relative ones resolved; empty for any other statement."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    parents = module.split(".")
    above = parents[: len(parents) - node.level + is_package] if node.level else []
    base = ".".join(above + ([node.module] if node.module else []))
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]


def statements(tree: ast.AST, *, at_import_only: bool) -> Iterator[ast.stmt]:
    """All statements; with `at_import_only`, those that run on import: no function bodies, no TYPE_CHECKING blocks."""
    for child in ast.iter_child_nodes(tree):
        if at_import_only and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if at_import_only and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.stmt):
            yield child
        yield from statements(child, at_import_only=at_import_only)


def imports(root: Path, *, at_import_only: bool) -> Iterator[tuple[str, str]]:
    """Pairs (module, imported dotted name) of a source tree."""
    for module, tree in modules(root):
        is_package = (root.parent / Path(*module.split("."))).is_dir()
        for node in statements(tree, at_import_only=at_import_only):
            for name in imported(node, module, is_package=is_package):
                yield module, name


def allowed(importer: str, target: str) -> bool:
    """Whether one unit may import another."""
    if importer == target or (importer, target) in BESIDE:
        return True
    if importer in TOWER:
        return target in TOWER[importer]
    if target in TOWER:
        return importer in TOWER_USERS
    return importer == "" or FLOORS[target] < FLOORS[importer]


def floor_violations(root: Path) -> list[str]:
    """Every unit without a floor, and every import that goes up or sideways."""
    found = {unit_of(module) for module, _ in modules(root)} - {""}
    problems = [f"{unit} has no floor: add it to FLOORS" for unit in sorted(found - UNITS)]
    for module, name in imports(root, at_import_only=False):
        importer, target = unit_of(module), unit_of(name)
        known = (importer == "" or importer in UNITS) and target in UNITS
        if name.split(".")[0] == PACKAGE and known and not allowed(importer, target):
            problems.append(f"{module} imports {target}")
        if FLOORS.get(importer) == 0 and name.split(".")[0] not in {*sys.stdlib_module_names, PACKAGE}:
            problems.append(f"{module} imports {name}, and its floor is standard library only")
    return sorted(set(problems))


def needs_torch(root: Path) -> set[str]:
    """Modules that load torch while being imported, directly or through modules of the package."""
    tree = {module: set[str]() for module, _ in modules(root)}
    for module, name in imports(root, at_import_only=True):
        tree[module].add(name)
    loads = {module for module, names in tree.items() if any(is_torch(name) for name in names)}
    while grown := {module for module in tree.keys() - loads if closure(tree[module]) & loads}:
        loads |= grown
    return loads


def closure(names: set[str]) -> set[str]:
    """The names and their parent packages, which Python imports first."""
    return {".".join(parts[: end + 1]) for name in names for parts in [name.split(".")] for end in range(len(parts))}


def is_torch(name: str) -> bool:
    return any(name == torch or name.startswith(f"{torch}.") for torch in TORCH)


def torch_violations(root: Path) -> list[str]:
    """Torch-free modules that load torch while being imported."""
    return sorted(module for module in needs_torch(root) if unit_of(module) in TORCH_FREE)


def plant(folder: Path, files: dict[str, str]) -> Path:
    """Write a package of the given sources, with the `__init__` files Python needs."""
    root = folder / PACKAGE
    for name, source in {"__init__.py": "", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(source)
    return root


def test_the_library_keeps_its_floors() -> None:
    assert floor_violations(ROOT) == []


def test_the_torch_free_modules_are() -> None:
    assert torch_violations(ROOT) == []


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"losses.py": "from mmsada_lab.data import windows"}, "mmsada_lab.losses imports data"),
        ({"losses.py": "import mmsada_lab.models.heads"}, "mmsada_lab.losses imports models"),
        ({"models/heads.py": "from ..losses import total_loss"}, "mmsada_lab.models.heads imports losses"),
        ({"models/__init__.py": "from ..runs import load_runs"}, "mmsada_lab.models imports runs"),
        ({"methods.py": "from mmsada_lab import train"}, "mmsada_lab.methods imports train"),
        (
            {"methods.py": "def f():\n    from mmsada_lab.experiment import run"},
            "mmsada_lab.methods imports experiment",
        ),
        ({"runs.py": "if TYPE_CHECKING:\n    from mmsada_lab.models import i3d"}, "mmsada_lab.runs imports models"),
        ({"train.py": "import mmsada_lab.evaluate"}, "mmsada_lab.train imports evaluate"),
        ({"analysis/gap.py": "from mmsada_lab.data import epic"}, "mmsada_lab.analysis.gap imports data"),
        ({"experiment.py": "from mmsada_lab.analysis import tables"}, "mmsada_lab.experiment imports analysis"),
        ({"__init__.py": "", "common.py": ""}, "common has no floor: add it to FLOORS"),
        ({"paper.py": "import numpy as np"}, "mmsada_lab.paper imports numpy, and its floor is standard library only"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    assert floor_violations(plant(tmp_path, files)) == [problem]


@pytest.mark.parametrize(
    "files",
    [
        {"methods.py": "from mmsada_lab import losses\nfrom mmsada_lab.data.batches import Batch"},
        {"data/frames.py": "from mmsada_lab.data.segments import Segment\nfrom .windows import WindowRule"},
        {"analysis/tables.py": "from mmsada_lab.runs import load_runs\nfrom mmsada_lab import paper"},
        {"cli.py": "def table():\n    from mmsada_lab.analysis import tables\n    from mmsada_lab import batch"},
        {"config.py": "import dataclasses\nfrom mmsada_lab.errors import unknown"},
    ],
)
def test_what_the_floors_allow(tmp_path: Path, files: dict[str, str]) -> None:
    assert floor_violations(plant(tmp_path, files)) == []


@pytest.mark.parametrize(
    "files",
    [
        {"runs.py": "import torch"},
        {"runs.py": "class Loader:\n    import torch"},
        {"analysis/embedding.py": "from torch import nn"},
        {"batch.py": "from mmsada_lab.config import x", "config.py": "from accelerate import Accelerator"},
        {
            "cli.py": "try:\n    from mmsada_lab.experiment import run\nexcept ImportError: ...",
            "experiment.py": "import torch",
        },
        {"cli.py": "from mmsada_lab.data.segments import Segment", "data/__init__.py": "import torch"},
    ],
)
def test_planted_torch_is_found(tmp_path: Path, files: dict[str, str]) -> None:
    assert torch_violations(plant(tmp_path, files))


def test_torch_may_be_loaded_late(tmp_path: Path) -> None:
    late = "def main():\n    import torch"
    typed = "if TYPE_CHECKING:\n    import torch"
    assert torch_violations(plant(tmp_path, {"cli.py": late, "runs.py": typed, "losses.py": "import torch"})) == []


@pytest.mark.parametrize("module", ["mmsada_lab", "mmsada_lab.cli", "mmsada_lab.runs", "mmsada_lab.analysis"])
def test_importing_does_not_load_torch(module: str) -> None:
    """The same rule at run time, where third parties count too."""
    code = f"import sys, {module}; print('torch' in sys.modules)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    child = subprocess.run(command, cwd=ROOT.parent, capture_output=True, text=True, check=False)
    assert (child.stdout.strip(), child.stderr) == ("False", "")
