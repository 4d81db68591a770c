"""What a session would give: geometry, transfer and signal of planned optics."""

from collections.abc import Mapping
from math import ceil, pi
from typing import Any

import numpy as np
import torch
from torch import Tensor

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


@record
class Sampling:
    """What follows from steps and angles alone: the aperture's edge, the camera's window in real space and the most defocus whose probe fits into it,
    the frequency of the detail that is wanted, and the image pixels per scan step that hold everything up to twice the aperture."""

    step_A: float
    wavelength_A: float
    edge_invA: float
    window_A: float
    largest_defocus_A: float
    target_invA: float
    upsample: int


@record
class Transfer:
    """CTF and signal over noise (n,) of each method at the frequencies `q_invA` (n,); `at` is the wanted detail's index."""

    q_invA: np.ndarray
    curves: Mapping[str, np.ndarray]
    signals: Mapping[str, np.ndarray]
    at: int

    def as_json(self) -> dict[str, dict[str, float | None]]:
        """What is told of each method."""
        return {
            method: {
                "first_zero_invA": _first_zero(self.q_invA, self.curves[method]),
                "at_target": float(abs(self.curves[method][self.at])),
                "ssnr_at_target": float(self.signals[method][self.at]),
                "mean_ssnr": float(self.signals[method].mean()),
            }
            for method in METHODS
        }


@record
class Plan:
    """What is told, by name, and the curves behind it."""

    told: Mapping[str, Any]
    transfer: Transfer


def plan(asked: Session) -> Plan:
    """Everything that can be said before the session."""
    sampling = sampling_of(asked)
    best = recommended_defocus(asked, sampling.largest_defocus_A, sampling.target_invA)
    given = dict(asked.aberrations) or {"C10_A": -best}
    lens = aberrations(given)
    c10 = lens.polar().get("C10_A", 0.0)
    diameter = 2 * abs(c10) * asked.semiangle_mrad * 1e-3 + 1.22 / sampling.edge_invA / 2
    cell = asked.scan_step_A[0] * asked.scan_step_A[1]
    transfer = transfer_of(asked, given, sampling)
    told = {
        "focus": focus_in_words(c10),
        "wavelength_A": sampling.wavelength_A,
        "aperture_invA": sampling.edge_invA,
        "resolution_limit_A": 1 / (2 * sampling.edge_invA),
        "probe_diameter_A": diameter,
        "overlap": max(0.0, 1 - sampling.step_A / diameter),
        "positions_per_probe": (pi / 4) * diameter**2 / cell,
        "window_A": sampling.window_A,
        "window_fill": diameter / sampling.window_A,
        "largest_defocus_A": sampling.largest_defocus_A,
        "scan_nyquist_invA": 0.5 / sampling.step_A,
        "information_limit_invA": 2 * sampling.edge_invA,
        "upsample": sampling.upsample,
        "electrons_per_position": asked.dose_e_per_A2 * cell,
        "aberrations": lens.polar(),
        "recommended_defocus_A": best,
        "target_A": 1 / sampling.target_invA,
        "transfer": transfer.as_json(),
        "notes": _notes(asked, sampling, transfer, diameter, c10),
    }
    return Plan(told=told, transfer=transfer)


def sampling_of(asked: Session) -> Sampling:
    """What steps and angles allow."""
    in_focus, step = _geometry(asked, {}), max(asked.scan_step_A)
    wavelength = in_focus.beam.wavelength_A
    window = wavelength / (asked.detector_mrad * 1e-3)
    return Sampling(
        step_A=step,
        wavelength_A=wavelength,
        edge_invA=in_focus.edge_invA,
        window_A=window,
        largest_defocus_A=FILL * window / (2 * asked.semiangle_mrad * 1e-3),
        target_invA=1 / asked.target_A if asked.target_A else in_focus.edge_invA,
        upsample=max(1, ceil(step * 4 * asked.semiangle_mrad * 1e-3 / wavelength - 1e-9)),
    )


def transfer_of(asked: Session, given: Mapping[str, float], sampling: Sampling) -> Transfer:
    """Transfer and signal of every planned method with the aberrations `given`."""
    q = np.linspace(0, 2 * sampling.edge_invA, FREQUENCIES + 1)[1:]
    electrons = asked.dose_e_per_A2 * asked.scan_step_A[0] * asked.scan_step_A[1]
    curves, signals = {}, {}
    for method in METHODS:
        ctf, power = _transfer(_geometry(asked, given), method, q)
        curves[method] = ctf
        signals[method] = np.abs(ctf) ** 2 * asked.phase_rms_rad**2 * electrons / np.maximum(power, 1e-30)
    return Transfer(q_invA=q, curves=curves, signals=signals, at=int(np.argmin(np.abs(q - sampling.target_invA))))


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


def _notes(asked: Session, sampling: Sampling, transfer: Transfer, diameter: float, c10: float) -> list[str]:
    """What an operator should know before beginning; `diameter` is the probe's in A."""
    notes, window = [], sampling.window_A
    if diameter > FILL * window:
        notes.append(
            f"the probe takes {diameter / window:.0%} of the width of the detector's real-space window: finite pixels cost signal; "
            "use a longer camera length or at most "
            f"{focus_in_words(-sampling.largest_defocus_A)}"
        )
    if sampling.step_A > diameter:
        notes.append("the probes do not overlap: take a smaller step or more defocus")
    if sampling.upsample > 1:
        notes.append(f"the scan's own Nyquist lies below twice the aperture: reconstruct with --upsample {sampling.upsample}")
    if c10 > 0:
        notes.append("overfocus: atoms come out bright in parallax; in underfocus (C10 < 0), the usual choice, they are dark as in TEM")
    if max(float(s[transfer.at]) for s in transfer.signals.values()) < 0.1:
        notes.append(f"under a tenth of the noise at the target frequency with {asked.dose_e_per_A2:g} e/A^2: average particles or raise the dose")
    return notes
