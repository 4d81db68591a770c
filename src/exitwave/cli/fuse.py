"""Phase and dark field of one scan, fused, on disk."""

import os
from time import perf_counter
from typing import Any

import click
import numpy as np
import torch

from exitwave.cli.session import emit, peak_bytes, progress
from exitwave.cli.told import Making, made_from
from exitwave.core import record
from exitwave.data import Calibration, Dataset4D
from exitwave.io import Plane, write_result, write_tiff
from exitwave.plot import Curve, full_plane
from exitwave.recon.direct.geometry import Geometry, geometry
from exitwave.recon.fusion import FusedImage, fuse
from exitwave.signal import frc


@record
class Wanted:
    """What is asked of a fusion."""

    method: str
    upsample: int
    wedges: int
    inner: float
    output: str
    png: str | None = None
    tiff: str | None = None


def run(
    data: Dataset4D, known: Calibration, alive: np.ndarray | None, wanted: Wanted, *, budget: int, force: bool, as_json: bool, making: Making
) -> None:
    """Fuse, write, say what came out."""
    started = perf_counter()
    g = geometry(known, data.shape, None if alive is None else torch.from_numpy(alive))
    gain = float(known.counts_per_electron.value or 1.0)
    with progress("ff-stem") as tick:
        done = fuse(data.frames, g, method=wanted.method, upsample=wanted.upsample, count=wanted.wedges, inner=wanted.inner, dispersion=gain,
                    counts_per_electron=gain, memory_bytes=budget, progress=tick)
    rings = frc(done.halves[0], done.halves[1], done.pitch_A)
    metrics = metrics_of(done, g) | {"frc_resolution_A": rings.resolution_A(), "seconds": perf_counter() - started, "peak_bytes": peak_bytes()}
    recipe = {"schema": 1, "kind": "fuse", "verb": "fuse", "method": wanted.method, "upsample": wanted.upsample, "wedges": wanted.wedges,
              "inner": wanted.inner, "memory_bytes": budget, "calibration": known.as_json(),
              "dead_px": None if alive is None else np.argwhere(~alive)}
    provenance, facts = made_from(data, making)
    lacking = write_result(wanted.output, images=planes_of(done), recipe=recipe, calibration=known, metrics=metrics, provenance=provenance,
                           facts=facts, force=force)
    if wanted.tiff:
        write_tiff(wanted.tiff, _single(done.image), done.pitch_A, force)
    if wanted.png:
        _picture(done, g, wanted.png, force, Curve(q_invA=rings.q_invA.numpy(), value=rings.value.numpy()), rings.resolution_A())
    if as_json:
        paths = {name: path and os.path.abspath(path) for name, path in (("output", wanted.output), ("png", wanted.png), ("tiff", wanted.tiff))}
        emit({**paths, "method": "ff-stem", "pitch_A": list(done.pitch_A), "metrics": metrics, "nexus_missing": list(lacking)})
        return
    _say(done, metrics, wanted)


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


def planes_of(done: FusedImage) -> list[Plane]:
    """The images of a result: the fused one first."""
    ny, nx = done.image.shape
    dq = 1 / (ny * done.pitch_A[0]), 1 / (nx * done.pitch_A[1])
    spatial = {"phase": (done.image, "phase and dark field, fused"), "half_a": (done.halves[0], "half a of the detector pixels"),
               "half_b": (done.halves[1], "half b of the detector pixels"), "bright": (done.phase.image, f"{done.phase.method} alone")}
    fourier = {"ctf": (done.transfer, "", "transfer"), "noise": (done.noise, "rad^2", "variance of a Fourier coefficient over the count of pixels"),
               "share": (done.share, "", "share of the dark field")}
    dark = Plane(name="dark", array=_single(done.dark.canvas.sum(0)), pitch=done.pitch_A, unit="counts", title="tilt-corrected dark field")
    return [
        *(Plane(name=name, array=_single(image), pitch=done.pitch_A, unit="rad", title=title) for name, (image, title) in spatial.items()),
        dark,
        *(Plane(name=name, array=full_plane(values.numpy(), nx).real.astype(np.float32), pitch=dq, pitch_unit="1/A", unit=unit, title=title)
          for name, (values, unit, title) in fourier.items()),
    ]


def _picture(done: FusedImage, g: Geometry, png: str, force: bool, curve: Curve, resolution_A: float | None) -> None:
    from exitwave.plot import phase_figure, save

    figure = phase_figure(_single(done.image), pitch_A=done.pitch_A, ctf=done.transfer.numpy(), noise=done.noise.numpy(), aperture_invA=g.edge_invA,
                          title="phase and dark field, fused", rings=curve, resolution_A=resolution_A)
    save(figure, png, force)


def _say(done: FusedImage, metrics: dict[str, Any], wanted: Wanted) -> None:
    ny, nx = done.image.shape
    click.echo(f"{wanted.method} phase and dark field, fused: {ny} x {nx} pixels of {done.pitch_A[0]:.4g} x {done.pitch_A[1]:.4g} A")
    click.echo(f"  one unit of the dark field's mean is {done.gain.gain:.3g} +- {done.gain.sigma:.1g} rad; "
               f"phase rms {metrics['rms_phase_rad']:.3g} rad, of which noise {metrics['noise_rms_rad']:.3g} rad")
    band = done.dark_band
    click.echo("  the dark field leads " + (f"from {band[0]:.3g} to {band[1]:.3g} 1/A" if band else "nowhere"))
    if not done.gain.one_is_enough:
        low, high = done.model_based or (0.0, 0.0)
        where = f"from {low:.3g} to {high:.3g} 1/A the image rests on a model" if high else "it shaped no ring"
        ratio = f"chi2 {done.gain.chi2_per_degree:.2g} per degree"
        click.echo(f"  one gain does not explain this dark field ({ratio}), as with several elements: {where}")
    click.echo(f"  written to {wanted.output}" + "".join(f", {path}" for path in (wanted.png, wanted.tiff) if path))


def _single(image: torch.Tensor) -> np.ndarray:
    return image.to(torch.float32).numpy()
