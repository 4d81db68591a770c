"""The cheapest right way through a scan: windows keep what the whole field gives, positions a cell apart are one, sentences say why."""

from dataclasses import replace

import pytest
import torch

from exitwave.core import Beam, Grid, InputError, MemoryBudgetError, aberrations
from exitwave.core.fft import cis
from exitwave.matter import displaced, even_slices, structure, tile
from exitwave.simulate.choose import Probes, _foci, blurred, choose, run, trial_error, trial_positions, unique_positions
from exitwave.simulate.periods import alike, repeats
from exitwave.simulate.scan_recipe import StemRecipe, needed_pitch_A, stem_of, stem_run, step_in_cell_A
from exitwave.simulate.slabs import in_field, layer, layers
from exitwave.simulate.stem import Samples
from exitwave.wave import Annulus, Bucket, raster_scan

BEAM = Beam.electron(200e3)
CELL = structure([38, 8], [[0.7, 0.4, 0.5], [2.6, 1.9, 2.1]], (4.0, 4.0, 4.0), u_iso_A2=0.006)
RING = Annulus(inner_mrad=30.0, outer_mrad=60.0)


def field(cells: int = 6, points: int = 144, frozen: bool = False):
    atoms = tile(CELL, (cells, cells, 2))
    grid = Grid(shape=(points, points), pitch_A=(4.0 * cells / points,) * 2)
    return layers(displaced(atoms, 7) if frozen else atoms, grid, BEAM, even_slices(atoms, 2.0))


def probes(*detectors, shape=(4, 6), step=4.0 / 3, edge=0.0) -> Probes:
    return Probes(beam=BEAM, semiangle_mrad=20.0, scan=raster_scan(shape, (step, step), (0.2, 0.1)), detectors=detectors, edge_mrad=edge)


def test_positions_a_cell_apart_are_computed_once():
    of, optics = field(), probes(RING, Samples(reach_mrad=40.0), shape=(6, 3))
    plan = choose(of, optics, mode="whole")
    assert plan.positions == 9 and "9 of 18 positions differ" in plan.why
    fine = probes(RING, shape=(32, 32), step=8.0 / 32)  # steps that end in a half of the smallest distance are alike all the same
    assert choose(of, replace(fine, scan=raster_scan((32, 32), (0.2440625 * 4 / 3.905,) * 2)), mode="whole").positions == 256
    every = run([of], optics, choose(of, optics, mode="whole", periodic=False), periodic=False)
    for once, truth in zip(run([of], optics, plan), every, strict=True):
        assert once.shape == truth.shape and (once - truth).abs().max() <= 1e-5 * truth.max()
    assert torch.equal(run([of], optics, plan)[0][:3], run([of], optics, plan)[0][3:])


def test_a_window_of_whole_cells_is_exact_in_a_crystal_and_another_is_not():
    of, optics = field(), probes()
    fields = {z: in_field(of, layer(of, z)) for z in of.distinct}
    whole = trial_error(of, fields, optics, Grid(shape=(72, 72), pitch_A=of.grid.pitch_A), [0, 5])
    other = trial_error(of, fields, optics, Grid(shape=(80, 72), pitch_A=of.grid.pitch_A), [0, 5])
    assert whole <= 0.05 and other >= 0.2
    # the whole field as a window is no approximation: the two ways of taking waves through agree to rounding
    assert trial_error(of, fields, optics, of.grid, [0, 5]) <= 0.02


def test_the_choice_is_right_and_says_why():
    of, optics = field(), probes(RING, Bucket(), edge=1.5)
    plan = choose(of, optics, periodic=False)
    assert plan.mode == "windows" and plan.window.shape[0] < 144 and plan.error <= 0.5 and "times cheaper" in plan.why
    ring, everything = run([of], optics, plan, periodic=False)
    truth = run([of], optics, choose(of, optics, mode="whole"))[0]
    assert ((ring - truth).abs() / torch.clamp(truth, min=0.1 * float(truth.max()))).max() <= 0.01 and (everything <= 1 + 1e-5).all()
    frozen = [field(frozen=True), field(frozen=True)]
    both = run(frozen, optics, choose(frozen[0], optics, mode="whole"))
    assert torch.allclose(both[0], run(frozen[:1], optics, choose(frozen[0], optics, mode="whole"))[0], rtol=1e-5, atol=0)
    assert "asks for every sample" in choose(of, probes(Samples(reach_mrad=30.0))).why
    assert "too few" in choose(of, probes(RING, shape=(1, 2))).why


def test_what_cannot_be_done_is_said():
    of = field()
    with pytest.raises(MemoryBudgetError, match="do not fit"):
        choose(of, probes(RING), memory_bytes=10**5)
    with pytest.raises(InputError, match="larger than the field"):
        choose(of, probes(RING), window=(500, 500))


def test_focal_spread_is_the_mean_over_foci():
    of, optics = field(cells=3, points=72), replace(probes(RING, shape=(1, 2)), focal_spread_A=60.0, aberrations=aberrations({"C10_A": -30.0}))
    plan = choose(of, optics, mode="whole")
    foci = _foci(optics)
    assert len(foci) >= 3 and sum(w for w, _ in foci) == pytest.approx(1)
    parts = [w * run([of], replace(optics, focal_spread_A=0.0, aberrations=aberrations({"C10_A": -30.0 + f})), plan)[0] for w, f in foci]
    assert torch.allclose(run([of], optics, plan)[0], sum(parts), rtol=1e-5, atol=0)


def test_a_source_blurs_a_wave_by_its_gaussian():
    n = torch.arange(240, dtype=torch.float64)
    wave = 1 + cis(2 * torch.pi * n / 24, torch.complex128).real
    seen = blurred(wave[None].repeat(3, 1), (1.0, 0.5), 1.2)[1, 60:-60]
    damping = torch.exp(torch.tensor(-2 * torch.pi**2 * (1.2 / 12) ** 2, dtype=torch.float64))
    assert torch.allclose(seen, 1 + damping * (wave[60:-60] - 1), rtol=0, atol=1e-9)
    assert torch.allclose(blurred(torch.ones(5, 4, 2), (1.0, 1.0), 3.0), torch.ones(5, 4, 2))


def test_trials_stand_where_the_specimen_is():
    """A lone column at the right of a field that is empty elsewhere: windows are judged there, not in the vacuum where the scan starts."""
    column = structure([79] * 4, [[17.3, 11.1, 1.0 + 2 * i] for i in range(4)], (24.0, 24.0, 8.0), u_iso_A2=0.006)
    grid = Grid(shape=(144, 144), pitch_A=(24.0 / 144,) * 2)
    of, scan = layers(column, grid, BEAM, even_slices(column, 2.0)), raster_scan((12, 13), (1.8, 1.7))
    fields = {z: in_field(of, layer(of, z)) for z in of.distinct}
    tried = scan.positions_A[trial_positions(of, fields, scan, range(156))]
    assert float((tried - torch.tensor([11.1, 17.3])).norm(dim=1).min()) < 1.2
    assert len(tried) == 4 and tried.std(0).min() > 2 and len(set(tried[:, 1].tolist())) == 4


def test_a_window_is_tried_over_the_whole_focal_spread():
    of, sharp = field(), probes(RING, edge=1.5)
    fields = {z: in_field(of, layer(of, z)) for z in of.distinct}
    small, tolerance = Grid(shape=(100, 90), pitch_A=of.grid.pitch_A), 1.0
    farthest = max(focus for weight, focus in _foci(replace(sharp, focal_spread_A=160.0)) if weight >= 0.01)
    ends = [replace(sharp, aberrations=aberrations({"C10_A": focus})) for focus in (-farthest, farthest)]
    alone = [trial_error(of, fields, optics, small, [0, 5], tolerance) for optics in (sharp, *ends)]
    assert farthest > 160 and max(alone) > 2 * alone[0]
    assert trial_error(of, fields, replace(sharp, focal_spread_A=160.0), small, [0, 5], tolerance) == pytest.approx(max(alone), rel=0.02)


def test_a_probe_wider_than_the_field_is_refused():
    with pytest.raises(InputError, match="wider than the field") as said:
        choose(field(), replace(probes(RING), aberrations=aberrations({"C10_A": -900.0})))
    assert "--field-A 4" in str(said.value)


def test_elements_that_share_a_site_repeat_like_any_other():
    mixed = structure([38, 20, 8], [[0.7, 0.4, 0.5], [0.7, 0.4, 0.5], [2.6, 1.9, 2.1]], (4.0, 4.0, 4.0), occupancy=[0.6, 0.4, 1.0])
    atoms = tile(mixed, (3, 2, 2))
    assert repeats(atoms) == (3, 2) and alike(atoms, (atoms.positions_A[:, 2] / 2).long(), 4) == (0, 1, 0, 1)
    single = replace(atoms, occupancy=torch.where(torch.arange(len(atoms.numbers)) == 7, 0.5, atoms.occupancy))
    assert repeats(single) == (1, 1)


def test_a_default_scan_is_in_step_with_the_crystal_and_lies_on_what_does_not_repeat():
    recipe = StemRecipe(annuli_mrad=((30.0, 50.0),), thickness_A=8.0, mode="whole")
    crystal = stem_of(recipe)
    assert crystal.recipe.step_A == pytest.approx(3.905 / 16) and crystal.choice.positions == 256
    step = step_in_cell_A((5.475, 3.161), (32, 30))
    assert 0.2 <= step <= 0.25 and abs(3.161 / step - round(3.161 / step)) < 1e-9
    particle = stem_of(replace(recipe, specimen="Au-nanoparticle", field_A=(30.0, 34.0), scan_shape=(9, 8)))
    scan = particle.probes.scan
    middle = torch.tensor(particle.grid.extent_A, dtype=torch.float64) / 2
    assert particle.recipe.step_A == 0.25 and torch.allclose(scan.positions_A.mean(0), middle)
    assert len(unique_positions(layers(particle.structure, particle.grid, particle.beam, particle.dz_A), scan)[0]) == 72
    corners = replace(recipe, detector_px=(40, 30), detector_mrad=4.0)
    assert needed_pitch_A(corners) == pytest.approx(needed_pitch_A(recipe) / 2)  # a camera of 160 x 120 mrad reaches 100 mrad in its corners


def test_axes_of_the_centre_of_mass_and_configurations_that_differ():
    """Graphene mirrors x about an atom: a probe above it on the axis is deflected along y alone. Every configuration moves atoms anew."""
    recipe = StemRecipe(specimen="graphene", energy_eV=100e3, field_A=(12.0, 9.0), scan_shape=(4, 1), scan_step_A=0.3, source_A=0.0, segments_mrad=(),
                        annuli_mrad=((30.0, 50.0),), mode="whole")
    images = {i.name: i.image for i in stem_run(stem_of(recipe))[0]}
    assert images["centre_of_mass_y"].abs().max() > 0.05 and images["centre_of_mass_x"].abs().max() < 1e-3
    one, two = (stem_run(stem_of(replace(recipe, configurations=n, moments=False)))[0][0].image for n in (1, 2))
    assert ((one - two).abs() / one).max() > 0.01
