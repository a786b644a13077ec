"""Grids of runs: methods, pairs, seeds and swept fields, given by arguments or by a GRID.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import permutations, product
from pathlib import Path
from typing import Any

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.facts import METHODS
from mmsada_lab.presets import build_config, has_effect, override_keys
from mmsada_lab.publish.notebooks import RUN_NOTEBOOK
from mmsada_lab.sweeps.grid_file import read_grid_file

DomainChoice = tuple[str | None, str]
"""Source (None for supervised target) and target."""


@dataclass(frozen=True)
class Grid:
    """What a GRID.yaml asks for.

    Attributes:
        methods: keys of `METHODS`.
        seeds: each once.
        data: data specification.
        preset: key of `PRESETS`; None for ``quick``.
        pairs: ``D2-D1`` each, or None for every ordered pair of `domains`.
        domains: to take pairs of; None for all of the data set.
        overrides: field -> value, see `build_config`.
        sweep: field -> values; every combination is run.
        notebook: to execute for each run, or None to train without one.
        origin: the file, for messages.
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
    origin: str = "grid"

    def configs(self, domains: Iterable[str]) -> list[ExperimentConfig]:
        """Configurations of all runs, each once, seed by seed.

        A field that means nothing to a method (a weight of a term it lacks, ``reversal_coefficient`` where nothing is
        reversed) is not set for it, and does not multiply its runs.

        Args:
            domains: all of the data set.

        Raises:
            UserError: unknown domain, a field that none of the methods has, or what `build_config` refuses.
        """
        self._require_effect()
        chosen = self._pairs(list(domains))
        settings = {method: list(self._settings(method)) for method in self.methods}
        try:
            found = [
                build_config(
                    self.preset or "quick",
                    source=source,
                    target=target,
                    method=method,
                    data=self.data,
                    seed=seed,
                    overrides=setting,
                )
                for seed in self.seeds
                for method in self.methods
                for source, target in pairs_for(method, chosen)
                for setting in settings[method]
            ]
        except UserError as error:
            raise UserError(f"{self.origin}: {error}") from error
        return list({config.digest: config for config in found}.values())

    def _settings(self, method: str) -> Iterator[dict[str, Any]]:
        """The overrides of each combination that is swept, for one method."""
        fixed = {key: value for key, value in self.overrides.items() if has_effect(key, method)}
        swept = {key: values for key, values in self.sweep.items() if has_effect(key, method)}
        for values in product(*swept.values()):
            yield fixed | dict(zip(swept, values, strict=True))

    def _require_effect(self) -> None:
        for key in (*self.overrides, *self.sweep):
            if not any(has_effect(key, method) for method in self.methods):
                raise UserError(f"{self.origin}: {key} changes nothing for {', '.join(self.methods)}; leave it out")

    def _pairs(self, known: Sequence[str]) -> list[DomainChoice]:
        for name in self.domains or ():
            if name not in known:
                raise unknown(f"domain in {self.origin}", name, known)
        if self.pairs is None:
            return list(permutations(self.domains or known, 2))
        return [_split_pair(pair, known, origin=self.origin) for pair in self.pairs]


def grid(
    domains: Sequence[str],
    *,
    methods: Sequence[str],
    seeds: Iterable[int],
    data: str,
    preset: str,
    overrides: Mapping[str, Any] | None = None,
) -> list[ExperimentConfig]:
    """Configurations of every method on every ordered pair of domains with every seed.

    Supervised target needs no source: one run per domain and seed.
    """
    pairs: list[DomainChoice] = list(permutations(domains, 2))
    alone: list[DomainChoice] = [(None, name) for name in domains]
    return [
        build_config(preset, source=source, target=target, method=method, data=data, seed=seed, overrides=overrides)
        for seed in seeds
        for method in methods
        for source, target in (alone if method == "supervised_target" else pairs)
    ]


def pairs_for(method: str, pairs: Iterable[DomainChoice]) -> list[DomainChoice]:
    """The pairs themselves; for supervised target, each of their targets once."""
    if method != "supervised_target":
        return list(pairs)
    return [(None, target) for target in sorted({target for _, target in pairs})]


def load_grid(path: Path) -> Grid:
    """Read a GRID.yaml: ``methods`` and ``seeds``, and, where the defaults do not serve, the other fields of `Grid`.

    ``methods`` may be ``all``; ``seeds`` is a number (so many, from 0) or a list; ``pairs`` is ``all`` or a list
    such as ``[D2-D1, D1-D3]``; fields of a stage are written ``adapt.steps: 500`` or nested, ``adapt: {steps: 500}``.

    Raises:
        UserError: naming the file, for whatever is unknown, missing, doubled or of another type.
    """
    content = read_grid_file(path)
    try:
        return _checked(content, origin=str(path))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _checked(content: dict[str, Any], *, origin: str) -> Grid:
    keys = [f.name for f in fields(Grid) if f.name != "origin"]
    for key in content:
        if key not in keys:
            raise unknown("key", key, keys)
    for key in ("methods", "seeds"):
        if key not in content:
            raise UserError(
                f"no {key}; say e.g. {'methods: [source_only, mmsada]' if key == 'methods' else 'seeds: 3'}"
            )
    pairs, domains = (_names(key, content.get(key, "all")) for key in ("pairs", "domains"))
    if pairs is not None and domains is not None:
        raise UserError("both pairs and domains are given; name the pairs, or the domains to take all pairs of")
    if domains is not None and len(domains) < 2:
        raise UserError(f"domains are {list(domains)}; a pair needs two")
    return Grid(
        methods=_methods(content["methods"]),
        seeds=_seeds(content["seeds"]),
        data=_text("data", content.get("data", "kitchens")),
        preset=_text("preset", content["preset"]) if "preset" in content else None,
        pairs=pairs,
        domains=domains,
        overrides=_overrides(content.get("overrides", {})),
        sweep=_sweep(content.get("sweep", {})),
        notebook=_notebook(content.get("notebook", False)),
        origin=origin,
    )


def _methods(value: object) -> tuple[str, ...]:
    names = _names("methods", value)
    for name in names or ():
        if name not in METHODS:
            raise unknown("method", name, METHODS)
    return names or tuple(METHODS)


def _names(key: str, value: object) -> tuple[str, ...] | None:
    """A list of texts, each once, or None for ``all``."""
    if value == "all":
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise UserError(f"{key} is {value!r}; give all, or a list of names in brackets (quote those that are numbers)")
    return _each_once(key, value)


def _seeds(value: object) -> tuple[int, ...]:
    if type(value) is int and value > 0:
        return tuple(range(value))
    if not isinstance(value, list) or not all(type(seed) is int and seed >= 0 for seed in value):
        raise UserError(f"seeds is {value!r}; give how many (above 0), or a list of numbers such as [0, 1, 7]")
    return _each_once("seeds", value)


def _each_once(key: str, values: list[Any]) -> tuple[Any, ...]:
    if not values:
        raise UserError(f"{key} is an empty list; give at least one value")
    if doubled := [value for number, value in enumerate(values) if value in values[:number]]:
        raise UserError(f"{key} names {doubled[0]!r} twice; give each once")
    return tuple(values)


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise UserError(f"{key} is {value!r}; give a text")
    return value


def _notebook(value: object) -> str | None:
    if isinstance(value, bool):
        return RUN_NOTEBOOK if value else None
    return _text("notebook", value)


def _overrides(value: object) -> dict[str, Any]:
    found = dict(_dotted("overrides", value))
    for key in found:
        if key not in override_keys():
            raise unknown("override", key, override_keys())
    return found


def _sweep(value: object) -> dict[str, tuple[Any, ...]]:
    found = {}
    for key, values in _dotted("sweep", value):
        if key not in override_keys():
            raise unknown("field in sweep", key, override_keys())
        if not isinstance(values, list):
            raise UserError(f"sweep of {key} is {values!r}; give a list of values")
        found[key] = _each_once(f"sweep of {key}", values)
    return found


def _dotted(name: str, value: object, *, above: str = "") -> Iterator[tuple[str, Any]]:
    """Keys and values of a mapping, nested ones as ``adapt.weights.adversarial``."""
    if not isinstance(value, dict):
        raise UserError(f"{name} is {value!r}; give fields and values, as in {name}: {{batch_size: 32}}")
    for key, inner in value.items():
        if not isinstance(key, str):
            raise UserError(f"{name} has the key {key!r}; give the name of a field")
        if isinstance(inner, dict):
            yield from _dotted(name, inner, above=f"{above}{key}.")
        else:
            yield f"{above}{key}", inner


def _split_pair(pair: str, known: Sequence[str], *, origin: str) -> DomainChoice:
    """``D2-D1`` as source and target; names may have dashes of their own."""
    parts = pair.split("-")
    halves = [("-".join(parts[:n]), "-".join(parts[n:])) for n in range(1, len(parts))]
    found = [(source, target) for source, target in halves if source in known and target in known]
    if len(found) != 1:
        raise UserError(
            f"{origin}: pair {pair!r} is not source-target, two of the domains {', '.join(known)} with a dash between"
        )
    return found[0]
