"""Phase and dark field of one scan, fused, on disk."""

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import click
import numpy as np
import torch

from exitwave.cli.asked import Known, given
from exitwave.cli.corrections import known_alive
from exitwave.cli.quantities import check_dealt
from exitwave.cli.saving import NOISE, half_title, single
from exitwave.cli.session import Outputs, emit, layered, overridden, peak_bytes, progress
from exitwave.cli.told import Making, made_from
from exitwave.cli.work import dead_px, require
from exitwave.core import record
from exitwave.data import Calibration, Dataset4D
from exitwave.io import Plane, write_result, write_tiff
from exitwave.plot import Curve, full_plane
from exitwave.recon.direct.geometry import Geometry, geometry
from exitwave.recon.fusion import FusedImage, fuse
from exitwave.recon.options import FuseOptions, Halves
from exitwave.signal import RingCorrelation, frc

WANTED = ("fuse", "calibration", "reconstruct")


@record
class Fused:
    """A fused image with the geometry and calibration that made it, its half-set correlation and what it cost."""

    image: FusedImage
    geometry: Geometry
    calibration: Calibration
    rings: RingCorrelation
    halves: Halves
    seconds: float

    @property
    def metrics(self) -> dict[str, Any]:
        """What scripts read beside the image."""
        return {**metrics_of(self.image, self.geometry), "frc_resolution_A": self.rings.resolution_A(), "half_sets": self.halves}


def asked_of(recipe: str | None, sets: Sequence[str], flags: Mapping[str, Any]) -> tuple[FuseOptions, Known]:
    """A recipe of kind fuse, or one of another kind for its calibration, with --set on top, and flags (None: not given) on top of that.

    Raises:
        InputError: an unknown method, a number out of range; as `exitwave.cli.recipes.loaded`.
        FormatError: no recipe.
    """
    told = given(recipe, sets, flags, WANTED)
    return told.options(FuseOptions), told.known


def run(
    data: Dataset4D, options: FuseOptions, beside: Known, outputs: Outputs, *, optics: Mapping[str, Any], budget: int, force: bool, as_json: bool,
    making: Making,
) -> None:
    """Fuse, write, say what came out."""
    known = overridden(layered(data.calibration, beside.calibration), **optics)
    require(known, options.method)
    alive = known_alive(data, beside.alive((data.shape[2], data.shape[3])))
    done = fused(data, known, alive, options, budget)
    lacking = save_fused(done, data, recipe_of(options, known, budget, alive), outputs, force=force, making=making)
    if as_json:
        metrics = {**done.metrics, "seconds": done.seconds, "peak_bytes": peak_bytes()}
        emit({**outputs.as_json(), "method": "ff-stem", "pitch_A": list(done.image.pitch_A), "metrics": metrics, "nexus_missing": list(lacking)})
        return
    _say(done, outputs)


def fused(data: Dataset4D, known: Calibration, alive: np.ndarray | None, options: FuseOptions, budget: int) -> Fused:
    """Phase and dark field of a scan as one image. `alive` (ky, kx) marks the detector pixels that count; None: all."""
    started = perf_counter()
    g = geometry(known, data.shape, None if alive is None else torch.from_numpy(alive))
    gain = float(known.counts_per_electron.value or 1.0)
    if options.halves == "counts":
        check_dealt(data.frames, gain)
    with progress("ff-stem") as tick:
        image = fuse(data.frames, g, method=options.method, upsample=options.upsample, count=options.wedges, inner=options.inner, dispersion=gain,
                     counts_per_electron=gain, halves=options.halves, memory_bytes=budget, progress=tick)
    rings = frc(image.halves[0], image.halves[1], image.pitch_A)
    return Fused(image=image, geometry=g, calibration=known, rings=rings, halves=options.halves, seconds=perf_counter() - started)


def recipe_of(options: FuseOptions, known: Calibration, budget: int, alive: np.ndarray | None) -> dict[str, Any]:
    """The recipe of kind fuse that makes the same image again."""
    return {"schema": 1, "kind": "fuse", "verb": "fuse", "method": options.method, "upsample": options.upsample, "wedges": options.wedges,
            "inner": options.inner, "halves": options.halves, "memory_bytes": budget, "calibration": known.as_json(),
            "dead_px": None if alive is None else dead_px(alive)}


def save_fused(done: Fused, data: Dataset4D, recipe: Mapping[str, Any], outputs: Outputs, *, force: bool, making: Making) -> tuple[str, ...]:
    """The result file and, where asked, a TIFF and a PNG. Returns what NeXus (NXem) requires of the result and nobody knows."""
    provenance, facts = made_from(data, making)
    metrics = {**done.metrics, "seconds": done.seconds, "peak_bytes": peak_bytes()}
    lacking = write_result(outputs.result, images=planes_of(done.image, done.halves), recipe=dict(recipe), calibration=done.calibration,
                           metrics=metrics, provenance=provenance, facts=facts, force=force)
    if outputs.tiff:
        write_tiff(outputs.tiff, single(done.image.image), done.image.pitch_A, force)
    if outputs.png:
        _picture(done, outputs.png, force)
    return lacking


def title_of(done: Fused) -> str:
    """How people read it."""
    return f"{done.image.phase.method} phase and dark field, fused"


def metrics_of(done: FusedImage, g: Geometry) -> dict[str, Any]:
    """What scripts read beside the image. Bands are [low, high] in 1/A."""
    step = g.scan.pitch_A
    return {
        "dose_e_per_A2": done.phase.electrons / (step[0] * step[1]),
        "electrons_per_position": done.phase.electrons,
        "dark_counts_per_position": done.dark.counts,
        "rms_phase_rad": float(done.image.std()),
        "noise_rms_rad": float(np.sqrt(full_plane(done.noise.numpy(), done.image.shape[1]).real.mean())),
        "gain_rad": done.gain.gain,
        "gain_sigma_rad": done.gain.sigma,
        "gain_chi2_per_degree": done.gain.chi2_per_degree,
        "gain_probability": done.gain.probability,
        "model_based_invA": done.model_based and list(done.model_based),
        "dark_band_invA": done.dark_band and list(done.dark_band),
        "screening_invA": done.dark.law.screening_invA,
        "effective_radius": float(done.dark.optics.effective.mean()),
        "rings_invA": done.rings.q_invA.tolist(),
        "ssnr_phase": done.ssnr_phase.tolist(),
        "ssnr_dark": done.ssnr_dark.tolist(),
        "ssnr": done.ssnr.tolist(),
    }


def planes_of(done: FusedImage, halves: Halves = "pixels") -> list[Plane]:
    """The images of a result: the fused one first."""
    ny, nx = done.image.shape
    dq = 1 / (ny * done.pitch_A[0]), 1 / (nx * done.pitch_A[1])
    spatial = {"phase": (done.image, "phase and dark field, fused"), "half_a": (done.halves[0], half_title("a", halves)),
               "half_b": (done.halves[1], half_title("b", halves)), "bright": (done.phase.image, f"{done.phase.method} alone")}
    fourier = {"ctf": (done.transfer, "", "transfer"), "noise": (done.noise, "rad^2", NOISE),
               "share": (done.share, "", "share of the dark field")}
    dark = Plane(name="dark", array=single(done.dark.canvas.sum(0)), pitch=done.pitch_A, unit="counts", title="tilt-corrected dark field")
    return [
        *(Plane(name=name, array=single(image), pitch=done.pitch_A, unit="rad", title=title) for name, (image, title) in spatial.items()),
        dark,
        *(Plane(name=name, array=full_plane(values.numpy(), nx).real.astype(np.float32), pitch=dq, pitch_unit="1/A", unit=unit, title=title)
          for name, (values, unit, title) in fourier.items()),
    ]


def _picture(done: Fused, png: str, force: bool) -> None:
    from exitwave.plot import phase_figure, save

    image, curve = done.image, Curve(q_invA=done.rings.q_invA.numpy(), value=done.rings.value.numpy())
    figure = phase_figure(single(image.image), pitch_A=image.pitch_A, ctf=image.transfer.numpy(), noise=image.noise.numpy(),
                          aperture_invA=done.geometry.edge_invA, title="phase and dark field, fused", rings=curve,
                          resolution_A=done.rings.resolution_A())
    save(figure, png, force)


def _say(done: Fused, outputs: Outputs) -> None:
    image, metrics = done.image, done.metrics
    ny, nx = image.image.shape
    click.echo(f"{title_of(done)}: {ny} x {nx} pixels of {image.pitch_A[0]:.4g} x {image.pitch_A[1]:.4g} A")
    click.echo(f"  one unit of the dark field's mean is {image.gain.gain:.3g} +- {image.gain.sigma:.1g} rad; "
               f"phase rms {metrics['rms_phase_rad']:.3g} rad, of which noise {metrics['noise_rms_rad']:.3g} rad")
    band = image.dark_band
    click.echo("  the dark field leads " + (f"from {band[0]:.3g} to {band[1]:.3g} 1/A" if band else "nowhere"))
    if not image.gain.one_is_enough:
        low, high = image.model_based or (0.0, 0.0)
        where = f"from {low:.3g} to {high:.3g} 1/A the image rests on a model" if high else "it shaped no ring"
        ratio = f"chi2 {image.gain.chi2_per_degree:.2g} per degree"
        click.echo(f"  one gain does not explain this dark field ({ratio}), as with several elements: {where}")
    click.echo(f"  written to {outputs.in_words()}")
