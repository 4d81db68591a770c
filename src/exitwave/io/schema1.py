"""Reading what exitwave 0.1 wrote before records: images as annotated NXdata groups, everything else as JSON text."""

import json
from typing import Any

import h5py
import numpy as np

from exitwave.io.nexus import Plane


def read_plane(group: h5py.Group) -> Plane:
    """An image with its pitch, unit, title and origin; spectra are shifted back to their corner."""
    data = group["data"]
    attributes = data.attrs
    array = np.fft.ifftshift(data[()]) if attributes["fftshifted"] else data[()]
    title = group["title"].asstr()[()]
    name = group.name.rsplit("/", 1)[-1]
    (py, px), (oy, ox) = attributes["pitch"].tolist(), attributes["origin"].tolist()
    return Plane(name=name, array=array, pitch=(py, px), pitch_unit=attributes["pitch_unit"], unit=attributes["units"],
                 title="" if title == name else title, origin=(oy, ox))


def read_images(entry: h5py.Group) -> dict[str, Plane]:
    """Every image of a result, in the written order."""
    return {key: read_plane(node) for key, node in entry.items() if node.attrs.get("NX_class") == "NXdata"}


def read_collection(parent: h5py.Group, name: str) -> dict[str, Any]:
    """A mapping from its JSON text."""
    tree: dict[str, Any] = json.loads(parent[name]["json"].asstr()[()])
    return tree
