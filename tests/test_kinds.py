"""The table of kinds: which runs it needs, its numbers by hand, and the heat map as drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student_t

from mmsada_lab.analysis.kinds import beyond_no_gap, draw_kinds, kinds_table
from mmsada_lab.analysis.tables import MEAN
from mmsada_lab.datasets.kitchens.kinds import KINDS, with_kind
from mmsada_lab.datasets.kitchens.loader import ABSENT, KNOBS, parse_knobs
from mmsada_lab.errors import UserError
from mmsada_lab.lessons import kinds
from mmsada_lab.lessons.kind_pictures import kind_frames
from mmsada_lab.runs import join_world, split_world
from mmsada_lab.sweeps import reproduce as module
from mmsada_lab.sweeps.recipes import RECIPES, row_configs

GRID = {"preset": "quick", "domains": ("D1", "D2", "D3"), "seeds": (0,)}


class TestWhichRuns:
    def test_a_kind_has_its_own_knobs_and_no_other(self) -> None:
        for row in RECIPES["kinds"].rows:
            (data,) = {config.data for config in row_configs(row, data="kitchens", **GRID)}  # type: ignore[arg-type]
            knobs = parse_knobs(data.partition(":")[2])
            turned = {knob: getattr(knobs, knob) for knob in KNOBS if getattr(knobs, knob)}
            assert turned == KINDS[row.kind]

    @pytest.mark.parametrize("preset", ["quick", "paper"])
    def test_all_lines_of_a_kind_see_equally_many_source_clips(self, preset: str) -> None:
        configs = [
            config
            for row in RECIPES["kinds"].rows
            for config in row_configs(row, data="kitchens", **GRID | {"preset": preset})  # type: ignore[arg-type]
        ]
        assert len({config.batch.source for config in configs}) == 1

    def test_what_is_no_gap_stays(self) -> None:
        """The size of the data and the world; gaps that were asked for besides make way."""
        knobs = parse_knobs(with_kind("kitchens:camera=0.5,scale=0.02,seed=3", "context").partition(":")[2])
        assert (knobs.scale, knobs.seed, knobs.context, knobs.camera) == (0.02, 3, 1, 0)

    def test_every_knob_is_of_one_kind(self) -> None:
        knobs = [knob for kind in KINDS.values() for knob in kind]
        assert sorted(knobs) == sorted(KNOBS)

    def test_worlds_and_pairs(self) -> None:
        row = RECIPES["kinds"].rows[0]
        configs = row_configs(row, data="kitchens", worlds=[2, 3], pairs=[("D1", "D2")], **GRID)  # type: ignore[arg-type]
        assert [(split_world(config.data)[1], config.seed) for config in configs] == [(2, 20), (3, 30)]
        assert {str(config.pair) for config in configs} == {"D1→D2"}

    def test_recorded_data_have_neither(self) -> None:
        row = RECIPES["kinds"].rows[0]
        with pytest.raises(UserError, match="kinds of gap are knobs of the kitchens; toy has none"):
            row_configs(row, data="toy", **GRID)  # type: ignore[arg-type]
        with pytest.raises(UserError, match="toy is recorded data, of which there is one world"):
            row_configs(RECIPES["fig5"].rows[0], data="toy", worlds=[0], **GRID)  # type: ignore[arg-type]

    @pytest.mark.parametrize("data", ["kitchens", "kitchens:nuisance=0.5", "kitchens:seed=4,nuisance=0.5"])
    def test_joining_a_world_is_the_inverse_of_splitting(self, data: str) -> None:
        assert split_world(join_world(data, 7)) == (split_world(data)[0], 7)


def report(*rows: tuple[str, str, float, tuple[float, float], tuple[float, float], int]) -> pd.DataFrame:
    names = ["kind", "row", "difference", "worlds", "seeds", "worlds_compared"]
    frame = pd.DataFrame(rows, columns=names)
    for unit in ("worlds", "seeds"):
        frame[[f"{unit}_low", f"{unit}_high"]] = frame.pop(unit).to_list()
    return frame.assign(pair=MEAN)


NONE = (np.nan, np.nan)
ROWS = report(
    ("camera", "camera: Source-only", np.nan, NONE, NONE, 4),
    ("camera", "camera: AdaBN", 9.0, (7.0, 11.0), (8.0, 10.0), 4),
    ("nuisance", "nuisance: AdaBN", 2.0, NONE, (1.0, 3.0), 2),
    ("nuisance", "nuisance: MM-SADA", -1.5, NONE, NONE, 1),
)


class TestTable:
    def test_by_hand(self) -> None:
        table = kinds_table(pd.concat([ROWS, ROWS.assign(pair="D2→D1", difference=99.0)]))
        assert table[["kind", "method", "difference", "over"]].to_numpy().tolist() == [
            ["camera", "AdaBN", 9.0, "over worlds"],
            ["nuisance", "AdaBN", 2.0, "over seeds, worlds fixed"],
            ["nuisance", "MM-SADA", -1.5, ""],
        ]
        assert table[["low", "high"]].to_numpy()[:2].tolist() == [[7.0, 11.0], [1.0, 3.0]]

    def test_nothing_to_compare(self) -> None:
        with pytest.raises(UserError, match="no kind of gap has runs"):
            kinds_table(ROWS.iloc[:1])

    def test_as_drawn(self) -> None:
        figure = draw_kinds(kinds_table(ROWS))
        heat = figure.data[0]
        assert (list(heat.x), list(heat.y)) == (["camera", "nuisance"], ["AdaBN", "MM-SADA"])
        assert [list(row) for row in heat.z] == [[9.0, 2.0], [None, -1.5]]
        assert [list(row) for row in heat.text] == [["+9.0<br>[+7.0, +11.0]", "+2.0<br>[+1.0, +3.0]"], ["", "-1.5"]]
        assert (heat.zmin, heat.zmax) == (-9.0, 9.0), "no change is white"
        assert "over worlds or over seeds" in figure.layout.xaxis.title.text


def test_report_of_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From runs to the three files, each kind against its own source-only."""
    rows = [row for row in RECIPES["kinds"].rows if row.kind in ("none", "camera", "nuisance")]
    configs = {row.title: row_configs(row, data="kitchens", **GRID | {"seeds": (0, 1)}) for row in rows}  # type: ignore[arg-type]
    gains = {"camera: AdaBN": 9.0, "nuisance: MM-SADA": 4.0, "none: MM-SADA": 1.5, "nuisance: Source-only": -2.0}
    runs = pd.DataFrame(
        {"digest": c.digest, "source": c.source, "target": c.target, "seed": c.seed, "method": c.method}
        | {"top1": 50 + gains.get(title, 0.0) + c.seed, "data": title.partition(":")[0], "path": f"{title} {c.digest}"}
        for title, of_row in configs.items()
        for c in of_row
    ).assign(world=0, stream="fused", preset="quick", selection="last", device="cpu", version="1", test_segments=100)
    runs = runs.assign(training_seconds=1.0, setting="a", mean_class=50.0)
    monkeypatch.setattr(module, "load_runs", lambda _: runs)
    digests = [(row, frozenset(c.digest for c in configs[row.title])) for row in rows]
    files = module._write(RECIPES["kinds"], digests, None, runs_dir=tmp_path, out=tmp_path, further=[])  # type: ignore[arg-type]
    assert [path.name for path in files] == ["kinds.csv", "kinds.md", "kinds.html"]
    table = kinds_table(pd.read_csv(files[0]))
    found = {(r["kind"], r["method"]): r["difference"] for r in table.to_dict("records") if r["difference"]}
    nuisance = dict.fromkeys(((kind, method) for kind, method in found if kind == "nuisance"), 2.0)
    assert found == nuisance | {("camera", "AdaBN"): 9.0, ("nuisance", "MM-SADA"): 6.0, ("none", "MM-SADA"): 1.5}
    beyond = kinds_table(pd.read_csv(files[0]), beyond=True).set_index(["kind", "method"])
    assert beyond.loc[("nuisance", "MM-SADA"), ["difference", "low", "high"]].tolist() == [4.5, 4.5, 4.5]
    assert beyond.loc[("camera", "MM-SADA"), "difference"] == -1.5
    assert beyond.loc[("camera", "AdaBN"), "difference"] == 9.0
    assert "none" not in beyond.index
    assert files[1].read_text().count("## ") == 3
    text = files[2].read_text()
    assert "What each kind of gap adds" in text
    assert "gain less that without a gap" in text


def test_what_a_kind_adds_is_paired_by_world() -> None:
    """Worlds that are easy or hard for everybody move nothing: the interval is of the difference of two differences."""
    rows, worlds = [], range(4)
    gains = {"none": [1.0, 2.0, 3.0, 4.0], "context": [6.0, 7.0, 9.0, 8.0]}
    for kind, of_worlds in gains.items():
        for world in worlds:
            for method, top1 in (("Source-only", 40.0 + 9 * world), ("MM-SADA", 40.0 + 9 * world + of_worlds[world])):
                row = {"source": "D1", "target": "D3", "world": world, "seed": 0, "stream": "fused", "top1": top1}
                rows.append(row | {"digest": f"{kind}: {method}"})
    runs = pd.DataFrame(rows)
    (row,) = beyond_no_gap(runs, {title: frozenset([title]) for title in runs["digest"].unique()}).to_dict("records")
    added = np.array([5.0, 5.0, 6.0, 4.0])
    assert (row["row"], row["beyond_difference"], row["beyond_worlds_compared"]) == ("context: MM-SADA", 5.0, 4)
    half = student_t.ppf(0.975, 3) * added.std(ddof=1) / 2
    assert [row["beyond_worlds_low"], row["beyond_worlds_high"]] == pytest.approx([5 - half, 5 + half])
    without = runs[~runs["digest"].str.startswith("none")]
    assert beyond_no_gap(without, {title: frozenset([title]) for title in without["digest"].unique()}).empty


class TestLesson:
    """What a lesson on the kinds shows."""

    def test_a_row_sees_equally_many_source_clips(self) -> None:
        options = {"methods": ["adabn", "mmsada"], "source": "D1", "target": "D3", "overrides": {"adapt.steps": 9}}
        configs = kinds.configs_of_kind("camera", world=3, scale=0.02, **options)  # type: ignore[arg-type]
        assert list(configs) == ["source-only", "control", "adabn", "mmsada"]
        assert {config.batch.source for config in configs.values()} == {32}
        assert {config.adapt.steps for config in configs.values()} == {9}
        assert {config.data for config in configs.values()} == {with_kind("kitchens:seed=3,scale=0.02", "camera")}
        assert configs["control"].reversal_coefficient == 0 < configs["mmsada"].reversal_coefficient
        with pytest.raises(UserError, match="Did you mean 'camera'"):
            kinds.configs_of_kind("camra", methods=[], source="D1", target="D3")

    def test_gains_are_over_source_only_stream_by_stream(self) -> None:
        top1 = {
            "source-only": pd.Series({"fused": 40.0, "rgb": 30.0}),
            "mmsada": pd.Series({"fused": 54.46, "rgb": 29.0}),
        }
        assert kinds.gains_of(top1).to_dict("index") == {"mmsada": {"fused": 14.5, "rgb": -1.0}}

    def test_shares_are_the_class_counts_of_the_kitchens(self) -> None:
        shares = kinds.shares_of_kinds(["none", "absent classes"], ["D1", "D3"])
        missing = shares[(shares["domain"] == "absent classes, D3") & (shares["segments"] == 0)]
        assert set(missing["class"]) == set(ABSENT[2])
        same = shares[shares["domain"].str.startswith("none")].pivot(index="class", columns="domain", values="share")
        assert (same["none, D1"] - same["none, D3"]).abs().max() < 1, "no gap: the same classes"
        with pytest.raises(UserError, match="D4"):
            kinds.shares_of_kinds(["none"], ["D4"])

    def test_pictures_differ_in_what_a_kind_changes(self) -> None:
        frames = {
            (kind, modality): kind_frames(kind, modality, world=100, verb="take", segments=1)
            for kind, modality in (
                ("none", "rgb"),
                ("camera", "rgb"),
                ("sway", "rgb"),
                ("none", "flow"),
                ("sway", "flow"),
            )
        }
        plain = frames["none", "rgb"]
        assert list(plain) == ["D1, 1", "D2, 1", "D3, 1"]
        assert all(frame.shape == (1, 36, 64, 3) for frame in plain.values())
        assert (frames["sway", "rgb"]["D3, 1"] == plain["D3, 1"]).all(), "sway moves flow alone"
        assert (frames["sway", "flow"]["D3, 1"] != frames["none", "flow"]["D3, 1"]).any()
        assert (frames["camera", "rgb"]["D3, 1"] != plain["D3, 1"]).any()
        for kind, modality, verb in (("camra", "rgb", "take"), ("camera", "rbg", "take"), ("camera", "rgb", "taek")):
            with pytest.raises(UserError, match="Did you mean"):
                kind_frames(kind, modality, world=100, verb=verb)

    def test_clear_gains_are_those_whose_interval_lies_above_0(self) -> None:
        rows = pd.DataFrame(
            {"kind": ["a", "a", "b", "b"], "method": ["AdaBN", "MMD"] * 2, "difference": [9.0, 3.0] * 2}
        )
        texts = kinds.write_clear_gains(rows.assign(low=[8.0, 1.0, 8.0, -1.0]))
        assert texts == {"a": "all (+3.0 to +9.0)", "b": "AdaBN (+9.0)"}
