"""Reading .zspy: the frames of a Zarr array with HyperSpy's axes."""

from typing import Any

import zarr

from exitwave.core.errors import ExitwaveError, FormatError
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.frames import refuse_layout
from exitwave.io.readers.hspy.experiments import ROOT, attributes_of, axes_of, check_regular, experiment, is_hyperspy, told_of
from exitwave.io.readers.zarr.frames import frames_of, opened, top_of
from exitwave.io.readers.zspy import CARD


def recognises(path: str) -> bool:
    """Whether a Zarr store holds signals of HyperSpy."""
    if not top_of(path):
        return False
    try:
        with opened(path) as root:
            return isinstance(root, zarr.Group) and is_hyperspy(root)
    except ExitwaveError:
        return False


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """The signal of a store, or the one of that title."""
    refuse_layout(options, CARD)
    with opened(path) as root:
        if not isinstance(root, zarr.Group):
            raise FormatError(f"{path} is no HyperSpy store", expected=f"a group with /{ROOT}", got="one array")
        title = experiment(root, inside, path)
        group: Any = root[f"{ROOT}/{title}"]
        check_regular(group, f"{path}::{title}")
        array = group["data"]
        axes, item_axes = axes_of(group, tuple(array.shape))
        attributes = attributes_of(group)
        frames = frames_of(path, array, options.scan_shape, item_axes)
        return Opened(frames=frames, attributes=attributes, inside=title, axes=axes, told=told_of(attributes, axes, item_axes))
