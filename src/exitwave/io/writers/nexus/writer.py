"""NeXus HDF5: a 4D scan as `exitwave.io.write_scan` writes it, anything else as NXdata with calibrated axes in an NXem entry.

Definition: https://manual.nexusformat.org/classes/base_classes/NXdata.html.
"""

import h5py
import numpy as np

from exitwave.data.signal import Axis, Signal
from exitwave.io.nexus import UNITS, set_axes
from exitwave.io.nxem import nx_group, read_facts, write_entry
from exitwave.io.scan4d import write_scan
from exitwave.io.signals import told_by
from exitwave.io.write import writing
from exitwave.io.writers.card import Job
from exitwave.io.writers.hdf5 import dataset_like
from exitwave.io.writers.tiles import blocks, chunk_and_shard


def write(path: str, signal: Signal, job: Job) -> None:
    """Write all items."""
    facts = read_facts(str(signal.origin.get("path", "")))
    if len(signal.shape) == 4 and signal.frames.item_axes == 2:
        _, tile = chunk_and_shard(signal.frames, job.block_bytes)
        frames = (items.reshape(-1, *signal.shape[2:]) for _, items in blocks(signal.frames, tile, job.progress))
        ry, rx, ky, kx = signal.shape
        write_scan(path, frames, shape=(ry, rx, ky, kx), dtype=str(signal.frames.dtype), calibration=signal.calibration,
                   attributes=told_by(signal), facts=facts, force=job.force)
        return
    with writing(path, job.force) as partial, h5py.File(partial, "w") as file:
        file.attrs.update({"NX_class": "NXroot", "creator": "exitwave", "exitwave_kind": "signal"})
        entry = write_entry(file, facts, title=signal.kind, default="data")
        group = nx_group(entry, "data", "NXdata")
        group["title"] = signal.kind
        data, tile = dataset_like(group, signal.frames, job)
        data.attrs.update({**told_by(signal), "interpretation": "spectrum" if signal.frames.item_axes == 1 else "image"})
        set_axes(group, "data", _axes(signal.axes))
        for region, items in blocks(signal.frames, tile, job.progress):
            data[region if region else ...] = items


def _axes(axes: tuple[Axis, ...]) -> list[tuple[str, np.ndarray, str]]:
    """Name, values and unit of each axis; where no scale is known the values count. Names are made plain and different."""
    taken = {"data", "title"}
    named = []
    for place, axis in enumerate(axes):
        plain = "".join(c if c.isalnum() else "_" for c in axis.name).strip("_") or f"axis_{place}"
        name = plain if plain not in taken and not plain[0].isdigit() else f"axis_{place}_{plain}"
        taken.add(name)
        steps = np.arange(axis.size) if axis.scale is None else axis.offset + axis.scale * np.arange(axis.size)
        named.append((name, steps, UNITS.get(axis.unit, axis.unit) if axis.scale is not None else ""))
    return named
