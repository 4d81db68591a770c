"""Every detector is linear, makes no electrons, keeps its gradients, and measures what its geometry says."""

from dataclasses import replace
from math import pi

import pytest
import torch
from torch import Tensor

from exitwave.core import Grid
from exitwave.wave import Annulus, Bucket, Detector, Image, Pixels, Segments
from tests.generic import BEAM, WINDOW, experiment, noise, pattern, worst


def spread_out(grid: Grid = WINDOW, count: int = 3) -> Tensor:
    return noise((count, *grid.shape), 4).abs() + 0.01


def test_rings_add_up() -> None:
    pieces = [Annulus(inner_mrad=a, outer_mrad=b)(spread_out(), WINDOW, BEAM) for a, b in ((0.0, 13.0), (13.0, 13.7), (13.7, 50.0))]
    assert worst(sum(pieces), Annulus(inner_mrad=0.0, outer_mrad=50.0)(spread_out(), WINDOW, BEAM)) < 1e-13


@pytest.mark.parametrize("sectors", [1, 3, 4, 7])
def test_sectors_add_up_to_their_ring(sectors: int) -> None:
    segments = Segments(edges_mrad=(0.0, 11.0, 33.0), sectors=sectors, rotation_deg=29.0)(spread_out(), WINDOW, BEAM)
    rings = torch.stack([Annulus(inner_mrad=a, outer_mrad=b)(spread_out(), WINDOW, BEAM) for a, b in ((0.0, 11.0), (11.0, 33.0))], 1)
    assert segments.shape == (3, 2, sectors)
    assert worst(segments.sum(-1), rings) < 1e-13


def test_a_ring_measures_its_area() -> None:
    flat = torch.ones((1, 90, 101), dtype=torch.float64)
    grid = Grid(shape=(90, 101), pitch_A=(0.31, 0.27))
    k = [1e-3 * a / BEAM.wavelength_A for a in (20.0, 55.0)]
    area = float(Annulus(inner_mrad=20.0, outer_mrad=55.0)(flat, grid, BEAM)) * grid.dk_invA[0] * grid.dk_invA[1]
    assert area == pytest.approx(pi * (k[1] ** 2 - k[0] ** 2), rel=2e-3)


def covering(rotation_deg: float = 0.0, pitch_px: float = 1.37) -> Pixels:
    """A camera of 65 x 63 that reaches beyond the pattern whatever its rotation."""
    return Pixels(
        shape=(65, 63), pitch_mrad=1e3 * BEAM.wavelength_A * max(WINDOW.dk_invA) * pitch_px, centre_px=(32.3, 30.6), rotation_deg=rotation_deg
    )


@pytest.mark.parametrize("degrees", [0.0, 90.0, 180.0, -90.0])
@pytest.mark.parametrize("transpose", [False, True])
def test_a_camera_that_covers_the_pattern_counts_every_electron(degrees: float, transpose: bool) -> None:
    frame = replace(covering(degrees), transpose=transpose)(spread_out(), WINDOW, BEAM)
    assert worst(frame.sum((-2, -1)), spread_out().sum((-2, -1))) < 1e-12


@pytest.mark.parametrize("degrees", [0.1, 33.0, -71.0])
@pytest.mark.parametrize("pitch_px", [0.7, 1.37, 2.9])
def test_a_rotated_camera_counts_every_electron_to_a_few_thousandths(degrees: float, pitch_px: float) -> None:
    """On a pattern that is dark at its rim: the outermost sample of an even side has no neighbour to interpolate with."""
    camera = covering(degrees, pitch_px)
    inside = pattern(experiment())
    assert worst(camera(inside, WINDOW, BEAM).sum((-2, -1)), inside.sum((-2, -1))) < 5e-3


def test_a_large_pixel_is_the_sum_of_small_ones() -> None:
    small = Pixels(shape=(24, 30), pitch_mrad=3.1, centre_px=(11.5, 14.5))
    large = Pixels(shape=(12, 15), pitch_mrad=6.2, centre_px=(5.5, 7.0))
    frames = [d(spread_out(), WINDOW, BEAM) for d in (small, large)]
    assert worst(frames[0].reshape(3, 12, 2, 15, 2).sum((2, 4)), frames[1]) < 1e-13


def test_dead_pixels_are_dark_and_alone() -> None:
    mask = torch.ones((24, 30))
    mask[3, 7] = 0
    camera = Pixels(shape=(24, 30), pitch_mrad=3.1, centre_px=(11.5, 14.5))
    alive, dead = (d(spread_out(), WINDOW, BEAM) for d in (camera, replace(camera, mask=mask)))
    assert torch.equal(dead, alive * mask)


def test_a_point_spread_moves_electrons_but_makes_none() -> None:
    seen = Image(psf_px=1.3)(spread_out(), WINDOW, BEAM)
    assert worst(seen.sum((-2, -1)), spread_out().sum((-2, -1))) < 1e-13
    spot = torch.zeros((1, 41, 43), dtype=torch.float64)
    spot[0, 0, 0] = 1
    blurred = Image(psf_px=1.3)(spot, Grid(shape=(41, 43), pitch_A=(0.4, 0.7)), BEAM)[0]
    offset = torch.remainder(torch.arange(41, dtype=torch.float64) + 20, 41) - 20
    assert float((blurred.sum(1) * offset**2).sum()) == pytest.approx(1.3**2, rel=1e-6)


@pytest.mark.parametrize(
    "detector",
    [
        Bucket(),
        Image(psf_px=0.8),
        Annulus(inner_mrad=4.0, outer_mrad=30.0),
        Segments(edges_mrad=(0.0, 20.0, 50.0), sectors=5),
        covering(),
        covering(21.0),
    ],
)
def test_detectors_are_linear_and_never_make_electrons(detector: Detector) -> None:
    a, b = spread_out(), noise((3, *WINDOW.shape), 11).abs()
    assert worst(detector(2 * a + 3 * b, WINDOW, BEAM), 2 * detector(a, WINDOW, BEAM) + 3 * detector(b, WINDOW, BEAM)) < 1e-12
    seen = detector(pattern(experiment()), WINDOW, BEAM).reshape(5, -1).sum(1)
    assert bool((seen <= pattern(experiment()).sum((-2, -1)) * (1 + 5e-3)).all())


def test_a_camera_used_without_gradients_first_still_has_them_later() -> None:
    """Tables are kept between calls; those made in inference mode must not stick."""
    camera = Pixels(shape=(7, 9), pitch_mrad=7.77, centre_px=(3.0, 4.0))
    turned = replace(camera, rotation_deg=13.3)
    with torch.inference_mode():
        camera(spread_out(), WINDOW, BEAM)
        turned(spread_out(), WINDOW, BEAM)
    light = spread_out().requires_grad_()
    (camera(light, WINDOW, BEAM).sum() + turned(light, WINDOW, BEAM).sum()).backward()
    assert light.grad is not None
