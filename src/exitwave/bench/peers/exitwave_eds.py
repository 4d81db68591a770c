"""exitwave's side of the EDS benchmark: `exitwave_eds.py THREADS`, jobs by `serve`. The image is read once and kept, as the peer does."""

import sys
from importlib.metadata import version

import numpy as np
from serve import serve

from exitwave import __version__
from exitwave.core.threads import set_threads
from exitwave.data import ArraySpectra, EnergyAxis, SpectrumImage
from exitwave.matter.xrays import EdsDetector, xray_tables
from exitwave.spectra.eds import LineOptions, Scene, Uncertain, given_factors, line_set, measure, quantify_zeta, view_of
from exitwave.spectra.eds.intensities import counts_of, window_lines
from exitwave.spectra.eds.profile import shell_shape

set_threads(int(sys.argv[1]))
held = {}


def load(given: dict) -> list:
    """Keep the image."""
    held["values"] = np.load(given["path"])
    return list(held["values"].shape)


def zeta(given: dict) -> dict:
    """Windows with background, then zeta with absorption and the full covariance; at% (y, x, n) go to given["out"]."""
    tables, axis, lines, detector = _setup(given)
    shapes = [shell_shape(line, axis, detector, tables, 200e3) for line in lines.lines]
    found = counts_of(held["values"], window_lines(lines.lines, shapes, axis, 130.0))
    factors = given_factors(lines, dict(zip(lines.names, given["zeta"], strict=True)), relative_sigma=0.03)
    done = quantify_zeta(found.counts, found.covariance, lines, factors, Uncertain(value=given["dose_e"], relative_sigma=0.02), view_of((detector,)))
    np.save(given["out"], 100 * done.atomic)
    return {"sigma": float(np.median(done.atomic_sigma[..., 0]))}


def fit(given: dict) -> dict:
    """The same by Poisson fits of every spectrum, as `exitwave eds` does it."""
    tables, axis, lines, detector = _setup(given)
    scene = Scene(beam_eV=200e3, detector=detector, tables=tables)
    found = measure(SpectrumImage(spectra=ArraySpectra(held["values"]), energy=axis), lines, scene, LineOptions(by="fit"), 2**28)
    return {"pixels": int(np.prod(found.lines.counts.shape[:2]))}


def _setup(given: dict) -> tuple:
    tables = xray_tables("elam")
    axis = EnergyAxis(size=held["values"].shape[-1], scale_eV=given["scale_eV"], offset_eV=given["offset_eV"])
    return tables, axis, line_set(given["lines"], tables), EdsDetector(elevation_deg=given["elevation_deg"], silicon_um=450.0)


if __name__ == "__main__":
    serve({"load": load, "zeta": zeta, "fit": fit}, {"exitwave": __version__, "numpy": version("numpy")})
