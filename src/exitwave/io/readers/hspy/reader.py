"""Reading .hspy: the frames of an HDF5 dataset with HyperSpy's axes."""

import h5py

from exitwave.core.errors import ExitwaveError
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.frames import refuse_layout
from exitwave.io.readers.hdf5.frames import frames_of, opened
from exitwave.io.readers.hspy import CARD
from exitwave.io.readers.hspy.experiments import ROOT, attributes_of, axes_of, check_regular, experiment, is_hyperspy, told_of


def recognises(path: str) -> bool:
    """Whether an HDF5 file holds signals of HyperSpy."""
    try:
        with opened(path) as file:
            return is_hyperspy(file)
    except (ExitwaveError, TypeError, ValueError):
        return False


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """The signal of a file, or the one of that title."""
    refuse_layout(options, CARD)
    with opened(path) as file:
        title = experiment(file, inside, path)
        group, what = file[ROOT][title], f"{path}::{title}"
        check_regular(group, what)
        node: h5py.Dataset = group["data"]
        axes, item_axes = axes_of(group, node.shape)
        attributes = attributes_of(group)
        frames = frames_of(path, node, options.scan_shape, item_axes)
        return Opened(frames=frames, attributes=attributes, inside=title, axes=axes, told=told_of(attributes, axes, item_axes))
