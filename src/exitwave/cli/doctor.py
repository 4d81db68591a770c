"""The state of an installation, and whether it computes what it should."""

import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from time import perf_counter
from types import MappingProxyType
from typing import Any

import click
import numpy as np
import torch

from exitwave import __version__
from exitwave.cli.session import begin, emit, peak_bytes
from exitwave.core import ExitwaveError
from exitwave.data import ArrayFrames
from exitwave.recon.direct.dense import reconstruct
from exitwave.recon.direct.geometry import geometry
from exitwave.signal import frc
from exitwave.simulate import FourDRecipe, experiment_of, frames_of

REQUIRED = (
    "numpy",
    "scipy",
    "torch",
    "numba",
    "h5py",
    "hdf5plugin",
    "zarr",
    "tifffile",
    "ase",
    "click",
    "rich",
    "pydantic",
    "pyyaml",
    "matplotlib",
    "jaxtyping",
)
EXTRAS = {
    "live": ("starlette", "uvicorn", "websockets"),
    "notebook": ("anywidget",),
    "nufft": ("finufft",),
    "formats": ("rsciio",),
    "nexus": ("pynxtools",),
    "eds": ("xraydb",),
    "bayes": ("botorch",),
    "search": ("optuna",),
    "cluster": ("dask", "distributed"),
}
# A weak specimen at high dose: what SSB returns is its phase times the predicted transfer, or something here is broken.
SELF_TEST = FourDRecipe(
    specimen="graphene",
    energy_eV=80e3,
    semiangle_mrad=30.0,
    scan_shape=(24, 24),
    scan_step_A=0.35,
    detector_px=(24, 24),
    detector_mrad=3.0,
    aberrations=MappingProxyType({"C10_A": -80.0}),
    rotation_deg=30.0,
    dose_e_per_A2=1e7,
    slice_A=8.0,
)
LEAST = 0.95


def run(threads: int | None, memory: float | None, as_json: bool) -> None:
    """Look, test, say.

    Raises:
        ExitwaveError: the self-test gave a wrong number.
    """
    budget = begin(threads, memory)
    devices = ["cpu", *(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count()))]
    started = perf_counter()
    correlation = self_test()
    seconds = perf_counter() - started
    found: dict[str, Any] = {
        "exitwave": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {name: _version(name) for name in REQUIRED},
        "devices": devices,
        "threads": torch.get_num_threads(),
        "memory_bytes": budget,
        "extras": {name: all(map(_there, parts)) for name, parts in EXTRAS.items()},
        "self_test": {"correlation": correlation, "least": LEAST, "passed": correlation > LEAST, "seconds": seconds},
        "peak_bytes": peak_bytes(),
    }
    if as_json:
        emit(found)
    else:
        click.echo(text(found))
    if correlation <= LEAST:
        raise ExitwaveError(
            "the self-test failed",
            expected=f"a correlation over {LEAST}",
            got=f"{correlation:.3f}",
            remedy="reinstall torch and numpy, or report this",
        )


def self_test() -> float:
    """Correlation between the SSB image of a simulated scan and the true phase times the predicted transfer."""
    made = experiment_of(SELF_TEST)
    blocks = np.concatenate(list(frames_of(made)))
    scan = blocks.reshape(*SELF_TEST.scan_shape, *SELF_TEST.detector_px)
    truth = torch.from_numpy(made.truth[1].array).double()
    factor = truth.shape[0] // SELF_TEST.scan_shape[0]
    image = reconstruct(ArrayFrames(array=scan), geometry(made.calibration, (*SELF_TEST.scan_shape, *SELF_TEST.detector_px)), "ssb", upsample=factor)
    expected = torch.fft.irfft2(torch.fft.rfft2(truth) * image.ctf, s=truth.shape)
    rings = frc(expected, image.image.double(), image.pitch_A)
    return rings.mean(1.5 * SELF_TEST.semiangle_mrad * 1e-3 / made.experiment.beam.wavelength_A)


def text(found: dict[str, Any]) -> str:
    """The findings for people."""
    test = found["self_test"]
    lines = [
        f"exitwave {found['exitwave']}, Python {found['python']}, {found['system']}",
        "  " + ", ".join(f"{name} {number or 'MISSING'}" for name, number in found["versions"].items()),
        f"  devices: {', '.join(found['devices'])}; {found['threads']} threads; budget {found['memory_bytes'] / 1e9:.3g} GB",
        "  extras: " + ", ".join(f"{name} {'yes' if there else 'no'}" for name, there in found["extras"].items()),
        f"  self-test: graphene reconstructed in {test['seconds']:.1f} s, correlation {test['correlation']:.3f} (over {test['least']} is right): "
        + ("passed" if test["passed"] else "FAILED"),
    ]
    return "\n".join(lines)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _there(module: str) -> bool:
    return find_spec(module) is not None
