"""Grids of runs: methods, pairs, seeds and swept fields, given by arguments or by a GRID.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import permutations, product
from pathlib import Path
from typing import Any

import yaml

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.facts import METHODS
from mmsada_lab.presets import build_config, flatten, has_effect, override_keys
from mmsada_lab.publish.notebooks import RUN_NOTEBOOK

Pair = tuple[str, str]
"""Source and target."""


def _require_known(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)


def build_grid(
    domains: Sequence[str],
    *,
    methods: Iterable[str],
    seeds: Iterable[int],
    data: str,
    preset: str,
    pairs: Sequence[Pair] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[ExperimentConfig]:
    """Configurations of every method on every pair of domains with every seed, each once, seed by seed.

    A method that needs no source has one run per target and seed.

    Args:
        domains: names.
        methods: keys of `METHODS`.
        seeds: seeds.
        data: data specification.
        preset: key of `PRESETS`.
        pairs: to use instead of every ordered pair of `domains`.
        overrides: field -> value, see `build_config`.

    Raises:
        UserError: unknown method, or what `build_config` refuses.

    Example:
        >>> methods = ("mmsada", "supervised_target")
        >>> configs = build_grid(["D1", "D2"], methods=methods, seeds=[0], data="kitchens", preset="quick")
        >>> [str(config.pair) for config in configs]
        ['D1→D2', 'D2→D1', 'D1→D1', 'D2→D2']
    """
    targets = list(domains) if pairs is None else sorted({target for _, target in pairs})
    pairs = list(permutations(domains, 2)) if pairs is None else pairs
    configs = []
    for seed, method in product(seeds, methods):
        _require_known("method", [method], METHODS)
        shared: dict[str, Any] = {"method": method, "data": data, "seed": seed, "overrides": overrides}
        chosen = pairs if METHODS[method].needs_source else [(None, target) for target in targets]
        configs += [build_config(preset, source=source, target=target, **shared) for source, target in chosen]
    return unique_configs(configs)


def unique_configs(configs: Iterable[ExperimentConfig]) -> list[ExperimentConfig]:
    """Each configuration once."""
    return list({config.digest: config for config in configs}.values())


@dataclass(frozen=True)
class Grid:
    """What a GRID.yaml asks for.

    Attributes:
        preset: key of `PRESETS`; None for ``quick``.
        pairs: ``D2-D1`` each, or None for every ordered pair of `domains`.
        domains: to take pairs of; None for all of the data set.
        overrides: field -> value, see `build_config`.
        sweep: field -> values; every combination is run.
        notebook: to execute for each run, or None to train without one.
    """

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    data: str = "kitchens"
    preset: str | None = None
    pairs: tuple[str, ...] | None = None
    domains: tuple[str, ...] | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    sweep: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    notebook: str | None = None

    def configs(self, domains: Sequence[str]) -> list[ExperimentConfig]:
        """Configurations of all runs on the domains of a data set, each once, seed by seed.

        A field without effect on a method (a weight of a term it lacks, ``reversal_coefficient`` where nothing is
        reversed) is not set for it, and does not multiply its runs.

        Raises:
            UserError: unknown domain, a field without effect on any of the methods, or what `build_config` refuses.
        """
        for key in (*self.overrides, *self.sweep):
            if not any(has_effect(key, method) for method in self.methods):
                raise UserError(f"{key} changes nothing for {', '.join(self.methods)}; leave it out")
        _require_known("domain", self.domains or (), domains)
        pairs = None if self.pairs is None else [split_pair(pair, domains) for pair in self.pairs]
        shared: dict[str, Any] = {"data": self.data, "preset": self.preset or "quick", "pairs": pairs}
        configs: list[ExperimentConfig] = []
        for seed, method in product(self.seeds, self.methods):
            for setting in self._settings(method):
                shared |= {"methods": [method], "seeds": [seed], "overrides": setting}
                configs += build_grid(self.domains or domains, **shared)
        return unique_configs(configs)

    def _settings(self, method: str) -> Iterator[dict[str, Any]]:
        """The overrides of each combination that is swept, for one method."""
        fixed = {key: value for key, value in self.overrides.items() if has_effect(key, method)}
        swept = {key: values for key, values in self.sweep.items() if has_effect(key, method)}
        for values in product(*swept.values()):
            yield fixed | dict(zip(swept, values, strict=True))


def split_pair(pair: str, known: Sequence[str]) -> Pair:
    """``D2-D1`` as source and target; names may have dashes of their own."""
    matches = [chosen for chosen in product(known, known) if "-".join(chosen) == pair]
    if len(matches) != 1:
        raise UserError(f"pair {pair!r} is not source-target, two of the domains {', '.join(known)}")
    return matches[0]


def load_grid(path: Path) -> Grid:
    """Read a GRID.yaml: ``methods`` and ``seeds``, and, where the defaults do not serve, the other fields of `Grid`.

    ``methods`` may be ``all``; ``seeds`` is a number (so many, from 0) or a list; ``pairs`` is ``all`` or a list
    such as ``[D2-D1, D1-D3]``; fields of a stage are written ``adapt.steps: 500`` or nested, ``adapt: {steps: 500}``.

    Raises:
        UserError: naming the file, for whatever is unknown, missing, doubled or of another type.
    """
    try:
        return _checked(yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader))
    except OSError as error:
        raise UserError(f"cannot read the grid {path}: {error.strerror or error}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not readable YAML ({reason})") from error


def _checked(content: object) -> Grid:
    if not isinstance(content, dict):
        raise UserError(f"the file holds {type(content).__name__}; give fields and values, as in methods: [mmsada]")
    _require_known("key", content, [f.name for f in fields(Grid)])
    for key, example in (("methods", "[source_only, mmsada]"), ("seeds", "3")):
        if key not in content:
            raise UserError(f"no {key}; say e.g. {key}: {example}")
    methods, pairs, domains = (_names(key, content.get(key, "all")) for key in ("methods", "pairs", "domains"))
    _require_known("method", methods or (), METHODS)
    if pairs is not None and domains is not None:
        raise UserError("both pairs and domains are given; name the pairs, or the domains to take all pairs of")
    if domains is not None and len(domains) < 2:
        raise UserError(f"domains are {list(domains)}; a pair needs two")
    return _grid(content, methods=methods or tuple(METHODS), pairs=pairs, domains=domains)


def _grid(content: dict[str, Any], **names: Any) -> Grid:
    notebook = content.get("notebook", False)
    return Grid(
        **names,
        seeds=_seeds(content["seeds"]),
        data=_text("data", content.get("data", "kitchens")),
        preset=_text("preset", content["preset"]) if "preset" in content else None,
        overrides=_fields("overrides", content),
        sweep={key: _values(f"sweep of {key}", values) for key, values in _fields("sweep", content).items()},
        notebook=(RUN_NOTEBOOK if notebook else None) if isinstance(notebook, bool) else _text("notebook", notebook),
    )


def _names(key: str, value: object) -> tuple[str, ...] | None:
    """A list of texts, each once, or None for ``all``."""
    if value == "all":
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise UserError(f"{key} is {value!r}; give all, or a list of names in brackets (quote those that are numbers)")
    return _values(key, value)


def _seeds(value: object) -> tuple[int, ...]:
    if type(value) is int and value > 0:
        return tuple(range(value))
    if not isinstance(value, list) or not all(type(seed) is int and seed >= 0 for seed in value):
        raise UserError(f"seeds is {value!r}; give how many (above 0), or a list of numbers such as [0, 1, 7]")
    return _values("seeds", value)


def _values(key: str, values: object) -> tuple[Any, ...]:
    """A list of values, each once."""
    if not isinstance(values, list):
        raise UserError(f"{key} is {values!r}; give a list of values")
    if not values:
        raise UserError(f"{key} is an empty list; give at least one value")
    if repeated := [value for number, value in enumerate(values) if value in values[:number]]:
        raise UserError(f"{key} names {repeated[0]!r} twice; give each once")
    return tuple(values)


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise UserError(f"{key} is {value!r}; give a text")
    return value


def _fields(name: str, content: dict[str, Any]) -> dict[str, Any]:
    value = content.get(name, {})
    if not isinstance(value, dict):
        raise UserError(f"{name} is {value!r}; give fields and values, as in {name}: {{batch_size: 32}}")
    flat = flatten(value)
    _require_known(f"field in {name}", flat, override_keys())
    return flat


class _Loader(yaml.SafeLoader):
    """YAML 1.2 without repeated keys and references; by PyYAML's 1.1 ``no`` is False, ``010`` 8 and ``1e-7`` a text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own name

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):  # a few lines of references can stand for billions of values
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


_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))
