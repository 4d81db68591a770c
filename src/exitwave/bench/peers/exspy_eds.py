"""exSpy's side of the EDS benchmark, run by its own python: `exspy_eds.py THREADS`, jobs by `serve`. The image is read once and kept."""

import logging
import warnings
from importlib.metadata import version

import numpy as np

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import hyperspy.api as hs  # noqa: E402
from exspy._misc import material  # noqa: E402
from exspy._misc.elements import elements as elements_db  # noqa: E402
from exspy.signals import EDSTEMSpectrum  # noqa: E402
from serve import serve  # noqa: E402

hs.preferences.General.show_progressbar = False
held = {}


def image_of(given: dict) -> EDSTEMSpectrum:
    """The spectrum image as a signal in memory, with the metadata that zeta needs."""
    signal = EDSTEMSpectrum(np.load(given["path"]))
    axis = signal.axes_manager[-1]
    axis.name, axis.units, axis.scale, axis.offset = "Energy", "keV", given["scale_eV"] / 1e3, given["offset_eV"] / 1e3
    signal.set_elements(given["elements"])
    signal.set_lines([name.replace("-", "_") for name in given["lines"]])
    current = given["dose_e"] * 1.602176634e-19 / 1e-9
    signal.set_microscope_parameters(beam_energy=200, beam_current=current, live_time=1.0, azimuth_angle=0.0, elevation_angle=given["elevation_deg"],
                                     tilt_stage=0.0, energy_resolution_MnKa=130.0)
    return signal


def load(given: dict) -> list:
    """Keep the image."""
    held["signal"] = image_of(given)
    return list(held["signal"].data.shape)


def zeta(given: dict) -> dict:
    """From the file: windows with background, then zeta with absorption; compositions (n, y, x) go to given["out"]."""
    signal = image_of(given)
    lines = signal.metadata.Sample.xray_lines
    intensities = signal.get_lines_intensity(lines, background_windows=signal.estimate_background_windows(line_width=[3.0, 3.0], windows_width=1.0))
    return quantified(signal, intensities, given)


def counts(given: dict) -> dict:
    """Zeta with absorption of counts (y, x, n) in given["counts"], as exSpy's tables name them, alphabetically."""
    signal = held["signal"]
    values = np.load(given["counts"])
    template = signal.get_lines_intensity(signal.metadata.Sample.xray_lines)
    for i, one in enumerate(template):
        one.data = np.ascontiguousarray(values[..., i])
    return quantified(signal, template, given)


def quantified(signal: EDSTEMSpectrum, intensities: list, given: dict) -> dict:
    """Compositions to a file; the absorption coefficients that were used, m^2/kg, (lines, absorbers)."""
    result, thickness = signal.quantification(intensities, method="zeta", factors=given["zeta"], absorption_correction=True, navigation_mask=None,
                                              convergence_criterion=given.get("criterion", 0.5), max_iterations=200)[:2]
    np.save(given["out"], np.stack([one.data for one in result]))
    energies = [line.replace("-", "_") for line in given["lines"]]
    macs = [material.mass_absorption_coefficient(element, energies) for element in given["elements"]]
    weights = [elements_db[element]["General_properties"]["atomic_weight"] for element in given["elements"]]
    return {"mac_m2_kg": (0.1 * np.array(macs)).T.tolist(), "thickness": float(np.mean(thickness.data)), "weights": weights}


def cliff_lorimer(given: dict) -> dict:
    """Atomic percent of one pixel's counts by Cliff-Lorimer with absorption and a thickness in nm; exSpy takes a mean of the elements' densities."""
    signal = EDSTEMSpectrum(np.ones((1, 16)))
    axis = signal.axes_manager[-1]
    axis.units, axis.scale = "keV", 1.0
    signal.set_elements(given["elements"])
    signal.set_lines([name.replace("-", "_") for name in given["lines"]])
    signal.set_microscope_parameters(beam_energy=200, azimuth_angle=0.0, elevation_angle=given["elevation_deg"], tilt_stage=0.0)
    parts = signal.get_lines_intensity(signal.metadata.Sample.xray_lines)
    for one, value in zip(parts, given["counts"], strict=True):
        one.data = np.full((1,), value)
    result = signal.quantification(parts, method="CL", factors=given["k"], absorption_correction=True, thickness=given["thickness_nm"],
                                   navigation_mask=None, convergence_criterion=1e-8, max_iterations=300)[0]
    energies = [line.replace("-", "_") for line in given["lines"]]
    macs = [material.mass_absorption_coefficient(element, energies) for element in given["elements"]]
    return {"atomic": [float(one.data.ravel()[0]) for one in result], "mac_m2_kg": (0.1 * np.array(macs)).T.tolist()}


if __name__ == "__main__":
    serve({"load": load, "zeta": zeta, "counts": counts, "cliff_lorimer": cliff_lorimer},
          {"exspy": version("exspy"), "hyperspy": version("hyperspy")})
