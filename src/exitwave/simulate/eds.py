"""EDS spectrum images that have not been measured yet: photons born along the beam, weakened along their rays, seen by several detectors, counted.

Nothing here uses the closed absorption correction that `exitwave.spectra.eds` quantifies with. Left out: fluorescence of one element by another,
the beam's broadening, channelling, stray radiation, background that the tables know nothing of.
"""

from collections.abc import Sequence

import numpy as np

from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.matter.xrays import EdsDetector, XrayLine, XrayTables, efficiency, emission_A2, escape_share, find_lines, fwhm_eV
from exitwave.simulate.eds_rays import Sheet, escaping

AVOGADRO = 6.02214076e23
SI_KA_eV = 1739.7
LEAST_eV = 100.0
REST_eV = 510998.95


@record
class EdsBeam:
    """The beam: energy, electrons per pixel (one number, or (y, x)); `pile_up` is the share of counts that meet another in the same pulse."""

    energy_eV: float
    dose_e: float | np.ndarray
    pile_up: float = 0.0


def line_counts(sheet: Sheet, lines: Sequence[XrayLine], beam: EdsBeam, detectors: Sequence[EdsDetector], tables: XrayTables) -> np.ndarray:
    """Mean counts (y, x, q, lines) of each line in each detector."""
    energies = np.array([line.energy_eV for line in lines])
    mac = np.stack([tables.mac_m2_kg(element, energies) for element in sheet.elements], axis=1)
    made = np.stack([_atoms_m2(sheet, line.element, tables) * emission_A2(line, beam.energy_eV, tables) * 1e-20 for line in lines], axis=-1)
    made = made * np.broadcast_to(beam.dose_e, sheet.thickness_A.shape)[..., None]
    seen = [d.solid_angle_sr / (4 * np.pi) * efficiency(d, energies, tables) * escaping(sheet, mac, d) for d in detectors]
    return np.stack([made * share for share in seen], axis=-2)


def expected_spectra(sheet: Sheet, energies_eV: np.ndarray, beam: EdsBeam, detectors: Sequence[EdsDetector], tables: XrayTables, *,
                     background: bool = True, escape: bool = True) -> np.ndarray:
    """Mean counts (y, x, energies), detectors added: every line of every element, escape peaks, bremsstrahlung, pile-up.

    `energies_eV` are the centres of channels of one width. Bremsstrahlung is Born's for free nuclei without screening, the same into all directions
    (Koch & Motz, Rev. Mod. Phys. 31 (1959) 920, 3BN's non-relativistic limit): right to a factor of about two at 100 to 300 kV.

    Raises:
        InputError: channels that are not evenly spaced, or a sheet as `escaping` refuses it.
    """
    width = float(energies_eV[1] - energies_eV[0]) if len(energies_eV) > 1 else 0.0
    if not width > 0 or np.ptp(np.diff(energies_eV)) > 1e-6 * width:
        raise InputError("channels are evenly spaced and rise", got=f"{len(energies_eV)} channels, first step {width:g} eV")
    atoms = [line for element in sheet.elements for line in find_lines(element, tables) if line.energy_eV > LEAST_eV]
    singles = [_single(line, member) for line in atoms for member in line.members if member.energy_eV > LEAST_eV]
    counts = line_counts(sheet, singles, beam, detectors, tables).sum(-2)
    shapes = np.stack([_shape(line.energy_eV, energies_eV, width, detectors[0], tables, escape) for line in singles])
    spectra = counts @ shapes
    if background:
        spectra += _bremsstrahlung(sheet, energies_eV, width, beam, detectors, tables)
    return _piled(spectra, energies_eV, width, beam.pile_up) if beam.pile_up > 0 else spectra


def counted(mean: np.ndarray, seed: int = DEFAULT_SEED, stream: int = 0) -> np.ndarray:
    """Poisson counts (y, x, ...) of means; those of a pixel depend on the seed and its place alone."""
    rows = mean.reshape(-1, *mean.shape[2:])
    drawn = [generator_at(seed, i, stream).poisson(row) for i, row in enumerate(rows)]
    return np.stack(drawn).astype(np.uint32).reshape(mean.shape)


def _atoms_m2(sheet: Sheet, element: str, tables: XrayTables) -> np.ndarray:
    if element not in sheet.elements:
        raise InputError(f"the specimen has no {element}", expected=", ".join(sheet.elements))
    mass = sheet.fractions[..., sheet.elements.index(element)] * sheet.density_kg_m3 * sheet.thickness_A * 1e-10
    return np.asarray(mass * AVOGADRO / (1e-3 * tables.weight_g_mol(element)))


def _single(line: XrayLine, member) -> XrayLine:  # type: ignore[no-untyped-def]
    return XrayLine(element=line.element, family=line.family, energy_eV=member.energy_eV, members=(member,))


def _shape(energy_eV: float, energies_eV: np.ndarray, width: float, detector: EdsDetector, tables: XrayTables, escape: bool) -> np.ndarray:
    """Share (energies,) of a line's counts in each channel: a Gaussian taken across channels, and its escape peak."""
    from scipy.special import ndtr

    def gaussian(centre: float) -> np.ndarray:
        sigma = float(fwhm_eV(np.array([centre]), detector.resolution_eV)[0]) / 2.3548200450309493
        edges = np.append(energies_eV - width / 2, energies_eV[-1] + width / 2)
        return np.diff(ndtr((edges - centre) / sigma))

    lost = escape_share(energy_eV, tables) if escape else 0.0
    shape = (1 - lost) * gaussian(energy_eV)
    return shape + lost * gaussian(energy_eV - SI_KA_eV) if lost > 0 else shape


def _bremsstrahlung(sheet: Sheet, energies_eV: np.ndarray, width: float, beam: EdsBeam, detectors: Sequence[EdsDetector],
                    tables: XrayTables) -> np.ndarray:
    coarse = np.geomspace(LEAST_eV, max(energies_eV[-1], 2 * LEAST_eV), 160)
    mac = np.stack([tables.mac_m2_kg(element, coarse) for element in sheet.elements], axis=1)
    numbers = [_number(element) for element in sheet.elements]
    strength = sum(_atoms_m2(sheet, element, tables) * z**2 for element, z in zip(sheet.elements, numbers, strict=True))
    made = born_m2_per_eV(coarse, beam.energy_eV) * (strength * np.broadcast_to(beam.dose_e, sheet.thickness_A.shape))[..., None]
    seen = sum(d.solid_angle_sr / (4 * np.pi) * efficiency(d, coarse, tables) * escaping(sheet, mac, d, depths=8, steps=12) for d in detectors)
    place = np.clip(np.interp(energies_eV, coarse, np.arange(len(coarse))), 0, len(coarse) - 1.001)
    low, part = place.astype(int), place % 1
    whole = made * seen
    return np.where(energies_eV > LEAST_eV, width * (whole[..., low] * (1 - part) + whole[..., low + 1] * part), 0.0)


def born_m2_per_eV(photon_eV: np.ndarray, beam_eV: float) -> np.ndarray:
    """Born's bremsstrahlung cross section of a bare nucleus of Z = 1, per electronvolt: 16/3 alpha r_e^2 / (beta^2 k) ln((p0 + p) / (p0 - p))."""
    momentum = np.sqrt(beam_eV * (beam_eV + 2 * REST_eV))
    left = np.maximum(beam_eV - photon_eV, 1e-3)
    after = np.sqrt(left * (left + 2 * REST_eV))
    beta2 = (momentum / (beam_eV + REST_eV)) ** 2
    value = 16 / 3 / 137.036 * 7.9407877e-30 / (beta2 * photon_eV) * np.log((momentum + after) / (momentum - after))
    return np.where(photon_eV < beam_eV, value, 0.0)


def _piled(spectra: np.ndarray, energies_eV: np.ndarray, width: float, share: float) -> np.ndarray:
    """Counts that meet: a share leaves every channel in pairs and appears at the sum of the two energies."""
    n, shift = spectra.shape[-1], round(energies_eV[0] / width)
    size = 1 << (2 * n - 1).bit_length()
    total = np.maximum(spectra.sum(-1, keepdims=True), 1e-300)
    pairs = np.fft.irfft(np.fft.rfft(spectra, size) ** 2, size)[..., : 2 * n - 1] / total  # index sum i + j lies at energy 2 E0 + (i + j) w
    moved = np.zeros_like(spectra)
    start = -shift  # channel of energy 2 E0 + m w is m + shift
    low = max(0, start)
    taken = pairs[..., low : start + n]
    moved[..., low - start : low - start + taken.shape[-1]] = taken
    return (1 - share) * spectra + 0.5 * share * np.maximum(moved, 0)


def _number(element: str) -> int:
    from ase.data import atomic_numbers

    return int(atomic_numbers[element])
