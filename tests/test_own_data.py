"""What stands in for data of one's own: clips of two sites, a recording of two wearables; and bars of what is said."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from mmsada_lab import library
from mmsada_lab.analysis import style
from mmsada_lab.analysis.lessons.grouped_bars import draw_grouped_bars
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.prepare.videos.site_clips import write_site_clips
from mmsada_lab.prepare.wearables import HERTZ, SAMPLES, SAMPLING_RATE, SENSOR_CHANNELS, simulate_wearables

SMALL = "kitchens:scale=0.001"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("clips")
    return folder, write_site_clips(folder, labelled="here", unlabelled="there", clips_per_site=3, data=SMALL)


class TestSiteClips:
    def test_labels_are_folders_of_one_site_and_known_of_the_other(self, written: tuple[Path, dict[str, str]]) -> None:
        folder, truth = written
        kitchens = load_data(SMALL)
        there = sorted(path.stem for path in folder.glob("there/unlabelled/*.mp4"))
        assert there == sorted(truth)
        assert sum(1 for _ in folder.rglob("*.*")) == 6
        for segment in kitchens.domain("D1").train[:3]:
            assert truth[f"there_{segment.uid}"] == kitchens.classes[segment.label]
        for segment in kitchens.domain("D2").train[:3]:
            assert (folder / "here" / kitchens.classes[segment.label] / f"here_{segment.uid}.mp4").is_file()

    def test_clips_show_the_segment_and_what_its_last_flow_needs(self, written: tuple[Path, dict[str, str]]) -> None:
        folder, _ = written
        domain = load_data(SMALL).domain("D1")
        segment = domain.train[0]
        with av.open(str(folder / "there" / "unlabelled" / f"there_{segment.uid}.mp4")) as file:
            frames = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
        pictures = domain.readers["rgb"].read(segment, np.arange(1, segment.stop + 4))
        assert frames.shape == pictures.shape
        assert np.abs(frames.astype(float) - pictures).mean() < 15, "H.264, and the kitchens are full of grain"

    def test_what_is_there_is_not_written_again(self, written: tuple[Path, dict[str, str]]) -> None:
        folder, truth = written
        path = folder / "there" / "unlabelled" / f"{min(truth)}.mp4"
        before, content = path.stat().st_mtime_ns, path.read_bytes()
        again = write_site_clips(folder, labelled="here", unlabelled="there", clips_per_site=3, data=SMALL)
        assert again == truth
        assert (path.stat().st_mtime_ns, path.read_bytes()) == (before, content)

    def test_two_sites_are_needed(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="give two sites"):
            write_site_clips(tmp_path, labelled="here", unlabelled="here", data=SMALL)
        assert not list(tmp_path.iterdir())


class TestWearables:
    def test_bouts_of_both_devices_one_after_the_other(self) -> None:
        recording = simulate_wearables(seed=1, bouts_per_activity=2)
        assert list(recording.columns) == [*SENSOR_CHANNELS, "activity", "device", "bout"]
        sizes = recording.groupby(["device", "bout"], sort=False).size()
        assert list(sizes.index) == [(device, bout) for device in ("phone", "watch") for bout in range(8)]
        assert set(sizes) == {SAMPLES}

    def test_a_seed_is_a_recording(self) -> None:
        first, again, other = (simulate_wearables(seed=seed, bouts_per_activity=1) for seed in (3, 3, 4))
        pd.testing.assert_frame_equal(first, again)
        assert not np.allclose(first["ax"], other["ax"])

    def test_faster_activities_swing_faster(self) -> None:
        phone = simulate_wearables(bouts_per_activity=8).query("device == 'phone'")
        seen = {}
        for activity, bouts in phone.groupby("activity"):
            spectra = [np.abs(np.fft.rfft(b["ax"] - b["ax"].mean())) for _, b in bouts.groupby("bout")]
            seen[activity] = np.mean(spectra, axis=0).argmax() * SAMPLING_RATE / SAMPLES
        assert seen == pytest.approx(HERTZ, abs=0.35)

    def test_gravity_tells_that_the_watch_sits_askew(self) -> None:
        sitting = simulate_wearables(bouts_per_activity=8).query("activity == 'sit'")
        means = sitting.groupby("device")[["ax", "ay", "az"]].mean()
        assert means.loc["phone"].tolist() == pytest.approx([0, 9.8, 0], abs=0.3)
        assert means.loc["watch"].tolist() == pytest.approx([0, 9.8 * np.cos(0.8), 9.8 * np.sin(0.8)], abs=0.4)

    def test_none_is_refused(self) -> None:
        with pytest.raises(UserError, match="give 1 or more"):
            simulate_wearables(bouts_per_activity=0)


class TestGroupedBars:
    def test_methods_have_their_titles_and_colours_others_their_names(self) -> None:
        bars = pd.DataFrame({"mmsada": [1.0, 2.04], "mine": [3, 0]}, index=["cut", "mix"])
        first, second = draw_grouped_bars(bars, axes=("verb", "n"), title="t").data
        assert (first.name, first.marker.color) == ("MM-SADA", style.METHOD_COLOURS["MM-SADA"])
        assert (second.name, list(second.y), list(second.text)) == ("mine", [3, 0], ["3", "0"])
        assert list(first.y) == [1, 2]
        assert list(first.x) == ["cut", "mix"]

    @pytest.mark.parametrize("bars", [pd.DataFrame(), pd.DataFrame({"a": [np.nan]}), pd.DataFrame({"a": [np.inf]})])
    def test_nothing_to_draw(self, bars: pd.DataFrame) -> None:
        with pytest.raises(UserError, match="nothing to draw"):
            draw_grouped_bars(bars, axes=("verb", "n"), title="t")


class TestLibrary:
    def test_every_name_is_there(self) -> None:
        assert not [name for name in dir(library) if getattr(library, name) is None]

    def test_others_are_not(self) -> None:
        with pytest.raises(AttributeError, match="no function 'fuse_all' here; there are"):
            library.fuse_all  # noqa: B018
