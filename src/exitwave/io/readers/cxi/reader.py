"""Frames of a CXI file with the sample's positions, the photons' energy and the detector's geometry.

Source: the CXI file format 1.6, cxidb.org; NXcxi_ptycho, manual.nexusformat.org. Lengths are in m, energies in J.

Limits: positions are given as the file has them (`translation_m`: x, y, z of the sample in the file's own frame), since programs differ in its
signs; `energy_eV` is that of photons.
"""

from math import isclose
from typing import Any

import h5py
import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.data.signal import Axis
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.cxi import CARD
from exitwave.io.readers.frames import refuse_layout
from exitwave.io.readers.hdf5.frames import DAMAGE, frames_of, opened
from exitwave.io.readers.leaves import leaves, number

JOULE_PER_EV = 1.602176634e-19
LIGHT_EV_A = 12398.419843320026  # h c in eV Angstrom
SIGNAL_BIT = 0x1000  # the one mask bit that says nothing bad: signal above background
SQUARE = 1e-6


def recognises(path: str) -> bool:
    """Whether a file says that it is CXI: cxi_version, or an entry_1 with a data_1."""
    try:
        with h5py.File(path, "r") as file:
            return "cxi_version" in file or "entry_1/data_1" in file
    except DAMAGE:
        return False


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """The frames at the path inside, else of the only data_n; a stack, or a scan where a scan shape is given.

    Attributes are all small values by their path, and for as many frames `translation_m`, a row (x, y, z) each.

    Raises:
        InputError: several data_n, or options that do not fit.
        FormatError: no frames, or complex ones.
    """
    refuse_layout(options, CARD)
    with opened(path) as file:
        group, name = _place(file, path, inside)
        node = file[name]
        frames = frames_of(path, node, options.scan_shape)
        instrument, detector = _beside(file, group, name)
        told = _told(file, instrument, detector)
        attributes = leaves(file) | _translation(file, group, node.shape)
        mask = file.get(f"{detector}/mask")
        alive = (mask[()] & ~np.uint32(SIGNAL_BIT)) == 0 if _is_mask(mask, frames.shape) else None
    return Opened(frames=frames, attributes=attributes, inside=name, axes=_axes(frames.shape), told=told, alive=alive)


def _place(file: h5py.File, path: str, inside: str) -> tuple[str, str]:
    """(group data_n, dataset) of the frames."""
    found = [f"/{entry}/{data}" for entry in sorted(file) if entry.startswith("entry_") and isinstance(file.get(entry), h5py.Group)
             for data in sorted(file[entry]) if data.startswith("data_") and isinstance(file.get(f"{entry}/{data}/data"), h5py.Dataset)]
    wanted = "/" + inside.strip("/") if inside else ""
    if wanted:
        name = wanted if isinstance(file.get(wanted), h5py.Dataset) else f"{wanted}/data"
        if not isinstance(file.get(name), h5py.Dataset):
            raise InputError(f"{path} has no frames at {wanted}", expected=", ".join(found) or None)
        group = name.rpartition("/")[0]
        return group, name
    if not found:
        raise FormatError(f"{path} holds no frames", expected="a dataset entry_1/data_1/data", got=", ".join(sorted(file)) or "nothing")
    if len(found) > 1:
        raise InputError(f"{path} holds {len(found)} stacks of frames", got=", ".join(found), remedy=f"name one, e.g. {path}::{found[0]}")
    return found[0], f"{found[0]}/data"


def _beside(file: h5py.File, group: str, name: str) -> tuple[str, str]:
    """(instrument, detector): of the frames' own detector where they lie in one or are a link into one, else the first of the entry."""
    link = file.get(name, getlink=True)
    target = link.path if isinstance(link, h5py.SoftLink) else name
    detector = target.rpartition("/")[0] if "/detector_" in target else ""
    entry = "/" + group.strip("/").split("/")[0]
    instrument = detector.rpartition("/")[0] or f"{entry}/instrument_1"
    return instrument, detector or f"{instrument}/detector_1"


def _told(file: h5py.File, instrument: str, detector: str) -> dict[str, float | bool]:
    told: dict[str, float | bool] = {}
    energy, wavelength = number(file, f"{instrument}/source_1/energy"), number(file, f"{instrument}/source_1/wavelength")
    if energy is not None and energy > 0:
        told["energy_eV"] = energy / JOULE_PER_EV if energy < 1 else energy  # some write eV; no photon has a joule
    elif wavelength is not None and wavelength > 0:
        told["energy_eV"] = LIGHT_EV_A / (wavelength * 1e10)
    pixels = [number(file, f"{detector}/{axis}_pixel_size") for axis in "yx"]
    distance = number(file, f"{detector}/distance")
    if distance and pixels[0] and pixels[1] and isclose(pixels[0], pixels[1], rel_tol=SQUARE):
        told["detector_mrad"] = 1e3 * pixels[1] / abs(distance)
    return told


def _translation(file: h5py.File, group: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """The sample's positions, from beside the frames or from the entry's sample, where there is one for each frame."""
    entry = "/" + group.strip("/").split("/")[0]
    for place in (f"{group}/translation", f"{entry}/sample_1/geometry_1/translation", f"{entry}/sample_1/geometry/translation"):
        node = file.get(place)
        if isinstance(node, h5py.Dataset) and node.dtype.kind == "f" and node.shape == (shape[0], 3):
            return {"translation_m": node[()].astype(float).tolist()}
    return {}


def _is_mask(node: object, shape: tuple[int, ...]) -> bool:
    return isinstance(node, h5py.Dataset) and node.shape == shape[-2:] and node.dtype.kind in "ui"


def _axes(shape: tuple[int, ...]) -> tuple[Axis, ...]:
    """Positions in no grid, on a detector; modules of one between them where there are several."""
    names = {2: ("y", "x"), 3: ("position", "ky", "kx"), 4: ("position", "module", "ky", "kx")}.get(len(shape), ())
    return tuple(Axis(name=name, size=size) for name, size in zip(names, shape, strict=False))
