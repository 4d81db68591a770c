"""The whole calibration of a 4D scan, from its own counts."""

from dataclasses import replace
from math import degrees, hypot

import numpy as np
import torch

from exitwave.core import record
from exitwave.core.errors import CalibrationError
from exitwave.data import Calibration, Dataset4D, Quantity
from exitwave.recon.calibrate.descan import DescanFit, fit_descan
from exitwave.recon.calibrate.detector import DetectorFit, fit_detector, pattern_noise
from exitwave.recon.calibrate.disk import DiskFit, fit_disk
from exitwave.recon.calibrate.likelihood import LikelihoodFit, fit_likelihood
from exitwave.recon.calibrate.orders import Refined, refine
from exitwave.recon.calibrate.ramps import Candidate, Spectra, find_maps, readings
from exitwave.recon.calibrate.reading import calibration_of, principal
from exitwave.recon.calibrate.refine import Layout, layout_of
from exitwave.recon.calibrate.sample import sample_spectra
from exitwave.recon.calibrate.shifts import ShiftPicture, shift_picture
from exitwave.recon.calibrate.twin import Prior, Verdict, settle
from exitwave.recon.direct.dense import reconstruct
from exitwave.recon.direct.geometry import Geometry, geometry
from exitwave.recon.direct.image import DirectImage, optics_of
from exitwave.recon.direct.joint import phase_and_amplitude
from exitwave.recon.direct.stack import Progress, ignore

LEAST_CENTRE_PX = 0.02  # the disk fit is not trusted beyond this
FIRST, ALL = 100, 1000  # frequencies that choose between readings, and that polish the chosen one


@record
class Found:
    """The fitted parameters that the calibration is made of, in A, rad, px."""

    layout: Layout
    parameters: np.ndarray
    covariance: np.ndarray

    @property
    def rotation(self) -> float:
        """rad."""
        return float(self.parameters[self.layout.members("rotation")[0]])

    @property
    def quadratic(self) -> np.ndarray:
        """C10, C12a, C12b and the rotation."""
        return np.array([*self.parameters[:3], self.rotation])


@record
class Calibrated:
    """A calibration and what it was made from: the mean pattern (ky, kx), live pixels, the disk, shifts of virtual images, an SSB image."""

    calibration: Calibration
    mean: np.ndarray
    alive: np.ndarray
    disk: DiskFit
    shifts: ShiftPicture
    image: DirectImage
    notes: tuple[str, ...]


def calibrate(
    data: Dataset4D,
    *,
    prior: Prior | None = None,
    alive: np.ndarray | None = None,
    order: int = 1,
    fit: tuple[str, ...] = (),
    memory_bytes: int = 2**30,
    progress: Progress = ignore,
) -> Calibrated:
    """Measure everything the scan itself can tell: counts per electron, dead pixels, the bright-field disk, rotation, handedness, C10, C12.

    Beam energy, scan step and one of semi-angle or detector angle must be known beforehand; they set the units. Rotation, handedness and
    aberrations are measured afresh whatever the file says. The 180-degree twin is settled by `prior` (default: positive phase) or reported as
    "undetermined", in which case the reading with rotation in (-90, 90] degrees is returned. `alive` (ky, kx) is False on pixels not to be used
    whatever they hold. `order` 2 and 3 also try every aberration up to that radial order and keep those that stand out; `fit` names some
    (C21, C23, C30, C32, C34, centre, scale) that are fitted whatever their size.

    Raises:
        CalibrationError: something that must be known is missing, no disk is seen, or nothing stands above the noise.
        InputError: NaN, negative counts, no signal; an order or a name that cannot be fitted.
    """
    layout = layout_of(order, fit)
    prior = prior or Prior()
    data.calibration.need("energy_eV")
    data.calibration.need("scan_step_y_A")
    noise = pattern_noise(data.frames, memory_bytes, progress)
    detector = fit_detector(noise, alive)
    disk = fit_disk(noise.mean, detector.alive)
    descan = fit_descan(data.frames, disk, detector.alive)
    known, notes = _scale(_with_detector(data.calibration, detector, disk), disk)
    if descan is not None and descan.matters:
        notes.append(moving(descan))
    mask = torch.from_numpy(detector.alive)
    blind = geometry(replace(known, aberrations={}, rotation_deg=Quantity(), transpose=Quantity()), data.shape, mask)
    dispersion = float(detector.counts_per_electron.value or 1.0)
    spectra = sample_spectra(data.frames, blind, dispersion, count=ALL, memory_bytes=memory_bytes, progress=progress)
    first, certainty = fit_optics(spectra, blind)
    found = Found(layout=layout_of(1), parameters=first.parameters, covariance=first.covariance)
    if order > 1 or fit:
        centre = hypot(float(disk.centre_y_px.sigma or 0.0), float(disk.centre_x_px.sigma or 0.0))
        refined = refine(spectra, optics_of(blind), first, layout, wanted=fit, centre_px=max(centre, LEAST_CENTRE_PX))
        notes = [*notes, tried(refined)]
        first = replace(first, misfit=refined.misfit)
        if refined.higher:
            found = Found(layout=refined.layout, parameters=principal(refined.layout, refined.parameters), covariance=refined.covariance)
    g = geometry(_reading(known, found, first.transpose, Verdict(sign=1, by="", z=0.0)), data.shape, mask)
    image = reconstruct(data.frames, g, "ssb", dispersion=dispersion, counts_per_electron=dispersion, memory_bytes=memory_bytes, progress=progress)
    evidence = phase_and_amplitude(data.frames, g, dispersion=dispersion, memory_bytes=memory_bytes, progress=progress)
    verdict = settle(prior, degrees(found.rotation), float(found.parameters[0]), evidence)
    final = _reading(known, found, first.transpose, verdict)
    if verdict.sign < 0:
        image = replace(image, image=-image.image, halves=(-image.halves[0], -image.halves[1]))
    notes = [*notes, *_findings(first, certainty, verdict, detector)]
    return Calibrated(
        calibration=final,
        mean=noise.mean,
        alive=detector.alive,
        disk=disk,
        image=image,
        notes=tuple(notes),
        shifts=shift_picture(spectra, found.quadratic, first.transpose, blind.beam.wavelength_A),
    )


def fit_optics(s: Spectra, blind: Geometry) -> tuple[LikelihoodFit, float]:
    """The most likely rotation (mod 180 degrees), handedness, C10 and C12, and the log-likelihood by which the other handedness loses."""
    optics = optics_of(blind)
    strongest = _some(s, FIRST)
    fits = []
    for n in find_maps(strongest, blind.beam.wavelength_A, blind.edge_invA)[:3]:
        fits += [fit_likelihood(strongest, optics, candidate) for candidate in readings(n, blind.beam.wavelength_A)]
    fits.sort(key=lambda f: -f.explained)
    best = fits[0]
    others = [f.explained for f in fits if f.transpose != best.transpose]
    certainty = (best.explained - max(others, default=0.0)) * best.power
    best = fit_likelihood(s, optics, _from(best), steps=6)
    best = fit_likelihood(s, optics, _from(best), steps=6, model_error=best.model_error)
    return replace(best, parameters=principal(layout_of(1), best.parameters)), certainty


def _from(fit: LikelihoodFit) -> Candidate:
    c10, c12a, c12b, rotation = fit.parameters.tolist()
    return Candidate(c_A=(c10, c12a, c12b), rotation_rad=rotation, transpose=fit.transpose, score=fit.explained)


def _some(s: Spectra, count: int) -> Spectra:
    return replace(s, q=s.q[:count], g=s.g[:, :count])


def _with_detector(known: Calibration, detector: DetectorFit, disk: DiskFit) -> Calibration:
    return known.updated(
        counts_per_electron=detector.counts_per_electron,
        fano=detector.fano,
        neighbour_correlation=detector.neighbour_correlation,
        centre_y_px=disk.centre_y_px,
        centre_x_px=disk.centre_x_px,
        semiangle_px=disk.radius_px,
        **_significant_ellipse(disk),
    )


def _significant_ellipse(disk: DiskFit) -> dict[str, Quantity]:
    """An ellipticity under four standard errors or half a percent is reported as none."""
    size, sigma = float(disk.ellipticity.value or 0.0), float(disk.ellipticity.sigma or 0.0)
    if size > max(4 * sigma, 0.005):
        return {"ellipticity": disk.ellipticity, "ellipticity_deg": disk.ellipticity_deg}
    return {"ellipticity": Quantity(value=0.0, sigma=sigma, source="measured"), "ellipticity_deg": Quantity(value=0.0, sigma=90.0, source="measured")}


def _scale(known: Calibration, disk: DiskFit) -> tuple[Calibration, list[str]]:
    """Semi-angle and detector angle from each other through the disk's radius; a contradiction over 5 % is an error over 25 %."""
    radius, sigma = float(disk.radius_px.value or 0.0), float(disk.radius_px.sigma or 0.0)
    semi, pixel = known.semiangle_mrad, known.detector_mrad
    if not semi.known and not pixel.known:
        raise CalibrationError("neither the semi-angle nor the detector's angle is known", remedy="pass --semiangle-mrad or --detector-mrad")
    if not pixel.known:
        value = float(semi.value or 0.0) / radius
        return known.updated(detector_mrad=Quantity(value=value, sigma=value * sigma / radius, source="measured")), []
    if not semi.known:
        value = float(pixel.value or 0.0) * radius
        return known.updated(semiangle_mrad=Quantity(value=value, sigma=float(pixel.value or 0.0) * sigma, source="measured")), []
    ratio = radius * float(pixel.value or 0.0) / float(semi.value or 1.0)
    if abs(ratio - 1) > 0.25:
        raise CalibrationError(
            "semi-angle and detector angle contradict the bright-field disk",
            expected=f"a radius of {float(semi.value or 0.0) / float(pixel.value or 1.0):.1f} px",
            got=f"{radius:.1f} px",
            remedy="give only one of --semiangle-mrad and --detector-mrad to measure the other",
        )
    if abs(ratio - 1) > 0.05:
        return known, [f"the disk's radius gives {ratio * float(semi.value or 0.0):.4g} mrad where {float(semi.value or 0.0):.4g} mrad was given"]
    return known, []


def _reading(known: Calibration, found: Found, transpose: bool, verdict: Verdict) -> Calibration:
    return calibration_of(known, found.layout, found.parameters, found.covariance, transpose, verdict)


def moving(descan: DescanFit) -> str:
    """What to do about a disk that moves."""
    return (
        f"the disk moves by {descan.travel_px:.2g} +- {descan.travel_sigma_px:.1g} px across the scan: "
        f"--descan {','.join(f'{v:.4g}' for v in descan.plane)} moves it back by whole pixels"
    )


def tried(refined: Refined) -> str:
    """What was found of the candidates, strongest first."""
    kept = set(refined.layout.names)
    said = [
        f"{name} {'kept' if name in kept else 'left out'} ({strength:.1f} standard errors, {refined.phase_rad[name]:.2g} rad at the edge)"
        if name not in ("centre", "scale") else f"{name} {'kept' if name in kept else 'left out'} ({strength:.1f} standard errors)"
        for name, strength in sorted(refined.strength.items(), key=lambda item: -item[1])
    ]
    return "beyond C10 and C12: " + ("; ".join(said) if said else "fitted as asked")


def _findings(fit: LikelihoodFit, certainty: float, verdict: Verdict, detector: DetectorFit) -> list[str]:
    notes = [f"handedness leads by {certainty:.3g} in log-likelihood" + ("" if certainty > 12 else ": not settled")]
    if verdict.sign == 0:
        notes.append(
            "the 180-degree twin is undetermined: rotation + 180 degrees with the opposite defocus and phase fits as well; "
            "settle it with --twin underfocus, --twin overfocus or --rotation-deg"
        )
    else:
        notes.append(
            f"the 180-degree twin was settled by {verdict.by}" + (f" ({abs(verdict.z):.1f} standard errors)" if np.isfinite(verdict.z) else "")
        )
    if detector.dead or detector.hot:
        notes.append(f"{detector.dead} dead and {detector.hot} hot detector pixels are left out")
    if not detector.counts_per_electron.known:
        notes.append("the frames are not counts, so no counts per electron were measured")
    if fit.misfit > 1.5:
        notes.append(
            f"the residual is {fit.misfit:.3g} times the counting noise: a strong, thick or drifting specimen; uncertainties hold the excess"
        )
    return notes
