"""A growing image is what `LivePhase.view` gives, however the counts come."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from exitwave.core.errors import InputError
from exitwave.data import EventChunk, FrameChunk, Quantity
from exitwave.live.page import scene_of, settings_for
from exitwave.live.page.scene import phase_view
from exitwave.live.parts import Part, read_part, write_part
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import DirectImage
from exitwave.recon.direct.kept import kept_normal
from exitwave.recon.direct.sums import Kept, kept_weights
from exitwave.recon.live import CubeState, ended
from exitwave.recon.live import growing as growing_module
from exitwave.recon.live.growing import Growing, terms_of
from exitwave.recon.live.touched import Buffers, Touched, touched_by
from tests.unit.live.page_scan import CALIBRATION, SHAPE, counts

QUADRATIC = replace(CALIBRATION, aberrations={"C10_A": Quantity(value=-90.0), "C12_A": Quantity(value=30.0), "phi12_deg": Quantity(value=25.0)})


def same(made: DirectImage, wanted: DirectImage) -> None:
    near = 2e-5 if made.method == "lsq" else 2e-6  # of a deconvolution, whose gain rounding has too
    for name in ("image", "ctf", "noise"):
        one, other = getattr(made, name), getattr(wanted, name)
        torch.testing.assert_close(one, other, rtol=0, atol=near * float(other.abs().max()))
    for one, other in zip(made.halves, wanted.halves, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=near * float(other.abs().max()))
    assert made.electrons == pytest.approx(wanted.electrons, rel=1e-6) and made.pixels == wanted.pixels


@pytest.mark.parametrize("method", ["ssb", "parallax", "flipped-parallax", "obf", "lsq"])
@pytest.mark.parametrize("known", [QUADRATIC, CALIBRATION])
def test_a_scan_that_grows_and_is_turned(method: str, known: object) -> None:
    place = scene_of(known, SHAPE, None, 2**28)  # type: ignore[arg-type]
    settings, growing, data = settings_for(place, method, 1), Growing(), counts().reshape(-1, *SHAPE[2:])
    state, first = place.cube.start(SHAPE), 0
    for stop in (20, 29, 42, 98, 154):
        state = place.cube.add(state, FrameChunk(position=np.arange(first, stop, dtype=np.int32), frames=data[first:stop]))
        view = phase_view(place, settings)
        same(growing.image(view, state), view.view(state))
        first = stop
    late = EventChunk(position=np.full(40, 5, np.int32), pixel=np.arange(20, 60, dtype=np.int32))  # events of a row that was done
    state = place.cube.add(state, late)
    view = phase_view(place, settings)
    same(growing.image(view, state), view.view(state))
    turned = phase_view(place, replace(settings, C10_A=40.0, rotation_deg=-33.0))
    same(growing.image(turned, ended(state)), turned.view(ended(state)))


@pytest.mark.parametrize("source_A", [0.0, 0.4])
def test_weights_in_one_pass_are_the_weights(source_A: float) -> None:
    place = scene_of(QUADRATIC, SHAPE, None, 2**28)
    for method in ("ssb", "parallax", "flipped-parallax", "obf"):
        g = replace(phase_view(place, settings_for(place, method, 1)).g, source_A=source_A)
        made, wanted = terms_of(g, method), wanted_terms(g, method)
        (y, h), m = wanted.ctf.shape, len(wanted.weights)
        strong = wanted.ctf.abs() > 1e-3 * wanted.ctf.abs().max()
        torch.testing.assert_close(made.ctf, wanted.ctf, rtol=0, atol=2e-6 * float(wanted.ctf.abs().max()))
        planes = torch.from_numpy(made.weights).reshape(y, m, 2, made.wide)[..., :h].permute(1, 0, 3, 2)
        difference = (torch.view_as_complex(planes.contiguous()) - wanted.weights).abs().mean(0)
        assert float(difference[strong].max()) < 1e-4 * float(wanted.weights.abs().max())


def wanted_terms(g: Geometry, method: str) -> Kept:
    if method != "obf":
        return kept_weights(g, method)
    normal = kept_normal(g, method)
    return Kept(weights=normal.right, ctf=normal.gram[..., 0, 0])


def test_other_methods_go_the_usual_way() -> None:
    place = scene_of(CALIBRATION, SHAPE, None, 2**28)
    state = place.cube.add(place.cube.start(SHAPE), FrameChunk(position=np.arange(154, dtype=np.int32), frames=counts().reshape(-1, *SHAPE[2:])))
    for method, upsample in (("icom", 1), ("ssb", 2)):
        view = phase_view(place, settings_for(place, method, upsample))
        assert torch.equal(Growing().image(view, state).image, view.view(state).image)


def test_events_that_are_a_little_late_do_not_begin_all_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    place, data, growing = scene_of(QUADRATIC, SHAPE, None, 2**28), counts().reshape(-1, *SHAPE[2:]), Growing()
    view, state, weighed = phase_view(place, settings_for(place, "ssb", 1)), place.cube.start(SHAPE), []
    plain = growing_module._add

    def told(lines: np.ndarray, rows: np.ndarray, *rest: Any) -> None:
        weighed.extend(rows.tolist())
        plain(lines, rows, *rest)

    monkeypatch.setattr(growing_module, "_add", told)
    for last in range(16, 154, 14):  # two positions into the next row each time, and two of the row before come again
        state = place.cube.add(state, FrameChunk(position=np.arange(max(0, last - 18), last, dtype=np.int32), frames=data[max(0, last - 18) : last]))
        same(growing.image(view, state), view.view(state))
    assert max(weighed.count(row) for row in range(11)) <= 4


def test_a_scan_that_comes_from_its_end() -> None:
    shape = (17, 8, *SHAPE[2:])
    place, data = scene_of(QUADRATIC, shape, None, 2**28), counts().reshape(-1, *SHAPE[2:])[:136]
    view, state, growing = phase_view(place, settings_for(place, "obf", 1)), place.cube.start(shape), Growing()
    for last in (136, 76):  # then fifteen rows are under way at once
        state = place.cube.add(state, FrameChunk(position=np.arange(last - 60, last, dtype=np.int32), frames=data[last - 60 : last]))
        same(growing.image(view, state), view.view(state))
    few = replace(view, cube=replace(view.cube, pixels=view.cube.pixels[:30]))
    with pytest.raises(InputError, match="was not counted"):
        growing.image(few, few.cube.add(few.cube.start(shape), FrameChunk(position=np.arange(20, dtype=np.int32), frames=data[:20])))


def test_other_pixels_are_other_weights() -> None:
    place, data, growing = scene_of(QUADRATIC, SHAPE, None, 2**28), counts().reshape(-1, *SHAPE[2:]), Growing()
    state = place.cube.add(place.cube.start(SHAPE), FrameChunk(position=np.arange(98, dtype=np.int32), frames=data[:98]))
    view = phase_view(place, settings_for(place, "ssb", 1))
    for finite in (True, False):
        one = replace(view, finite_pixels=finite)
        same(growing.image(one, state), one.view(state))


def test_a_state_from_a_file_that_does_not_say_what_changed(tmp_path: Path) -> None:
    place, data = scene_of(QUADRATIC, SHAPE, None, 2**28), counts().reshape(-1, *SHAPE[2:])
    state = place.cube.add(place.cube.start(SHAPE), FrameChunk(position=np.arange(98, dtype=np.int32), frames=data[:98]))
    write_part(tmp_path / "a.h5", Part(recipe={}, states={"cube": state}, events=state.events))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        group = file["part/states/cube"]
        del group["touched"]
        kinds = json.loads(group.attrs["exitwave_kinds"])
        group.attrs["exitwave_kinds"] = json.dumps({name: kind for name, kind in kinds.items() if name != "touched"})
    found = read_part(tmp_path / "a.h5").states["cube"]
    view = phase_view(place, settings_for(place, "ssb", 1))
    same(Growing().image(view, found), view.view(state))
    same(Growing().image(view, place.cube.merge(place.cube.start(SHAPE), found)), view.view(state))


def test_the_next_scan_is_another() -> None:
    place, data, growing = scene_of(QUADRATIC, SHAPE, None, 2**28), counts().reshape(-1, *SHAPE[2:]), Growing()
    view = phase_view(place, settings_for(place, "ssb", 1))
    for scan in (data, data[::-1].copy()):
        state = place.cube.add(place.cube.start(SHAPE), FrameChunk(position=np.arange(98, dtype=np.int32), frames=scan[:98]))
        same(growing.image(view, state), view.view(state))


def test_copies_of_a_growing_state_keep_what_they_have() -> None:
    place, data = scene_of(CALIBRATION, SHAPE, None, 2**28), counts().reshape(-1, *SHAPE[2:])
    state, copied = place.cube.start(SHAPE), place.cube.copier()
    held: list[tuple[CubeState, np.ndarray]] = []
    memory, first = set(), 0
    for turn, stop in enumerate((20, 29, 42, 43, 98, 120, 154)):
        state = place.cube.add(state, FrameChunk(position=np.arange(first, stop, dtype=np.int32), frames=data[first:stop]))
        if turn == 3:  # counts that need a wider canvas, in a row that was done
            state = place.cube.add(state, EventChunk(position=np.full(400, 3, np.int32), pixel=np.full(400, int(place.cube.pixels[40]), np.int32)))
        held.append((copied(state), state.canvas.counts.copy()))
        memory.add(id(held[-1][0].canvas.flat))
        for copy, wanted in held:
            np.testing.assert_array_equal(copy.canvas.counts, wanted)
        del held[: max(0, len(held) - 2)]
        first = stop
    assert len(memory) < 7  # some of it was used again


def test_memory_that_a_view_still_looks_at_is_not_used_again() -> None:
    flat, touched, buffers = np.arange(24, dtype=np.int32), Touched.none(3), Buffers()
    seen = buffers.copy(flat, 12, 4, touched).reshape(2, 12)[:, 2:5]  # a view, the copy itself is let go of
    flat[4:8] = -1
    touched = touched_by(touched, np.array([5]), 4)
    assert (buffers.copy(flat, 12, 4, touched) == flat).all()
    np.testing.assert_array_equal(seen, np.arange(24, dtype=np.int32).reshape(2, 12)[:, 2:5])
