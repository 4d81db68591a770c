"""The page's quick way to an image gives what `LivePhase.view` gives, however the counts come."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from exitwave.data import EventChunk, FrameChunk, Quantity
from exitwave.live.page import scene_of, settings_for
from exitwave.live.page.quick import Quick, weights_of
from exitwave.live.page.scene import phase_view
from exitwave.recon.direct.image import DirectImage
from exitwave.recon.direct.sums import kept_weights
from exitwave.recon.live import ended
from tests.unit.live.page_scan import CALIBRATION, SHAPE, counts

QUADRATIC = replace(CALIBRATION, aberrations={"C10_A": Quantity(value=-90.0), "C12_A": Quantity(value=30.0), "phi12_deg": Quantity(value=25.0)})


def same(made: DirectImage, wanted: DirectImage) -> None:
    for name in ("image", "ctf", "noise"):
        one, other = getattr(made, name), getattr(wanted, name)
        torch.testing.assert_close(one, other, rtol=0, atol=2e-6 * float(other.abs().max()))
    for one, other in zip(made.halves, wanted.halves, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-6 * float(other.abs().max()))
    assert made.electrons == pytest.approx(wanted.electrons, rel=1e-6) and made.pixels == wanted.pixels


@pytest.mark.parametrize("method", ["ssb", "parallax", "flipped-parallax"])
@pytest.mark.parametrize("known", [QUADRATIC, CALIBRATION])
def test_a_scan_that_grows_and_is_turned(method: str, known: object) -> None:
    place = scene_of(known, SHAPE, None, 2**28)  # type: ignore[arg-type]
    settings, quick, data = settings_for(place, method, 1), Quick(), counts().reshape(-1, *SHAPE[2:])
    state, first = place.cube.start(SHAPE), 0
    for stop in (20, 29, 42, 98, 154):
        state = place.cube.add(state, FrameChunk(position=np.arange(first, stop, dtype=np.int32), frames=data[first:stop]))
        view = phase_view(place, settings)
        same(quick.image(view, state), view.view(state))
        first = stop
    late = EventChunk(position=np.full(40, 5, np.int32), pixel=np.arange(20, 60, dtype=np.int32))  # events of a row that was done
    state = place.cube.add(state, late)
    view = phase_view(place, settings)
    same(quick.image(view, state), view.view(state))
    turned = phase_view(place, replace(settings, C10_A=40.0, rotation_deg=-33.0))
    same(quick.image(turned, ended(state)), turned.view(ended(state)))


def test_weights_in_one_pass_are_the_weights() -> None:
    place = scene_of(QUADRATIC, SHAPE, None, 2**28)
    for method in ("ssb", "parallax", "flipped-parallax"):
        g = phase_view(place, settings_for(place, method, 1)).g
        made, wanted = weights_of(g, method), kept_weights(g, method)
        strong = wanted.ctf.abs() > 1e-3 * wanted.ctf.abs().max()
        torch.testing.assert_close(made.ctf, wanted.ctf, rtol=0, atol=2e-6 * float(wanted.ctf.abs().max()))
        difference = (made.weights - wanted.weights).abs().mean(0)
        assert float(difference[strong].max()) < 1e-4


def test_other_methods_go_the_usual_way() -> None:
    place = scene_of(CALIBRATION, SHAPE, None, 2**28)
    state = place.cube.add(place.cube.start(SHAPE), FrameChunk(position=np.arange(154, dtype=np.int32), frames=counts().reshape(-1, *SHAPE[2:])))
    for method, upsample in (("icom", 1), ("ssb", 2)):
        view = phase_view(place, settings_for(place, method, upsample))
        assert torch.equal(Quick().image(view, state).image, view.view(state).image)
