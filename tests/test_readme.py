"""What a newcomer reads first is true: the README's Python runs, commands and links exist, the tree is the package."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from mmsada_lab.cli.main import app
from mmsada_lab.presets import override_keys

ROOT = Path(__file__).parents[1]
README, CONTRIBUTING = (ROOT / name for name in ("README.md", "CONTRIBUTING.md"))
PAGES = [README, CONTRIBUTING, *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """Code blocks of a page in a language ("" for none)."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def test_the_readme_is_read_in_three_minutes() -> None:
    assert len(README.read_text().splitlines()) <= 150


WIDEST = 92
"""Characters of a line of code that GitHub shows without scrolling."""


def test_no_line_of_code_scrolls() -> None:
    code = re.findall(r"^```\w*\n(.*?)^```$", README.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert [line for block in code for line in block.splitlines() if len(line) > WIDEST] == []


def test_twelve_lines_of_python(tmp_path: Path) -> None:
    """As they stand, on a tenth of the steps."""
    (code,) = blocks(README, "python")
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 12
    assert '{"adapt.steps": 200}' in code
    short = code.replace('{"adapt.steps": 200}', '{"pretrain.steps": 6, "adapt.steps": 6, "evaluate_every": 3}')
    command = [sys.executable, "-W", "ignore", "-c", f"{short}\nprint(sorted(predictions.probabilities))"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "source_only" in done.stdout
    assert done.stdout.endswith("['flow', 'fused', 'rgb']\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist_and_options_are_known(page: Path) -> None:
    """Every `mmsada ...` in a block: its verb, its flags, and the keys after -o."""
    group = get_command(app)
    for line in "\n".join(blocks(page, "")).splitlines():
        match = re.match(r"mmsada (.*?)(?:\s{2,}#.*|#.*)?$", line)
        if match is None or match[1].startswith("--"):
            continue
        words = [word for word in shlex.split(match[1]) if word != "..."]
        command = group
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        flags = {flag for parameter in command.params for flag in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= flags, line
        keys = [words[at + 1].partition("=")[0] for at, word in enumerate(words) if word == "-o"]
        assert set(keys) <= set(override_keys()), line


def test_the_tree_in_contributing_is_the_package() -> None:
    tree = next(block for block in blocks(CONTRIBUTING, "") if block.startswith("mmsada_lab/\n"))
    named = set(re.findall(r"^  (\w+\.py|\w+/)", tree, flags=re.MULTILINE)) | set(re.findall(r"\s{4,}(\w+\.py)", tree))
    package = ROOT / "mmsada_lab"
    files = {path.name for path in package.glob("*.py")}
    wings = {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()}
    assert named == files | wings
