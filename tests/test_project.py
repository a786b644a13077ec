"""The project's own files agree with one another: dependencies, constraints, version, citation, no machine's paths."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import mmsada_lab

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {
    "torch": "pytorch",
    "opencv-contrib-python-headless": "py-opencv",
}  # where conda-forge's name is not PyPI's
MACHINE_PATH = re.compile(
    r"(?<![\w.])/(?:work|root|home|Users)/\w|file:" + r"//|/opt/(?:pypi|wheels)|/tmp/(?:proto|scaffold)"
)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def citation() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text())


def ranges(requirements: list[str]) -> dict[str, SpecifierSet]:
    parsed = map(Requirement, requirements)
    return {canonicalize_name(requirement.name): requirement.specifier for requirement in parsed}


def test_conda_environment_is_the_core_and_the_notebooks_extra(project: dict[str, Any]) -> None:
    wanted = ranges(project["dependencies"] + project["optional-dependencies"]["notebooks"])
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    found = ranges([entry for entry in entries if isinstance(entry, str)])
    assert found.pop("python") == SpecifierSet(project["requires-python"])
    found.pop("pip")
    assert found == {CONDA_NAMES.get(name, name): specifier for name, specifier in wanted.items()}


def test_conda_environment_installs_this_checkout() -> None:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert [entry["pip"] for entry in entries if isinstance(entry, dict)] == [["-e ."]]


def test_constraints_satisfy_every_range(project: dict[str, Any]) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = ranges([line for line in lines if line and not line.startswith("#")])
    extras = project["optional-dependencies"].values()
    for name, specifier in ranges(sum(extras, project["dependencies"])).items():
        version = Version(str(pinned[name]).removeprefix("=="))
        assert version in specifier, f"{name}: constraints.txt has {version}, pyproject.toml wants {specifier}"


def test_constraints_are_exact_and_portable() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins == [line for line in pins if re.fullmatch(r"[\w.-]+==[\w.]+", line)], "no paths, no local versions"


def test_pinned_packages_take_the_oldest_python_there_is_a_promise_for(project: dict[str, Any]) -> None:
    """Debian 12 has 3.11.2; a package that wants 3.11.5 cannot be installed there."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    oldest = f"{project['requires-python'].removeprefix('>=')}.0"
    for name in ranges([line for line in lines if line and not line.startswith("#")]):
        try:
            wanted = metadata(name).get("Requires-Python")
        except PackageNotFoundError:  # of another extra
            continue
        assert wanted is None or oldest in SpecifierSet(wanted), f"{name} {version(name)} wants Python {wanted}"


def test_every_dependency_has_an_upper_bound(project: dict[str, Any]) -> None:
    for name, specifier in ranges(project["dependencies"]).items():
        assert {part.operator for part in specifier} == {">=", "<"}, f"{name} needs a range such as >=1,<2"


def test_version_is_the_same_everywhere(citation: dict[str, Any]) -> None:
    headings = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings, "CHANGELOG.md has no '## [x.y.z]' heading"
    assert headings == sorted(headings, key=Version, reverse=True), "newest first"
    assert mmsada_lab.__version__ == headings[0] == citation["version"]


def test_citation_names_the_paper(citation: dict[str, Any]) -> None:
    paper = citation["preferred-citation"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert paper["title"] == "Multi-Modal Domain Adaptation for Fine-Grained Action Recognition"
    assert [author["family-names"] for author in paper["authors"]] == ["Munro", "Damen"]
    assert (paper["year"], paper["start"], paper["end"]) == (2020, 122, 132)


def tracked_files() -> list[Path]:
    """Files git tracks or would track; skips the test where the sources are no git checkout."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listing.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def machine_paths(text: str) -> list[str]:
    return [line.strip()[:120] for line in text.splitlines() if MACHINE_PATH.search(line)]


def test_no_file_holds_a_machines_paths() -> None:
    files = tracked_files()
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(errors="ignore") for path in files}
    assert "pyproject.toml" in texts
    assert {name: lines for name, text in texts.items() if (lines := machine_paths(text))} == {}


@pytest.mark.parametrize("folder", ["/ro" + "ot/x", "see /wo" + "rk/main", "'/ho" + "me/me/data'", "/opt/" + "wheels"])
def test_a_machine_path_is_seen(folder: str) -> None:
    assert machine_paths(folder)


@pytest.mark.parametrize("text", ["a/home/b", "https://host.org/work/x"[:16], "runs/demo", "data/root"])
def test_a_relative_path_is_fine(text: str) -> None:
    assert not machine_paths(text)


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "CONTRIBUTING.md", "Makefile", ".ci/run"])
def test_root_files_exist(name: str) -> None:
    assert (ROOT / name).is_file()


def test_make_help_lists_every_target() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    phony = next(line for line in lines if line.startswith(".PHONY")).split()[1:]
    explained = [match[1] for line in lines if (match := re.match(r"([a-z]+):.*## ", line))]
    assert sorted(explained) == sorted(phony)
