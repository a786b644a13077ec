"""A GRID.yaml as plain values: read with care, and with the plain rules of YAML 1.2 for what a word means."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from mmsada_lab.errors import UserError

LARGEST = 1_000_000
"""Bytes; a larger file is no grid."""


class _Loader(yaml.SafeLoader):
    """Refuses doubled keys and references; only true and false are booleans, and 1e-7 is a number.

    Under the rules of YAML 1.1, which PyYAML follows, ``precision: no`` would be False, ``010`` 8 and ``1e-7`` a text.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own name

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise UserError(f"line {mark.line + 1} refers to another place (*name); write the values out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise UserError(f"line {node.value[number][0].start_mark.line + 1} gives {key!r} a second time")
        return super().construct_mapping(node, deep=deep)


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", ["n", "~", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(str(loader.construct_scalar(node)))


_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)


def read_grid_file(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping; nothing in it is executed.

    Raises:
        UserError: if it cannot be read, is no YAML, has a key twice, or holds something else than a mapping.
    """
    try:
        if Path(path).stat().st_size > LARGEST:
            raise UserError(f"{path} has more than {LARGEST} bytes; that is no grid")
        content = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise UserError(f"cannot read the grid {path}: {error.strerror or error}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not readable YAML ({reason})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds {type(content).__name__}; give fields and values, as in methods: [mmsada]")
    return content
