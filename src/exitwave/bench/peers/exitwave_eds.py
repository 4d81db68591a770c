"""exitwave's side of the EDS benchmark: `exitwave_eds.py THREADS`, jobs by `serve`. Spectra are read block by block, as the package does."""

import sys
from importlib.metadata import version

import numpy as np
from serve import serve

from exitwave import __version__
from exitwave.core.threads import set_threads
from exitwave.data import EnergyAxis, SpectrumImage
from exitwave.io import open_signal
from exitwave.io.signals import Regrouped
from exitwave.matter.xrays import EdsDetector, xray_tables
from exitwave.spectra.eds import LineCounts, LineOptions, Scene, Uncertain, given_factors, line_set, measure, quantify_zeta, view_of
from exitwave.spectra.eds.intensities import counts_of, window_lines
from exitwave.spectra.eds.measure import blocks
from exitwave.spectra.eds.profile import shell_shape

set_threads(int(sys.argv[1]))


def zeta(given: dict) -> dict:
    """From the file to at% (y, x, n) in given["out"]: windows with background block by block, zeta with absorption and the full covariance."""
    image, tables, lines, detector = _setup(given)
    shapes = [shell_shape(line, image.energy, detector, tables, 200e3) for line in lines.lines]
    weights = window_lines(lines.lines, shapes, image.energy, 130.0)
    parts = [counts_of(block, weights) for block in blocks(image, 2**26, (1, 1))]
    rows, columns, _ = image.shape
    found = LineCounts(names=lines.names, counts=np.concatenate([p.counts for p in parts]).reshape(rows, columns, -1),
                       covariance=np.concatenate([p.covariance for p in parts]).reshape(rows, columns, len(lines.names), -1))
    factors = given_factors(lines, dict(zip(lines.names, given["zeta"], strict=True)), relative_sigma=0.03)
    done = quantify_zeta(found.counts, found.covariance, lines, factors, Uncertain(value=given["dose_e"], relative_sigma=0.02), view_of((detector,)))
    np.save(given["out"], 100 * done.atomic)
    return {"sigma": float(np.median(done.atomic_sigma[..., 0]))}


def fit(given: dict) -> dict:
    """The same by Poisson fits of every spectrum, as `exitwave eds` does it."""
    image, tables, lines, detector = _setup(given)
    scene = Scene(beam_eV=200e3, detector=detector, tables=tables)
    found = measure(image, lines, scene, LineOptions(by="fit"), 2**26)
    return {"pixels": int(np.prod(found.lines.counts.shape[:2]))}


def _setup(given: dict) -> tuple:
    tables, pages = xray_tables("elam"), open_signal(given["path"]).frames
    axis = EnergyAxis(size=pages.shape[-1], scale_eV=given["scale_eV"], offset_eV=given["offset_eV"])
    image = SpectrumImage(spectra=Regrouped(source=pages, shape=pages.shape, item_axes=1), energy=axis)
    return image, tables, line_set(given["lines"], tables), EdsDetector(elevation_deg=given["elevation_deg"], silicon_um=450.0)


if __name__ == "__main__":
    serve({"zeta": zeta, "fit": fit}, {"exitwave": __version__, "numpy": version("numpy")})
