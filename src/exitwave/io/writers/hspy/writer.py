"""The HDF5 layout that HyperSpy opens, its version 3.3: one experiment with ``data``, ``axis-i`` groups and ``metadata`` groups of attributes.

Layout: https://hyperspy.org/rosettasciio/user_guide/supported_formats/hspy.html.
"""

from pathlib import Path

import h5py

from exitwave.data.signal import ENERGY, Axis, Signal
from exitwave.io.signals import told_by
from exitwave.io.write import writing
from exitwave.io.writers.card import Job
from exitwave.io.writers.hdf5 import dataset_like
from exitwave.io.writers.tiles import blocks

UNITS = {"A": "Å", "1/A": "1/Å", "1/px": ""}
VERSION = "3.3"


def write(path: str, signal: Signal, job: Job) -> None:
    """Write all items; beam energy (keV) and convergence angle (mrad) where HyperSpy keeps them."""
    title = Path(str(signal.origin.get("path", ""))).stem or "signal"
    with writing(path, job.force) as partial, h5py.File(partial, "w") as file:
        file.attrs.update({"file_format": "HyperSpy", "file_format_version": VERSION})
        group = file.create_group("Experiments").create_group(title)
        group.attrs.update({"package": "", "package_version": ""})
        navigation = len(signal.shape) - signal.frames.item_axes
        for place, axis in enumerate(signal.axes):
            _write_axis(group.create_group(f"axis-{place}"), axis, navigate=place < navigation)
        _write_metadata(group, signal, title)
        data, tile = dataset_like(group, signal.frames, job)
        for region, items in blocks(signal.frames, tile, job.progress):
            data[region if region else ...] = items


def _write_axis(group: h5py.Group, axis: Axis, *, navigate: bool) -> None:
    known = axis.scale is not None
    group.attrs.update({
        "_type": "UniformDataAxis", "name": axis.name, "units": UNITS.get(axis.unit, axis.unit) if known else "", "navigate": navigate,
        "is_binned": axis.unit in ENERGY and not navigate, "size": axis.size, "scale": axis.scale if axis.scale is not None else 1.0,
        "offset": axis.offset,
    })


def _write_metadata(group: h5py.Group, signal: Signal, title: str) -> None:
    metadata = group.create_group("metadata")
    metadata.attrs.update(told_by(signal))
    metadata.create_group("General").attrs["title"] = title
    metadata.create_group("Signal").attrs["signal_type"] = ""
    known = signal.calibration
    instrument = {"beam_energy": (known.energy_eV.value, 1e-3), "convergence_angle": (known.semiangle_mrad.value, 1.0)}
    told = {name: float(value) * factor for name, (value, factor) in instrument.items() if value is not None}
    if told:
        metadata.create_group("Acquisition_instrument").create_group("TEM").attrs.update(told)
    group.create_group("original_metadata")
    group.create_group("learning_results")
    group.create_group("attributes").attrs.update({"_lazy": False, "ragged": False})
