"""What is shown of the counts at a moment, as pure functions of them and the settings."""

from typing import Any

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.live.page.scene import Scene, counted_by, detector_mask, detector_words, phase_view, pitch_of
from exitwave.live.page.settings import Settings
from exitwave.plot.spectra import full_plane, log_spectrum, middle_origin, radial, untransferred
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import DirectImage
from exitwave.recon.live import CubeState
from exitwave.recon.live.cube import share_reached
from exitwave.recon.live.growing import Growing, add_counts
from exitwave.signal import frc, ring_ssnr

LONGEST_CURVE = 160


@record
class Picture:
    """The big image: its header and arrays as `exitwave.live.page.wire.packed` takes them, and the direct image that it was made from."""

    header: dict[str, Any]
    arrays: dict[str, np.ndarray]
    image: DirectImage | None
    geometry: Geometry | None


def pictured(scene: Scene, state: CubeState, settings: Settings, growing: Growing | None = None) -> Picture:
    """The big image: a phase (relative to its mean, which `image` keeps), a log-amplitude, a wave or the virtual detector's, with what it needs to
    be read. `growing` keeps what the next one needs.

    Raises:
        InputError: no counts yet, pixels that were not counted, a method without an amplitude.
        CalibrationError: a phase image where the optics are not known.
    """
    seen = np.packbits(state.reach.seen)
    about = {"reached": share_reached(state), "scan": list(scene.shape[:2])}
    if settings.view == "detector":
        image = detected(scene, state, settings)
        pitch = pitch_of(scene.calibration)
        return Picture(header={**about, "view": "detector", "unit": "e" if scene.gain == 1 else "counts", "pitch_A": pitch, "sigma": "poisson",
                               "title": detector_words(settings)}, arrays={"image": image, "seen": seen}, image=None, geometry=None)
    if not counted_by(scene, settings.method):
        raise InputError(f"{settings.method} looks at the whole detector, and only the bright disk fits into the memory",
                         remedy="choose another method, or raise --memory")
    view = phase_view(scene, settings)
    made = view.view(state) if growing is None else growing.image(view, state)
    arrays, unit = _shown(made, settings)
    noise = full_plane(made.noise.numpy(), made.image.shape[1]).real
    header = {**about, "view": settings.view, "unit": unit, "pitch_A": list(made.pitch_A), "method": settings.method, "upsample": settings.upsample,
              "sigma": float(np.sqrt(noise.mean())), "aperture_invA": view.g.edge_invA, "electrons": made.electrons,
              "dose_e_per_A2": made.electrons / (view.g.scan.pitch_A[0] * view.g.scan.pitch_A[1]), "C10_A": settings.C10_A}
    return Picture(header=header, arrays={**arrays, "seen": seen}, image=made, geometry=view.g)


def _shown(made: DirectImage, settings: Settings) -> tuple[dict[str, np.ndarray], str]:
    phase = made.image.float().numpy()
    phase = phase - phase.mean()  # a phase has no zero of its own, and parallax keeps the mean pattern's share, about 1
    if settings.view == "phase":
        return {"image": phase}, "rad"
    amplitude = None if made.amplitude is None else made.amplitude.float().numpy()
    if settings.view == "amplitude":
        if amplitude is None:
            raise InputError(f"{settings.method} makes phase images only", expected="obf, lsq, wiener or wdd for an amplitude")
        return {"image": amplitude}, "log-amplitude"
    turned = np.angle(np.exp(1j * phase)).astype(np.float32)
    return {"image": np.exp(np.zeros_like(phase) if amplitude is None else amplitude), "angle": turned}, "amplitude, phase in rad"


def detected(scene: Scene, state: CubeState, settings: Settings) -> np.ndarray:
    """The virtual detector's image (Ry, Rx), counts.

    Raises:
        InputError: none of its pixels is counted.
    """
    asked = np.flatnonzero(detector_mask(scene, settings))
    rows = np.searchsorted(scene.cube.pixels, asked)
    rows = rows[scene.cube.pixels[np.minimum(rows, len(scene.cube.pixels) - 1)] == asked]
    if not len(rows):
        raise InputError("no counted pixel lies inside the virtual detector", remedy="move it or make it larger")
    sums = np.zeros(state.canvas.cells, np.int64)
    for row in rows:  # a row is as long as the scan: quicker than a sum over a gathered copy
        sums += state.canvas.counts[row]
    return sums.reshape(scene.shape[:2])


def pattern(scene: Scene, state: CubeState, settings: Settings) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The mean pattern (ky, kx) of the positions seen, or that of the position which was picked, and where the optic axis and the aperture are.

    Raises:
        InputError: a position outside the scan.
    """
    (ry, rx), at = scene.shape[:2], settings.position
    flat = np.zeros(scene.shape[2] * scene.shape[3])
    if at is None:
        seen = int(np.count_nonzero(state.reach.seen))
        sums = np.zeros(len(scene.cube.pixels), np.int64)
        add_counts(state.canvas.counts, np.arange(len(sums)), 0, state.canvas.cells, sums)
        flat[scene.cube.pixels] = sums / max(1, seen)
    else:
        if not (at[0] < ry and at[1] < rx):
            raise InputError("a position outside the scan", expected=f"below {ry}, {rx}", got=f"{at[0]}, {at[1]}")
        flat[scene.cube.pixels] = state.canvas.counts[:, at[0] * rx + at[1]]
    known = scene.calibration
    header = {"pixel_mrad": scene.pixel_mrad, "centre_px": list(scene.centre_px), "semiangle_mrad": known.semiangle_mrad.value,
              "position": None if at is None else list(at), "whole": scene.whole, "unit": "counts"}
    return header, {"image": flat.reshape(scene.shape[2:])}


def spectrum(picture: Picture) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The image's Fourier transform with the band that is not transferred, and curves over the frequency: transfer, half-set correlation, signal over
    noise with its standard error. Of a detector's image the transform alone; of an image with holes nothing."""
    image = picture.arrays["image"].astype(np.float64)
    if not np.isfinite(image).all():
        return {}, {}
    pitch = picture.header["pitch_A"]
    ny, nx = image.shape
    size = log_spectrum(image)
    low, high = np.percentile(size, (5, 99.9))
    levels = np.clip((size - low) / max(high - low, 1e-12) * 255, 0, 255).astype(np.uint8)
    header: dict[str, Any] = {"step_invA": [1 / (ny * pitch[0]), 1 / (nx * pitch[1])]}
    arrays = {"image": levels}
    made = picture.image
    if made is not None and picture.header["view"] == "phase":
        transfer, edge = full_plane(made.ctf.numpy(), nx), picture.header["aperture_invA"]
        arrays["lost"] = np.packbits(middle_origin(untransferred(transfer, made.pitch_A, 2 * edge)))
        header |= {"aperture_invA": edge}
        arrays |= _curves(made, transfer, edge, header)
    return header, arrays


def _curves(made: DirectImage, transfer: np.ndarray, edge_invA: float, header: dict[str, Any]) -> dict[str, np.ndarray]:
    one, other = (half.double() for half in made.halves)
    most = max(1, min(LONGEST_CURVE, min(one.shape) // 2))
    rings, ssnr = frc(one, other, made.pitch_A, rings=most), ring_ssnr(one, other, made.pitch_A, rings=most)
    curve = radial(np.abs(transfer), made.pitch_A, 2.2 * edge_invA)
    header["resolution_A"], header["last_A"] = rings.resolution_A(), rings.last_A()
    value, sigma = (np.nan_to_num(t.numpy(), nan=0.0, posinf=0.0) for t in (ssnr.value, ssnr.sigma))
    return {"q": rings.q_invA.numpy(), "frc": rings.value.numpy(), "ssnr": value, "ssnr_sigma": sigma, "ctf_q": curve.q_invA, "ctf": curve.value}
