"""Grids: which runs a GRID.yaml means, and what is said of a bad one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from mmsada_lab.errors import UserError
from mmsada_lab.facts import METHODS
from mmsada_lab.presets import has_effect, override_keys
from mmsada_lab.publish.notebooks import RUN_NOTEBOOK
from mmsada_lab.sweeps.grid import Grid, load_grid

DOMAINS = ("D1", "D2", "D3")
WHOLE = """
data: kitchens
preset: quick
methods: [source_only, mmsada]
pairs: all
seeds: 5
overrides: {batch_size: 32, adapt: {steps: 20, weights.correspondence: 2}}
sweep:
  reversal_coefficient: [0.05, 0.1, 0.2]
notebook: false
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "GRID.yaml"
    path.write_text(text)
    return path


def loaded(folder: Path, text: str) -> Grid:
    return load_grid(written(folder, text))


class TestConfigs:
    def test_the_whole_of_it(self, tmp_path: Path) -> None:
        configs = loaded(tmp_path, WHOLE).configs(DOMAINS)
        assert Counter(config.method for config in configs) == {"source_only": 5 * 6, "mmsada": 5 * 6 * 3}
        assert len({config.digest for config in configs}) == len(configs)
        assert {(config.batch_size, config.adapt.steps) for config in configs} == {(32, 20)}
        adapted = [config for config in configs if config.method == "mmsada"]
        assert Counter(config.reversal_coefficient for config in adapted) == dict.fromkeys((0.05, 0.1, 0.2), 30)
        assert {config.adapt.weights["correspondence"] for config in adapted} == {2.0}
        assert [config.seed for config in configs] == sorted(config.seed for config in configs)

    def test_the_shortest(self, tmp_path: Path) -> None:
        grid = loaded(tmp_path, "methods: all\nseeds: 1")
        assert grid == Grid(tuple(METHODS), (0,))
        assert len(grid.configs(DOMAINS)) == 7 * 6 + 3

    def test_every_combination_is_swept(self, tmp_path: Path) -> None:
        text = "methods: [mmsada, adversarial_only]\nseeds: [3]\npairs: [D2-D1]\nsweep:\n"
        text += "  width: [4, 8]\n  adapt.weights: {adversarial: [0.5, 1], correspondence: [1, 2, 3]}\n"
        configs = loaded(tmp_path, text).configs(DOMAINS)
        assert Counter(config.method for config in configs) == {"mmsada": 12, "adversarial_only": 4}

    def test_pairs_and_supervised_target(self, tmp_path: Path) -> None:
        text = "methods: [supervised_target, adabn]\nseeds: [0]\npairs: [D2-D1, D3-D1, D1-D3]"
        pairs = [(config.method, str(config.pair)) for config in loaded(tmp_path, text).configs(DOMAINS)]
        supervised = [("supervised_target", "D1→D1"), ("supervised_target", "D3→D3")]
        assert pairs == [*supervised, ("adabn", "D2→D1"), ("adabn", "D3→D1"), ("adabn", "D1→D3")]

    def test_names_with_dashes(self) -> None:
        grid = Grid(("adabn",), (0,), pairs=("at-home-away",))
        assert [str(config.pair) for config in grid.configs(["at-home", "away"])] == ["at-home→away"]
        with pytest.raises(UserError, match="pair 'a-b-c' is not source-target"):
            dataclasses.replace(grid, pairs=("a-b-c",)).configs(["a", "a-b", "c", "b-c"])

    def test_some_domains(self, tmp_path: Path) -> None:
        configs = loaded(tmp_path, "methods: [adabn]\nseeds: 1\ndomains: [D1, D3]").configs(DOMAINS)
        assert {str(config.pair) for config in configs} == {"D1→D3", "D3→D1"}

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"domains": ("D1", "D9")}, "unknown domain 'D9'"),
            ({"pairs": ("D1-D9",)}, "pair 'D1-D9' is not source-target, two of the domains D1, D2, D3"),
            ({"pairs": ("D1",)}, "pair 'D1' is not source-target"),
            ({"pairs": ("D1-D1",)}, "source and target are both 'D1'"),
            ({"preset": "quack"}, "unknown preset 'quack'.*Did you mean 'quick'"),
            ({"overrides": {"batch_size": "many"}}, "override batch_size is 'many'"),
            ({"sweep": {"width": (4, -1)}}, "width is -1"),
            ({"sweep": {"adapt.weights.mmd": (1, 2)}}, "adapt.weights.mmd changes nothing for mmsada"),
            ({"overrides": {"reversal_coefficient": 1}, "methods": ("adabn", "mmd")}, "changes nothing for adabn, mmd"),
        ],
    )
    def test_what_does_not_fit(self, changes: dict[str, object], message: str) -> None:
        with pytest.raises(UserError, match=message):
            dataclasses.replace(Grid(("mmsada",), (0,)), **changes).configs(DOMAINS)


def test_the_fields_a_method_is_without() -> None:
    without = {method: {key for key in override_keys() if not has_effect(key, method)} for method in METHODS}
    assert "reversal_coefficient" not in without["mmsada"] | without["adversarial_only"]
    with_d = {"mmsada", "adversarial_only"}
    assert all("reversal_coefficient" in without[method] for method in METHODS if method not in with_d)
    assert [method for method in METHODS if "discrepancy_reversal" not in without[method]] == ["mcd"]
    assert [method for method in METHODS if "reversal_schedule" not in without[method]] == [
        "mcd",
        "adversarial_only",
        "mmsada",
    ]
    assert "correspondence_batch" in without["adversarial_only"] - without["self_supervised_only"]
    assert {"seed", "adapt.steps", "positives", "batch_size", "adapt.weights.classification"}.isdisjoint(
        set().union(*without.values())
    )


class TestWords:
    """YAML 1.2, not 1.1."""

    def test_words_mean_what_they_look_like(self, tmp_path: Path) -> None:
        text = "methods: [adabn]\nseeds: [010, 2]\ndomains: [no, on, Y]\n"
        text += "overrides: {precision: no, weight_decay: 1e-7, dropout: .5, adapt.learning_rate: 2E-2, width: +8}"
        grid = loaded(tmp_path, text)
        assert (grid.seeds, grid.domains) == ((10, 2), ("no", "on", "Y"))
        expected = {"precision": "no", "weight_decay": 1e-7, "dropout": 0.5, "adapt.learning_rate": 0.02, "width": 8}
        assert grid.overrides == expected
        assert len(grid.configs(["no", "on", "Y"])) == 12

    @pytest.mark.parametrize(("word", "notebook"), [("true", RUN_NOTEBOOK), ("false", None), ("my.ipynb", "my.ipynb")])
    def test_notebook(self, tmp_path: Path, word: str, notebook: str | None) -> None:
        assert loaded(tmp_path, f"methods: [adabn]\nseeds: 1\nnotebook: {word}").notebook == notebook


BAD = {
    "": "holds NoneType",
    "- a\n- b": "holds list",
    "methods: [adabn": "is not readable YAML",
    "methods: !!python/object/apply:os.getcwd []": "is not readable YAML",
    "methods: !!int x": "is not readable YAML",
    "? [1]\n: 2": "unknown key|is not readable YAML",
    "\x00": "is not readable YAML",
    "[" * 5000: "is not readable YAML",
    "methods: [adabn]": "no seeds; say e.g. seeds: 3",
    "seeds: 1": r"no methods; say e.g. methods: \[source_only, mmsada\]",
    "method: [adabn]\nseeds: 1": "unknown key 'method'.*Did you mean 'methods'",
    "methods: [adabm]\nseeds: 1": "unknown method 'adabm'.*Did you mean 'adabn'",
    "methods: adabn\nseeds: 1": "methods is 'adabn'; give all, or a list",
    "methods: []\nseeds: 1": "methods is an empty list",
    "methods: [adabn, adabn]\nseeds: 1": "methods names 'adabn' twice",
    "methods: [1]\nseeds: 1": r"methods is \[1\]",
    "methods: [adabn]\nseeds: 0": "seeds is 0; give how many",
    "methods: [adabn]\nseeds: true": "seeds is True",
    "methods: [adabn]\nseeds: 1.5": "seeds is 1.5",
    "methods: [adabn]\nseeds: three": "seeds is 'three'",
    "methods: [adabn]\nseeds: []": "seeds is an empty list",
    "methods: [adabn]\nseeds: [1, 1]": "seeds names 1 twice",
    "methods: [adabn]\nseeds: [-1]": r"seeds is \[-1\]",
    "methods: [adabn]\nseeds: 1\nseeds: 2": "line 3 gives 'seeds' a second time",
    "methods: [adabn]\nseeds: 1\noverrides: {width: 4, width: 8}": "line 3 gives 'width' a second time",
    "methods: &m [adabn]\nseeds: 1\npairs: *m": "line 3 refers to another place",
    "methods: [adabn]\nseeds: 1\npairs: []": "pairs is an empty list",
    "methods: [adabn]\nseeds: 1\npairs: D1-D2": "pairs is 'D1-D2'",
    "methods: [adabn]\nseeds: 1\npairs: [[D1, D2]]": "pairs is",
    "methods: [adabn]\nseeds: 1\ndomains: [D1]": "a pair needs two",
    "methods: [adabn]\nseeds: 1\ndomains: [1, 2]": r"domains is \[1, 2\].*quote those that are numbers",
    "methods: [adabn]\nseeds: 1\ndomains: [D1, D2]\npairs: [D1-D2]": "both pairs and domains",
    "methods: [adabn]\nseeds: 1\ndata: [a]": r"data is \['a'\]; give a text",
    "methods: [adabn]\nseeds: 1\npreset:": "preset is None; give a text",
    "methods: [adabn]\nseeds: 1\nnotebook: 1": "notebook is 1",
    "methods: [adabn]\nseeds: 1\noverrides: [1]": r"overrides is \[1\]; give fields and values",
    "methods: [adabn]\nseeds: 1\noverrides: {batchsize: 1}": "unknown field in overrides .*Did you mean 'batch_size'",
    "methods: [adabn]\nseeds: 1\noverrides: {seed: 1}": "unknown field in overrides 'seed'",
    "methods: [adabn]\nseeds: 1\noverrides: {1: 1}": "unknown field in overrides '1'",
    "methods: [adabn]\nseeds: 1\nsweep: {width: 4}": "sweep of width is 4; give a list",
    "methods: [adabn]\nseeds: 1\nsweep: {width: []}": "sweep of width is an empty list",
    "methods: [adabn]\nseeds: 1\nsweep: {width: [4, 4]}": "sweep of width names 4 twice",
    "methods: [adabn]\nseeds: 1\nsweep: {widths: [4]}": "unknown field in sweep 'widths'.*Did you mean 'width'",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_file_is_named_and_answered(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserError, match=BAD[text]) as caught:
        load_grid(path)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).count(str(path)) == 1


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(UserError, match=f"cannot read the grid {path}"):
            load_grid(path)
    (tmp_path / "latin").write_bytes(b"methods: [\xff]")
    with pytest.raises(UserError, match="latin is not readable YAML"):
        load_grid(tmp_path / "latin")
