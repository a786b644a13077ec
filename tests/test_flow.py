"""Laws of optical flow and of its 8-bit form."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from mmsada_lab.datasets.flow import ALGORITHMS, dequantise_flow, optical_flow, quantise_flow
from mmsada_lab.errors import UserError

HERE = [a for a in ALGORITHMS if a != "tvl1" or hasattr(cv2, "optflow")]


@pytest.fixture(scope="module")
def texture() -> NDArray[np.uint8]:
    """A smooth random RGB picture, 92 x 120."""
    noise = np.random.default_rng(0).random((92, 120, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return np.asarray(cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX), dtype=np.uint8)


@pytest.mark.parametrize("algorithm", HERE)
@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, 0), (0, -2), (-2, 3)])
def test_shifted_texture_flows_by_the_shift(texture: NDArray[np.uint8], algorithm: str, dx: int, dy: int) -> None:
    first, second = texture[10:82, 10:110], texture[10 - dy : 82 - dy, 10 - dx : 110 - dx]
    flow = optical_flow(first, second, algorithm=algorithm)[8:-8, 8:-8]
    assert flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow, axis=(0, 1)), (dx, dy), atol=0.15)


def textures(dx: float, dy: float, *, sigma: float = 2.5) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A periodic random texture, and the same moved by any fraction of a pixel: exact, by the Fourier shift theorem."""
    fy, fx = np.fft.fftfreq(72)[:, None], np.fft.fftfreq(96)[None]
    spectrum = np.fft.fft2(np.random.default_rng(0).standard_normal((72, 96)))
    spectrum *= np.exp(-2 * (np.pi * sigma) ** 2 * (fx**2 + fy**2))
    pair = [np.fft.ifft2(spectrum * np.exp(-2j * np.pi * (fx * x + fy * y))).real for x, y in ((0, 0), (dx, dy))]
    first, second = (np.clip(np.round(128 + 45 * p / pair[0].std()), 0, 255).astype(np.uint8) for p in pair)
    return first, second


@pytest.mark.parametrize("algorithm", HERE)
@pytest.mark.parametrize(("dx", "dy"), [(0.5, 0.25), (1.3, -0.7), (-2.75, 1.5), (4.4, -2.6)])
def test_a_shift_by_fractions_of_a_pixel_is_right_to_a_tenth(algorithm: str, dx: float, dy: float) -> None:
    flow = optical_flow(*textures(dx, dy), algorithm=algorithm)[12:-12, 12:-12]
    error = np.linalg.norm(flow - np.array([dx, dy], dtype=np.float32), axis=2)
    assert error.mean() < 0.1
    np.testing.assert_allclose(np.median(flow, axis=(0, 1)), (dx, dy), atol=0.1)


@pytest.mark.parametrize("algorithm", HERE)
def test_mirrored_pictures_have_mirrored_flow_with_u_negated(texture: NDArray[np.uint8], algorithm: str) -> None:
    first, second = texture[10:82, 10:110], texture[8:80, 12:112]
    flow = optical_flow(first, second, algorithm=algorithm)
    mirrored = optical_flow(first[:, ::-1], second[:, ::-1], algorithm=algorithm)[:, ::-1]
    difference = np.abs(mirrored * np.array([-1, 1], dtype=np.float32) - flow)[8:-8, 8:-8]
    assert np.median(difference) < 0.1


def test_grey_pictures_are_as_good_as_colour() -> None:
    grey = np.random.default_rng(1).integers(0, 256, (40, 40), dtype=np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(optical_flow(grey, grey[::-1]), optical_flow(colour, colour[::-1]))


@given(value=st.floats(-20, 20), bound=st.sampled_from([3.5, 8.0, 20.0, 25.0]))
def test_round_trip_is_within_half_a_step_or_clipped(value: float, bound: float) -> None:
    flow = np.full((2, 2, 2), value, dtype=np.float32)
    back = dequantise_flow(quantise_flow(flow, bound=bound), bound=bound)
    np.testing.assert_allclose(back, np.clip(flow, -bound, bound), atol=bound / 255 + 1e-4)


@given(code=st.integers(0, 255), bound=st.sampled_from([8.0, 20.0, 25.0]))
def test_every_code_survives_and_its_mirror_is_the_negated_flow(code: int, bound: float) -> None:
    codes = np.array([code], dtype=np.uint8)
    flow = dequantise_flow(codes, bound=bound)
    assert quantise_flow(flow, bound=bound)[0] == code
    np.testing.assert_allclose(dequantise_flow(255 - codes, bound=bound), -flow, atol=1e-4)


def test_codes_of_no_motion_and_of_the_bounds() -> None:
    flow = np.array([0, -25, 25, -99, 99], dtype=np.float32)
    np.testing.assert_array_equal(quantise_flow(flow, bound=25), [128, 0, 255, 0, 255])


def test_bad_input_is_answered(texture: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="Did you mean 'farneback'"):
        optical_flow(texture, texture, algorithm="farnback")
    with pytest.raises(UserError, match="resize"):
        optical_flow(texture, texture[1:])
    with pytest.raises(UserError, match="positive number of pixels"):
        quantise_flow(np.zeros((1, 1, 2), dtype=np.float32), bound=0)
    monkeypatch.delattr(cv2, "optflow", raising=False)
    with pytest.raises(UserError, match="opencv-contrib"):
        optical_flow(texture, texture, algorithm="tvl1")
