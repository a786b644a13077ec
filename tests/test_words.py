"""One word for one thing: what may not stand twice in the package, and words that say nothing."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "mmsada_lab"

SAY_NOTHING = {"found", "one", "part", "parts", "some", "made", "said", "stuff", "info", "thing", "tmp", "res", "ret"}
"""As names of variables: the noun they stand for is better."""

MODULES_THAT_SAY_NOTHING = {"utils", "util", "common", "helpers", "misc", "base", "core", "lib", "tools"}


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())


def classes() -> dict[str, list[str]]:
    """Where every class is defined."""
    places = defaultdict(list)
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path)
    return places


def constants() -> dict[str, list[str]]:
    """Where every public constant of a module is assigned."""
    places = defaultdict(list)
    for path, tree in trees():
        for node in tree.body:
            targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
            names = [name for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
            for name in names:
                if name.id.isupper() and len(name.id) > 1 and name.id[0] != "_":  # T is a type
                    places[name.id].append(path)
    return places


def test_a_class_has_a_name_of_its_own() -> None:
    assert {name: paths for name, paths in classes().items() if len(paths) > 1} == {}


def test_a_constant_stands_once() -> None:
    assert {name: paths for name, paths in constants().items() if len(paths) > 1} == {}


def test_variables_have_nouns() -> None:
    """Assignments, loops and comprehensions; arguments and fields are words of an interface, which reviews read."""
    places = [
        f"{path}:{node.lineno} {node.id}"
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in SAY_NOTHING
    ]
    assert places == []


def test_modules_say_what_they_hold() -> None:
    names = {part.removesuffix(".py") for path, _ in trees() for part in Path(path).parts}
    assert not names & MODULES_THAT_SAY_NOTHING
