"""A fit's options, frames of reference, memory, ends and checkpoints, apart from the command line."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from exitwave.core import FormatError, InputError, MemoryBudgetError
from exitwave.core.seeds import generator_at
from exitwave.data import ArrayFrames, Calibration, Quantity
from exitwave.recon.iterative import run as runs
from exitwave.recon.iterative import search as searches
from exitwave.recon.iterative.adam import State
from exitwave.recon.iterative.certainty import _scale
from exitwave.recon.iterative.checkpoint import key_of, load_checkpoint, save_checkpoint
from exitwave.recon.iterative.halves import _problems, half_fits
from exitwave.recon.iterative.memory import needed_bytes
from exitwave.recon.iterative.options import PtychoOptions
from exitwave.recon.iterative.problem import modes_of
from exitwave.recon.iterative.result import projected, scan_image
from exitwave.recon.iterative.run import Kept, Prepared, follow, prepare, settled
from exitwave.recon.iterative.setup import set_up
from exitwave.recon.iterative.start import field_in_scan_A

SHAPE = (5, 7, 20, 18)


def calibration(rotation_deg: float = 30.0, transpose: bool = False, **more: float) -> Calibration:
    told: dict[str, Any] = {"energy_eV": 80e3, "semiangle_mrad": 20.0, "scan_step_y_A": 1.1, "scan_step_x_A": 0.9, "detector_mrad": 3.5,
                            "rotation_deg": rotation_deg, "transpose": transpose, **more}
    quantities = {name: Quantity(value=value, source="given") for name, value in told.items()}
    return Calibration(**quantities, aberrations={"C10_A": Quantity(value=-60.0, source="given")})


def disks(counts: float = 40.0) -> np.ndarray:
    """Poisson counts of a bright disk where the calibration has it."""
    y, x = np.indices(SHAPE[2:])
    disk = np.hypot(y - 9.5, x - 8.5) < 20 / 3.5
    return generator_at(3, 0).poisson(counts * disk, SHAPE).astype(np.uint16)


def ready(memory_bytes: int = 2**30, frames: np.ndarray | None = None, **options: Any) -> Prepared:
    asked = PtychoOptions(**{"iterations": 3, "batch": 9, **options})
    return prepare(ArrayFrames(array=disks() if frames is None else frames), calibration(), None, asked, memory_bytes=memory_bytes)


def landscape(place_A: np.ndarray) -> np.ndarray:
    """A smooth function of the scan frame without any symmetry."""
    y, x = place_A[..., 0], place_A[..., 1]
    return np.exp(-((y - 1.3) ** 2 + (x - 2.2) ** 2) / 4) - 0.6 * np.exp(-((y - 3.1) ** 2 + (x - 0.8) ** 2) / 3) + 0.02 * x - 0.03 * y


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("rotation_deg", [0.0, 90.0, 180.0, -90.0, 33.0])
def test_the_scans_frame(rotation_deg: float, transpose: bool) -> None:
    s = set_up(calibration(rotation_deg, transpose), SHAPE, 1.0)
    image = scan_image(s, torch.from_numpy(landscape(field_in_scan_A(s).numpy()))[None])
    y, x = (o + np.arange(n) * p for n, p, o in zip(image.slices.shape[1:], image.pitch_A, image.origin_A, strict=True))
    true = landscape(np.stack(np.meshgrid(y, x, indexing="ij"), -1))
    assert abs(image.slices[0] - true).max() < (1e-12 if rotation_deg % 90 == 0 else 2e-3)
    assert max(map(abs, image.origin_A)) <= 0.51 * max(image.pitch_A)
    reach = [(n - 1) * p + o for n, p, o in zip(image.slices.shape[1:], image.pitch_A, image.origin_A, strict=True)]
    for got, wanted, pitch in zip(reach, (4 * 1.1, 6 * 0.9), image.pitch_A, strict=True):
        assert wanted - pitch < got <= wanted + 1e-6
    assert projected(image).mean() == pytest.approx(0, abs=1e-12)


def test_frames_on_disk_give_the_same_fit_as_frames_in_memory() -> None:
    class Counted(ArrayFrames):
        pass

    source = Counted(array=disks())
    options = PtychoOptions(iterations=2, batch=8, checkpoint_every=0)
    need = needed_bytes(set_up(calibration(), SHAPE, 1.0), source, options, 2**40)
    least = prepare(source, calibration(), None, options, memory_bytes=need)
    roomy = prepare(source, calibration(), None, options, memory_bytes=need + source.array.nbytes)
    assert (least.in_memory, roomy.in_memory) == (False, True) and least.problem.frames is source
    one, other = follow(least), follow(roomy)
    assert torch.equal(one.leaves["phase"], other.leaves["phase"]) and float(one.leaves["phase"].abs().max()) > 0
    with pytest.raises(MemoryBudgetError, match=r"at least \d+ MB .* for a phase of 1 x"):
        prepare(source, calibration(), None, options, memory_bytes=need - 1)


def test_a_fit_with_a_probe_that_varies() -> None:
    p = ready(probe_shapes=2, modes=2, halves="counts")
    assert not bool(p.problem.held.any())  # a pattern held out says nothing of its own weights
    out = follow(p)
    assert out.figures["loss"] < out.kept.history[0]["loss"]
    assert float(out.leaves["probe_weights"].abs().max()) > 0 and tuple(out.leaves["probe_weights"].shape) == (35, 2)
    with pytest.raises(InputError, match="one probe for all patterns"):
        PtychoOptions(probe_shapes=1, solver="lbfgs")
    with pytest.raises(InputError, match="one mode"):
        PtychoOptions(probe_shapes=1, probe="known")


def test_halves_of_the_counts_have_half_of_a_probe_that_varies() -> None:
    p = ready(probe_shapes=2, modes=2, halves="counts")
    leaves = {**p.problem.leaves, "probe_weights": torch.full((35, 2), 0.5, dtype=torch.float64)}
    every = torch.arange(35)
    whole = (modes_of(p.problem.setup, leaves, (), every).abs() ** 2).sum()
    for half in _problems(p, leaves):
        share = float((modes_of(p.problem.setup, half.leaves, (), every).abs() ** 2).sum() / whole)
        assert share == pytest.approx(0.5, rel=1e-5)


def test_trials_of_a_search_have_one_probe_and_no_coarse_fit_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searches, "SHORT", 1)
    monkeypatch.setattr(searches, "STEPS", 1)
    frames = ArrayFrames(array=disks())
    plain, more = (searches._judged(frames, calibration(), PtychoOptions(batch=100, **asked), None, 2**30, None)
                   for asked in ({}, {"probe_shapes": 2, "coarse": 3}))
    assert plain == more < float("inf")


def test_a_fit_that_is_stopped_while_it_is_coarse_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(p: Prepared, begin: State) -> Iterator[tuple[State, Mapping[str, float]]]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(runs, "turns", stopped)
    monkeypatch.setattr(runs, "middle_of", lambda frames, known, s, alive: (frames, known, alive))
    with pytest.raises(KeyboardInterrupt):
        ready(coarse=2)


def test_what_acts_along_the_beam_has_slices_and_equal_distances() -> None:
    for name in ("z_sigma_A", "z_change_rad_per_A2", "kz_filter"):
        with pytest.raises(InputError, match=f"{name} acts along the beam"):
            PtychoOptions(**{name: 0.1})
    with pytest.raises(InputError, match="equally far apart"):
        PtychoOptions(slices=3, thickness_A=30.0, kz_filter=0.1, fit=("thickness",))


def test_errors_beside_a_probe_that_varies_keep_its_shapes_in_the_aperture() -> None:
    p = ready(probe_shapes=1, fit=("source",), oversample=1)
    scale = _scale(p.problem, p.problem.leaves, "probe_shapes", torch.arange(9))
    assert torch.equal(scale[0] > 0, _scale(p.problem, p.problem.leaves, "modes", torch.arange(9))[0] > 0)


def test_a_better_start_does_not_make_a_fit_diverge_sooner() -> None:
    p = ready(iterations=2)
    better = {**p.problem.leaves, "phase": follow(p).leaves["phase"]}
    begun = runs._loss_before(p)
    assert runs._loss_before(replace(p, problem=replace(p.problem, leaves=better))) == begun > 0


def faked(monkeypatch: pytest.MonkeyPatch, held: list[float]) -> None:
    def turns(p: Prepared, begin: State) -> Iterator[tuple[State, Mapping[str, float]]]:
        for i, value in enumerate(held[begin.iteration :], begin.iteration):
            leaves = {**begin.leaves, "phase": torch.full_like(begin.leaves["phase"], float(i))}
            yield replace(begin, leaves=leaves, iteration=i + 1), {"loss": 1.0, "held_out": value}  # type: ignore[type-var]

    monkeypatch.setattr(runs, "turns", turns)


def test_a_fit_that_follows_noise_ends_with_its_best_state(monkeypatch: pytest.MonkeyPatch) -> None:
    faked(monkeypatch, [5.0, 3.0, 2.0, 2.5, 2.1, 2.2, 2.3])
    seen: list[Kept] = []
    out = follow(ready(iterations=7, patience=3), each=seen.append)
    assert (out.status, len(out.kept.history), float(out.leaves["phase"].max())) == ("stopped early", 6, 2.0)
    again = follow(ready(iterations=7, patience=3), begin=seen[3])  # a stop and a new beginning do not forget the best
    assert (again.status, float(again.leaves["phase"].max())) == ("stopped early", 2.0)
    out = follow(ready(iterations=7, patience=0))
    assert (out.status, out.iteration, float(out.leaves["phase"].max())) == ("iterations done", 3, 2.0)
    assert dict(out.figures) == {"loss": 1.0, "held_out": 2.0}


def test_settled() -> None:
    assert settled(tuple({"loss": 9.0, "held_out": 5 + 0.5**i} for i in range(30)))
    assert not settled(tuple({"loss": 9.0 - 0.1 * i} for i in range(30)))
    assert not settled(({"loss": 1.0},) * 5)  # too few to tell


def test_a_checkpoint_comes_back_and_knows_its_fit(tmp_path: Path) -> None:
    p = ready(fit=("positions",), modes=2)
    seen: list[Kept] = []
    whole = follow(p, each=seen.append)
    path, key = tmp_path / "x.checkpoint.h5", key_of(p, calibration())
    save_checkpoint(path, seen[0], key)
    found = load_checkpoint(path, key)
    assert found.history == seen[0].history and found.state.steps == seen[0].state.steps and found.state.iteration == 1
    for part in ("leaves", "first", "second"):
        for name, value in getattr(seen[0].state, part).items():
            assert torch.equal(getattr(found.state, part)[name], value) and getattr(found.state, part)[name].dtype == value.dtype
    resumed = follow(p, begin=found)
    for name, value in whole.leaves.items():
        assert torch.equal(resumed.leaves[name], value)
    assert key_of(ready(fit=("positions",), modes=2, checkpoint_every=1), calibration()) == key
    for other in (ready(modes=2), ready(fit=("positions",), modes=2, frames=disks(41.0)), ready(fit=("positions",), modes=2, seed=1)):
        with pytest.raises(InputError, match="another fit"):
            load_checkpoint(path, key_of(other, calibration()))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(FormatError):
        load_checkpoint(path, key)


@pytest.mark.parametrize("solver", ["lsqml", "epie", "lbfgs"])
def test_fits_with_other_solvers_go_on_too(solver: str, tmp_path: Path) -> None:
    p, seen = ready(solver=solver, iterations=5, modes=2, prior_rad=0.2), list[Kept]()
    whole = follow(p, each=seen.append)
    path, key = tmp_path / "x.checkpoint.h5", key_of(p, calibration())
    save_checkpoint(path, seen[2], key)
    resumed = follow(p, begin=load_checkpoint(path, key))
    assert whole.kept.state.iteration == resumed.kept.state.iteration == 5
    for name, value in whole.leaves.items():
        assert torch.equal(resumed.leaves[name], value)
    modes = whole.leaves["modes"]
    assert abs(float((modes[0] * modes[1].conj()).sum().abs())) < 1e-5 * float(modes.abs().square().sum())  # one gauge, whoever has solved it
    with pytest.raises(InputError, match="alone"):
        ready(solver=solver, fit=("positions",))


def test_a_prior_is_told_as_the_rms_of_a_pixel() -> None:
    p = ready(slices=2, thickness_A=30.0, prior_rad=0.3)
    drawn = torch.from_numpy(generator_at(5, 0).normal(0.0, 0.3, tuple(p.problem.leaves["phase"].shape)))
    (penalty,) = p.problem.penalties
    numbers = drawn.numel()
    assert float(penalty({"phase": drawn})) == pytest.approx(numbers / 2, abs=4 * (numbers / 2) ** 0.5)  # half a nat a number
    assert ready().problem.penalties == ()
    rms = {prior: float(follow(ready(prior_rad=prior, iterations=6)).leaves["phase"].std()) for prior in (0.0, 1e-3)}
    assert rms[1e-3] < 0.5 * rms[0.0]
    with pytest.raises(InputError, match="memory of lbfgs"):
        ready(solver="lbfgs", slices=2, thickness_A=30.0, z_sigma_A=4.0)
    with pytest.raises(InputError, match="prior_rad"):
        ready(prior_rad=-1.0)


def test_priors_and_filters_that_are_asked_for_act() -> None:
    sliced = {"slices": 3, "thickness_A": 30.0}
    p = ready(**sliced, z_change_rad_per_A2=2e-3, tv_per_rad_A=0.4)
    along, edges = p.problem.penalties
    steps = torch.from_numpy(generator_at(6, 0).normal(0.0, 2e-3 * 10 * 10, (1, 2, *p.problem.setup.field.shape)))  # rad: dz and thickness of 10 A
    phase = torch.cat([torch.zeros_like(steps[:, :1]), steps.cumsum(1)], 1)
    leaves = {**p.problem.leaves, "phase": phase}
    assert float(along(leaves)) == pytest.approx(steps.numel() / 2, abs=4 * (steps.numel() / 2) ** 0.5)  # half a nat a number
    step = torch.zeros_like(phase)
    step[:, 0, :, 5:9] = 1.0  # two edges of one rad along the whole field
    tall = p.problem.setup.field.shape[0] * p.problem.setup.field.pitch_A[0]
    assert float(edges({"phase": step})) == pytest.approx(0.4 * 2 * tall, rel=0.02)
    unlike = {}
    for strength in (0.0, 100.0):
        found = follow(ready(**sliced, kz_filter=strength, iterations=4)).leaves["phase"][0]
        unlike[strength] = float((found - found.mean(0)).std() / found.mean(0).std())
    assert unlike[100.0] < 0.5 * unlike[0.0]
    with pytest.raises(InputError, match="kz_filter"):
        ready(solver="lbfgs", **sliced, kz_filter=0.1)


def test_a_fit_of_the_sources_size_has_finer_samples() -> None:
    plain, fitted = ready(), ready(fit=("source",))
    assert fitted.problem.setup.camera.samples > plain.problem.setup.camera.samples
    assert ready(fit=("source",), oversample=1).problem.setup.camera.samples == 1


def test_half_fits_share_no_counts() -> None:
    p = ready(halves="scan", iterations=2)
    one, other = half_fits(p, p.problem.leaves, 2)
    assert one.shape == other.shape == p.problem.leaves["phase"].shape and not torch.equal(one, other)
    q = ready(halves="counts", iterations=2)
    one, other = half_fits(q, q.problem.leaves, 2)
    assert float(one.abs().max()) > 0 and not torch.equal(one, other)
    clustered = prepare(ArrayFrames(array=disks()), calibration(counts_per_electron=3.0), None, PtychoOptions(halves="counts"), memory_bytes=2**30)
    assert clustered.problem.loss.dispersion == 3.0
    with pytest.raises(InputError, match="1 count per electron"):
        half_fits(clustered, clustered.problem.leaves, 1)


def test_everything_that_can_be_fitted_moves() -> None:
    frames = disks(400.0)
    names = ("positions", "affine", "lines", "tilt", "thickness", "aberrations", "source", "focal-spread", "background", "psf")
    p = ready(frames=frames, fit=names, slices=2, thickness_A=20.0, iterations=2)
    out = follow(p)
    assert out.status == "iterations done", out.kept.history
    for name in p.problem.free:
        assert not torch.equal(out.leaves[name], p.problem.leaves[name]), name
    assert all(bool(torch.isfinite(torch.view_as_real(v) if v.is_complex() else v).all()) for v in out.leaves.values())


def test_a_background_is_never_negative_and_finds_what_is_there() -> None:
    dark = disks(40.0) + generator_at(4, 0).poisson(3.0, SHAPE).astype(np.uint16)
    found = follow(ready(frames=dark, fit=("background",), iterations=30)).leaves["background"]
    assert float(found.min()) >= 0
    without = follow(ready(fit=("background",), iterations=30)).leaves["background"]
    assert float(without.min()) >= 0
    assert float(found.mean()) > float(without.mean()) + 0.2


def test_positions_hold_no_pattern_out_and_a_fit_that_ended_stays_ended() -> None:
    assert not bool(ready(fit=("positions",)).problem.held.any())
    p = ready(iterations=30, patience=1, phase_rate=0.3)
    done = follow(p)
    assert done.status == "stopped early"
    again = follow(p, begin=done.kept)
    assert again.status == "stopped early" and all(torch.equal(again.leaves[name], value) for name, value in done.leaves.items())


def test_a_known_probe_may_have_its_aberrations_fitted() -> None:
    p = ready(probe="known", fit=("aberrations",), iterations=6)
    found = follow(p).kept.state.leaves
    assert torch.equal(found["modes"], p.problem.leaves["modes"]) and bool(found["aberrations_A"].abs().sum() > 0)
    with pytest.raises(InputError, match="one mode"):
        ready(probe="known", modes=2)
    with pytest.raises(InputError, match="kmax_invA"):
        ready(kmax_invA=float("nan"))
