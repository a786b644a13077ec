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

# A unit is a module at the top of the package (the spine) or a folder (a wing). It may import units of lower floors,
# never one beside or above it. Inside a wing its own modules import each other freely, but its folders do not: no
# dataset format knows another.
FLOORS = (
    "errors facts paper",                               # facts
    "config files losses",                              # options and equations
    "presets runs models validators",
    "runtime checkpoint analysis",                      # how a step is computed; where a run goes on; what it showed
    "clips",                                            # how a clip comes to be
    "pretexts",
    "methods train evaluate datasets",
    "experiment trained publish prepare",
    "explorer",
    "sweeps",
    "lessons",
    "cli",
)  # fmt: skip
FLOOR = {unit: number for number, units in enumerate(FLOORS) for unit in units.split()}
SPINE = set(
    "paper facts config presets losses pretexts methods train evaluate validators experiment checkpoint runs trained "
    "errors files".split()
)
ONLY = {
    "prepare": {"cli", "explorer", "lessons"},
    "publish": {"cli", "sweeps"},
}  # who may import them, whatever their floor
EXCEPTIONS: dict[tuple[str, str], str] = {}  # (importing module, imported unit) -> why; one that is not needed is red
STANDARD_LIBRARY_ONLY = {"errors", "paper", "facts", "config", "presets"}
TORCH_FREE = set("errors paper facts config files presets runs validators analysis publish sweeps cli".split()) | {""}
"""While being imported; "" is the face, `mmsada_lab/__init__.py`."""
TORCH = {"torch", "accelerate", "safetensors.torch"}


def unit_of(module: str) -> str:
    """The unit of a dotted module: `mmsada_lab.clips.windows` is in `data`, the package itself in ``""``."""
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


def folder_of(module: str) -> str:
    """The folder of a wing that a module lies in: `mmsada_lab.datasets.epic.loader` in `epic`; "" for none."""
    parts = module.split(".")
    return parts[2] if len(parts) > 3 else ""


def trouble(module: str, name: str, folders: set[str]) -> str | None:
    """What is wrong with an import by a module, or None."""
    importer, target = unit_of(module), unit_of(name)
    if name.split(".", maxsplit=1)[0] != PACKAGE:
        outside = importer in STANDARD_LIBRARY_ONLY and name.split(".", maxsplit=1)[0] not in sys.stdlib_module_names
        return f"{module} imports {name}, but {importer} is standard library only" if outside else None
    if target not in FLOOR or importer not in FLOOR or (module, target) in EXCEPTIONS:
        return None
    if importer == target:
        own, other = folder_of(module), name.split(".")[2:3]
        beside = own and other and other[0] != own and f"{importer}.{other[0]}" in folders
        return f"{module} imports {importer}.{other[0]}, a folder beside its own" if beside else None
    if importer not in ONLY.get(target, {importer}):
        return f"{module} imports {target}, which only {' and '.join(sorted(ONLY[target]))} may"
    return None if FLOOR[target] < FLOOR[importer] else f"{module} imports {target}"


def floor_violations(root: Path) -> list[str]:
    """Every unit without a floor, and every import that goes up or sideways."""
    units = {unit_of(module) for module, _ in modules(root)} - {""}
    problems = [f"{unit} has no floor: add it to FLOORS" for unit in sorted(units - FLOOR.keys())]
    loose = {path.stem for path in root.glob("*.py")} & FLOOR.keys() - SPINE
    problems += [f"{unit} lies at the top but is not of the spine" for unit in sorted(loose)]
    folders = {".".join(path.relative_to(root).parts) for path in root.glob("*/*/") if path.is_dir()}
    pairs = imports(root, at_import_only=False)
    problems += [found for module, name in pairs if (found := trouble(module, name, folders))]
    return sorted(set(problems))


def unneeded_exceptions(root: Path) -> list[tuple[str, str]]:
    """Exceptions that no import makes use of."""
    used = {(module, unit_of(name)) for module, name in imports(root, at_import_only=False)}
    return sorted(exception for exception in EXCEPTIONS if exception not in used)


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


def test_every_exception_is_needed() -> None:
    assert unneeded_exceptions(ROOT) == []


def test_an_exception_that_nothing_needs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = plant(tmp_path, {"train.py": "from mmsada_lab import evaluate"})
    monkeypatch.setitem(EXCEPTIONS, ("mmsada_lab.train", "evaluate"), "planted")
    assert (floor_violations(root), unneeded_exceptions(root)) == ([], [])
    monkeypatch.setitem(EXCEPTIONS, ("mmsada_lab.train", "methods"), "planted")
    assert unneeded_exceptions(root) == [("mmsada_lab.train", "methods")]


def test_the_spine_is_what_lies_at_the_top() -> None:
    assert {path.stem for path in ROOT.glob("*.py")} == SPINE | {"__init__"}


def test_the_torch_free_modules_are() -> None:
    assert torch_violations(ROOT) == []


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"losses.py": "from mmsada_lab.clips import windows"}, "mmsada_lab.losses imports clips"),
        ({"losses.py": "import mmsada_lab.models.heads"}, "mmsada_lab.losses imports models"),
        ({"models/__init__.py": "from ..runs import load_runs"}, "mmsada_lab.models imports runs"),
        ({"models/heads.py": "from ..clips import batches"}, "mmsada_lab.models.heads imports clips"),
        ({"methods.py": "from mmsada_lab import train"}, "mmsada_lab.methods imports train"),
        (
            {"methods.py": "def f():\n    from mmsada_lab.experiment import run"},
            "mmsada_lab.methods imports experiment",
        ),
        ({"runs.py": "if TYPE_CHECKING:\n    from mmsada_lab.models import i3d"}, "mmsada_lab.runs imports models"),
        ({"train.py": "import mmsada_lab.evaluate"}, "mmsada_lab.train imports evaluate"),
        ({"analysis/gap/table.py": "from mmsada_lab.clips import x"}, "mmsada_lab.analysis.gap.table imports clips"),
        ({"runtime/device.py": "from mmsada_lab.analysis import style"}, "mmsada_lab.runtime.device imports analysis"),
        ({"__init__.py": "", "common.py": ""}, "common has no floor: add it to FLOORS"),
        ({"clips.py": ""}, "clips lies at the top but is not of the spine"),
        ({"paper.py": "import numpy as np"}, "mmsada_lab.paper imports numpy, but paper is standard library only"),
        (
            {
                "datasets/epic/loader.py": "from mmsada_lab.datasets.kitchens import store",
                "datasets/kitchens/store.py": "",
            },
            "mmsada_lab.datasets.epic.loader imports datasets.kitchens, a folder beside its own",
        ),
        (
            {"sweeps/batch.py": "from mmsada_lab.prepare.doctor import report"},
            "mmsada_lab.sweeps.batch imports prepare, which only cli and explorer and lessons may",
        ),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    assert floor_violations(plant(tmp_path, files)) == [problem]


@pytest.mark.parametrize(
    "files",
    [
        {"methods.py": "from mmsada_lab import losses\nfrom mmsada_lab.clips.batches import Batch"},
        {"clips/batches.py": "from mmsada_lab.clips.segments import Segment\nfrom .windows import WindowRule"},
        {"datasets/open.py": "def f():\n    from .epic import loader", "datasets/epic/loader.py": ""},
        {"datasets/epic/loader.py": "from mmsada_lab.datasets.tables import tidy", "datasets/tables.py": ""},
        {"analysis/tables.py": "from mmsada_lab.runs import load_runs\nfrom mmsada_lab import paper"},
        {"cli/main.py": "def f():\n    from mmsada_lab.prepare import doctor\n    from mmsada_lab.sweeps import batch"},
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
        {"sweeps/batch.py": "from mmsada_lab.config import x", "config.py": "from accelerate import Accelerator"},
        {
            "cli/main.py": "try:\n    from mmsada_lab.experiment import run\nexcept ImportError: ...",
            "experiment.py": "import torch",
        },
        {"cli/main.py": "from mmsada_lab.clips.segments import Segment", "clips/__init__.py": "import torch"},
    ],
)
def test_planted_torch_is_found(tmp_path: Path, files: dict[str, str]) -> None:
    assert torch_violations(plant(tmp_path, files))


def test_torch_may_be_loaded_late(tmp_path: Path) -> None:
    late = "def main():\n    import torch"
    typed = "if TYPE_CHECKING:\n    import torch"
    assert torch_violations(plant(tmp_path, {"cli/main.py": late, "runs.py": typed, "losses.py": "import torch"})) == []


@pytest.mark.parametrize("module", ["mmsada_lab", "mmsada_lab.cli.main", "mmsada_lab.runs", "mmsada_lab.analysis"])
def test_importing_does_not_load_torch(module: str) -> None:
    """The same rule at run time, where third parties count too."""
    code = f"import sys, {module}; print('torch' in sys.modules)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    child = subprocess.run(command, cwd=ROOT.parent, capture_output=True, text=True, check=False)
    assert (child.stdout.strip(), child.stderr) == ("False", "")
