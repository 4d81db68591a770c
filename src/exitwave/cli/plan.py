"""What a session would give: geometry, transfer and signal of planned optics."""

from collections.abc import Mapping
from math import ceil, pi
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from exitwave.cli.session import emit
from exitwave.core import InputError, aberrations, record
from exitwave.core.aberrations import focus_in_words
from exitwave.data import Calibration, Quantity
from exitwave.recon.direct.dense import optics_of
from exitwave.recon.direct.geometry import Geometry, geometry
from exitwave.recon.direct.overlap import gamma
from exitwave.recon.direct.weights import WEIGHTS

METHODS = ("parallax", "flipped-parallax", "ssb", "obf")
FILL = 0.8  # a probe that fills more of the detector's real-space window loses signal to finite pixels (and must be simulated on finer ones)
FREQUENCIES, CANDIDATES = 400, 24
LARGEST = 33  # detector pixels across at which transfer is summed: it is smooth in k, so finer cameras change nothing but the time


@record
class Session:
    """What an operator is about to set. Empty `aberrations` ask for a recommended defocus."""

    energy_eV: float
    semiangle_mrad: float
    detector_mrad: float
    detector_px: tuple[int, int]
    scan_step_A: tuple[float, float]
    aberrations: Mapping[str, float]
    dose_e_per_A2: float
    phase_rms_rad: float
    target_A: float | None = None

    def __post_init__(self) -> None:
        for name in ("energy_eV", "semiangle_mrad", "detector_mrad", "dose_e_per_A2", "phase_rms_rad"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"--{name.replace('_', '-')} must be positive", got=getattr(self, name))


def run(asked: Session, *, png: str | None, force: bool, as_json: bool) -> None:
    """Work out the plan and say it."""
    found = plan(asked)
    if png:
        from exitwave.plot import plan_figure, save

        q, curves, signals = found.pop("_curves")
        save(
            plan_figure(
                q,
                curves,
                signals,
                aperture_invA=found["aperture_invA"],
                nyquist_invA=found["scan_nyquist_invA"],
                title=f"{found['focus']}, {asked.dose_e_per_A2:g} e/Å², {asked.phase_rms_rad:g} rad rms",
            ),
            png,
            force,
        )
    found.pop("_curves", None)
    if as_json:
        emit(found)
    else:
        click.echo(text(found))


def plan(asked: Session) -> dict[str, Any]:
    """Everything that the plan states, by name."""
    step = max(asked.scan_step_A)
    in_focus = _geometry(asked, {})
    wavelength, edge = in_focus.beam.wavelength_A, in_focus.edge_invA
    window = wavelength / (asked.detector_mrad * 1e-3)
    supported = FILL * window / (2 * asked.semiangle_mrad * 1e-3)
    target = 1 / asked.target_A if asked.target_A else edge
    best = recommended_defocus(asked, supported, target)
    given = dict(asked.aberrations) or {"C10_A": -best}
    lens = aberrations(given)
    c10 = lens.polar().get("C10_A", 0.0)
    diameter = 2 * abs(c10) * asked.semiangle_mrad * 1e-3 + 1.22 / edge / 2
    q = np.linspace(0, 2 * edge, FREQUENCIES + 1)[1:]
    electrons = asked.dose_e_per_A2 * asked.scan_step_A[0] * asked.scan_step_A[1]
    curves, signals = {}, {}
    for method in METHODS:
        ctf, power = _transfer(_geometry(asked, given), method, q)
        curves[method] = ctf
        signals[method] = np.abs(ctf) ** 2 * asked.phase_rms_rad**2 * electrons / np.maximum(power, 1e-30)
    nyquist = 0.5 / step
    upsample = max(1, ceil(step * 4 * asked.semiangle_mrad * 1e-3 / wavelength - 1e-9))
    at = int(np.argmin(np.abs(q - target)))
    notes = _notes(diameter, window, step, upsample, c10, supported, asked, signals, at)
    return {
        "focus": focus_in_words(c10),
        "wavelength_A": wavelength,
        "aperture_invA": edge,
        "resolution_limit_A": 1 / (2 * edge),
        "probe_diameter_A": diameter,
        "overlap": max(0.0, 1 - step / diameter),
        "positions_per_probe": (pi / 4) * diameter**2 / (asked.scan_step_A[0] * asked.scan_step_A[1]),
        "window_A": window,
        "window_fill": diameter / window,
        "largest_defocus_A": supported,
        "scan_nyquist_invA": nyquist,
        "information_limit_invA": 2 * edge,
        "upsample": upsample,
        "electrons_per_position": electrons,
        "aberrations": lens.polar(),
        "recommended_defocus_A": best,
        "target_A": 1 / target,
        "transfer": {
            method: {
                "first_zero_invA": _first_zero(q, curves[method]),
                "at_target": float(abs(curves[method][at])),
                "ssnr_at_target": float(signals[method][at]),
                "mean_ssnr": float(signals[method].mean()),
            }
            for method in METHODS
        },
        "notes": notes,
        "_curves": (q, curves, signals),
    }


def recommended_defocus(asked: Session, largest_A: float, target_invA: float) -> float:
    """The underfocus in A, up to what the detector supports, at which SSB's signal over noise is largest where it is weakest between a fifth of the
    target frequency and the target."""
    q = np.linspace(0.2 * target_invA, target_invA, 24)
    candidates = np.geomspace(max(largest_A / 200, 10.0), max(largest_A, 20.0), CANDIDATES)
    scores = []
    for defocus in candidates:
        ctf, power = _transfer(_geometry(asked, {"C10_A": -float(defocus)}), "ssb", q)
        scores.append(float((np.abs(ctf) ** 2 / np.maximum(power, 1e-30)).min()))
    return float(f"{candidates[int(np.argmax(scores))]:.2g}")


def _geometry(asked: Session, given: Mapping[str, float]) -> Geometry:
    def told(value: float) -> Quantity:
        return Quantity(value=value, source="given")

    calibration = Calibration(
        energy_eV=told(asked.energy_eV),
        semiangle_mrad=told(asked.semiangle_mrad),
        detector_mrad=told(asked.detector_mrad),
        scan_step_y_A=told(asked.scan_step_A[0]),
        scan_step_x_A=told(asked.scan_step_A[1]),
        aberrations={name: told(value) for name, value in aberrations(given).polar().items()},
    )
    return geometry(calibration, (2, 2, *asked.detector_px))


def _transfer(g: Geometry, method: str, q_invA: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """CTF(q) along +x (n,) complex and sum_k |w|^2 |psi|^2 (n,): the noise of one electron. On a sparser set of pixels where the camera is finer
    than needed; each stands for its neighbours, its own width stays the camera's."""
    optics = optics_of(g)
    k = g.k_invA[g.bright()]
    across = 2 * g.edge_invA / g.pixel_invA[0]
    if across > LARGEST:
        stride = int(across // LARGEST)
        grid = torch.round(k / g.pixel_invA[0]).to(torch.int64)
        k = k[((grid % stride) == 0).all(1)]
    power = optics.intensity(k[:, 0], k[:, 1])
    share = 1 / float(power.sum())
    qx = torch.from_numpy(q_invA)
    if method not in WEIGHTS:
        seen = (gamma(optics, k[:, :1], k[:, 1:], torch.zeros_like(qx), qx, torch.complex128).abs() ** 2 / power[:, None]).sum(0) * share
        return (torch.sqrt(seen).to(torch.complex128).numpy(), torch.ones_like(seen).numpy())  # white noise: obf, and every method that it becomes
    one = WEIGHTS[method](optics, k[:, :1], k[:, 1:], torch.zeros_like(qx), qx, torch.complex128)
    ctf = (one.weight * one.response).sum(0) * share
    spread: Tensor = (one.weight.abs() ** 2 * power[:, None]).sum(0) * share
    return ctf.numpy(), spread.expand(len(q_invA)).numpy()


def _first_zero(q: np.ndarray, ctf: np.ndarray) -> float | None:
    """Where the transfer first changes sign, interpolated; None where it does not."""
    real = ctf.real
    change = np.flatnonzero(np.sign(real[:-1]) * np.sign(real[1:]) < 0)
    if not len(change):
        return None
    i = int(change[0])
    return float(q[i] + (q[i + 1] - q[i]) * real[i] / (real[i] - real[i + 1]))


def _notes(
    diameter: float,
    window: float,
    step: float,
    upsample: int,
    c10: float,
    supported: float,
    asked: Session,
    signals: Mapping[str, np.ndarray],
    at: int,
) -> list[str]:
    notes = []
    if diameter > FILL * window:
        notes.append(
            f"the probe takes {diameter / window:.0%} of the width of the detector's real-space window: finite pixels cost signal; "
            "use a longer camera length or at most "
            f"{focus_in_words(-supported)}"
        )
    if step > diameter:
        notes.append("the probes do not overlap: take a smaller step or more defocus")
    if upsample > 1:
        notes.append(f"the scan's own Nyquist lies below twice the aperture: reconstruct with --upsample {upsample}")
    if c10 > 0:
        notes.append("overfocus: atoms come out bright in parallax; in underfocus (C10 < 0), the usual choice, they are dark as in TEM")
    if max(float(s[at]) for s in signals.values()) < 0.1:
        notes.append(f"under a tenth of the noise at the target frequency with {asked.dose_e_per_A2:g} e/A^2: average particles or raise the dose")
    return notes


def text(found: Mapping[str, Any]) -> str:
    """The plan for people."""
    rows = [
        ("probe", f"{found['focus']}, {found['probe_diameter_A']:.4g} A across"),
        ("overlap", f"{found['overlap']:.0%} along a row, {found['positions_per_probe']:.3g} positions under each probe"),
        ("detector window", f"{found['window_A']:.4g} A; the probe takes {found['window_fill']:.0%} of its width (keep under {FILL:.0%})"),
        ("largest defocus", f"{focus_in_words(-found['largest_defocus_A'])} with this camera length"),
        (
            "scan Nyquist",
            f"{found['scan_nyquist_invA']:.4g} 1/A; the optics carry {found['information_limit_invA']:.4g} 1/A ({found['resolution_limit_A']:.3g} A)",
        ),
        ("upsampling", f"--upsample {found['upsample']}"),
        ("dose", f"{found['electrons_per_position']:.4g} electrons per position"),
        ("recommended", f"{focus_in_words(-found['recommended_defocus_A'])} for detail of {found['target_A']:.3g} A"),
    ]
    lines = [f"  {name:<17}{value}" for name, value in rows]
    lines.append(f"  {'method':<17}{'first zero (1/A)':>17}{'|CTF| at target':>17}{'signal/noise there':>20}")
    for method, values in found["transfer"].items():
        zero = "none" if values["first_zero_invA"] is None else f"{values['first_zero_invA']:.3g}"
        lines.append(f"  {method:<17}{zero:>17}{values['at_target']:>17.3g}{values['ssnr_at_target']:>20.3g}")
    return "\n".join(lines + [f"- {note}" for note in found["notes"]])
