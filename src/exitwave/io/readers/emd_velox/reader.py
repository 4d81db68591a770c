"""Reading X-ray spectra of Velox: HDF5 with one stream of photons for each detector.

A stream (``Data/SpectrumStream/<id>/Data``, uint16) lists the channels of photons in the order of the scan; 65535 ends a pixel, and frames follow
each other without a mark. ``AcquisitionSettings`` is JSON: ``bincount``, ``RasterScanDefinition`` with Width and Height. Summed spectra lie in
``Data/Spectrum/<id>/Data`` (channels, 1). ``Metadata`` holds one column of JSON bytes for each frame; angles in rad, energies in eV, all as text.
The layout was found in files; the maker publishes none. Several detectors of one scan are added.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import Any

import h5py
import numpy as np

from exitwave.core.errors import ExitwaveError, FormatError, InputError
from exitwave.core.records import record
from exitwave.data.signal import Axis
from exitwave.io.readers.axes import make_axis
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.emd_velox import CARD
from exitwave.io.readers.frames import destination, refuse_layout
from exitwave.io.readers.hdf5.frames import frames_of, opened
from exitwave.io.readers.tree import flattened

STREAMS, SPECTRA, IMAGES = "Data/SpectrumStream", "Data/Spectrum", "Data/Image"
END = 65535
BLOCK = 2**22  # values of a stream that are looked at together
MOST = 2000  # values of the metadata that are kept


def recognises(path: str) -> bool:
    """Whether an HDF5 file holds spectra of Velox and no images: those with both are asked for by --reader emd_velox."""
    try:
        with opened(path) as file:
            return (STREAMS in file or SPECTRA in file) and not (IMAGES in file and len(file[IMAGES]))
    except (ExitwaveError, TypeError, ValueError):
        return False


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """The spectrum image of all streams, or what `inside` names; a file of point spectra gives the sum of their streams."""
    refuse_layout(options, CARD)
    with opened(path) as file:
        kind, _, number = inside.strip("/").removeprefix("Data/").partition("/")
        kind = kind or ("SpectrumStream" if STREAMS in file and len(file[STREAMS]) else "Spectrum")
        if kind not in ("SpectrumStream", "Spectrum") or f"Data/{kind}" not in file:
            raise InputError(f"{path} has no {inside or 'spectra'}", expected=CARD.inside)
        names = sorted(file[f"Data/{kind}"])
        chosen = _chosen(names, number, path)
        about = _metadata(file[f"Data/{kind}/{chosen[0]}"])
        if kind == "Spectrum":
            return _spectrum(path, file[f"Data/Spectrum/{chosen[0]}/Data"], about, f"Spectrum/{names.index(chosen[0])}")
        width, height, channels = _layout(file, chosen, path)
        stored = tuple(f"{STREAMS}/{name}/Data" for name in chosen)
        lengths = [file[name].shape[0] for name in stored]
    shape = (channels,) if width * height == 1 else (height, width, channels)
    frames = StreamSpectra(path=path, names=stored, shape=shape)
    if not sum(lengths):
        raise FormatError(f"{path} has empty streams", expected="photons")
    return Opened(frames=frames, attributes=about, inside=inside, axes=_axes(shape, about), told=_told(about))


@record
class StreamSpectra:
    """Spectra counted from streams when they are read. Where each pixel's photons lie is looked up once and kept."""

    path: str
    names: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def item_axes(self) -> int:
        return 1

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint32)

    @property
    def natural_chunk(self) -> int:
        return self.shape[1] if len(self.shape) > 1 else 1

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Spectra start:stop, counts of all detectors and frames.

        Raises:
            InputError: a range outside, an `out` that does not fit, a file that is gone.
            FormatError: a damaged stream, or one with photons beyond the last channel.
        """
        items = destination(start, stop, self.shape, self.dtype, out, 1)
        items[:] = 0
        pixels, channels = prod(self.shape[:-1]), self.shape[-1]
        if not items.size:
            return items
        with opened(self.path) as file:
            for name in self.names:
                node = file[name]
                ends = np.array([node.shape[0]]) if pixels == 1 else _ends(self.path, name, node.shape[0])
                for frame in range(max(1, len(ends) // pixels)):
                    first = frame * pixels + start
                    if pixels > 1 and first >= len(ends):
                        break
                    last = min(frame * pixels + stop, len(ends)) if pixels > 1 else 1
                    _count(node, ends, first if pixels > 1 else 0, last, items, channels)
        return items


def _count(node: h5py.Dataset, ends: np.ndarray, first: int, last: int, items: np.ndarray, channels: int) -> None:
    """Add the photons of pixels first:last of a stream to items."""
    begin = int(ends[first - 1]) + 1 if first else 0
    values = np.asarray(node[begin : int(ends[last - 1])]).reshape(-1)
    lengths = np.diff(np.concatenate([[begin - 1], ends[first:last]])) - 1
    pixel = np.repeat(np.arange(last - first), np.maximum(lengths, 0))
    photons = values[values != END].astype(np.int64)
    if len(photons) != len(pixel) or (photons.size and int(photons.max()) >= channels):
        raise FormatError(f"{node.file.filename}::{node.name} is no stream of {channels} channels", got=f"channel {int(values.max(initial=0))}")
    counts = np.bincount(pixel * channels + photons, minlength=(last - first) * channels).reshape(last - first, channels)
    items[: last - first] += counts.astype(np.uint32)


@lru_cache(maxsize=8)
def _ends(path: str, name: str, length: int) -> np.ndarray:
    """Where every pixel of a stream ends; the last one may lack its mark."""
    found = []
    with opened(path) as file:
        for at in range(0, length, BLOCK):
            part = np.asarray(file[name][at : at + BLOCK]).reshape(-1)
            found.append(np.flatnonzero(part == END) + at)
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _layout(file: h5py.File, names: list[str], path: str) -> tuple[int, int, int]:
    """Width, height and channels, the same for all streams."""
    seen = set()
    for name in names:
        group = file[f"{STREAMS}/{name}"]
        settings = _json(bytes(group["AcquisitionSettings"][0])) if "AcquisitionSettings" in group else {}
        raster = settings.get("RasterScanDefinition") or {}
        seen.add((int(raster.get("Width", 1)), int(raster.get("Height", 1)), int(settings.get("bincount", 4096))))
        if group["Data"].ndim != 2 or group["Data"].dtype != np.uint16:
            raise FormatError(f"{path}::{STREAMS}/{name} is no stream of photons", expected="uint16 (n, 1)", got=str(group["Data"].dtype))
    if len(seen) != 1 or min(next(iter(seen))) < 1:
        raise FormatError(f"{path} has streams of several scans", got=sorted(seen), remedy="name one: ::SpectrumStream/0")
    return next(iter(seen))


def _spectrum(path: str, node: h5py.Dataset, about: Mapping[str, Any], inside: str) -> Opened:
    from exitwave.io.signals import Regrouped

    stored = frames_of(path, node, None, 1)
    channels = prod(node.shape)
    source = Regrouped(source=stored, shape=(channels,), item_axes=1)
    return Opened(frames=source, attributes=about, inside=inside, axes=_axes((channels,), about), told=_told(about))


def _chosen(names: list[str], number: str, path: str) -> list[str]:
    if not number:
        return names
    if number in names:
        return [number]
    if not number.isdigit() or int(number) >= len(names):
        raise InputError(f"{path} has no spectrum {number}", expected=f"0 to {len(names) - 1}")
    return [names[int(number)]]


def _axes(shape: tuple[int, ...], about: Mapping[str, Any]) -> tuple[Axis, ...]:
    """Energy from the first detector that has a dispersion; the pixel of the scan where the file tells it."""
    scale, offset = (_first(about, name) for name in ("Dispersion", "OffsetEnergy"))
    energy = make_axis("Energy", shape[-1], scale, offset or 0.0, "eV")
    sizes = [_number(about.get(f"BinaryResult.PixelSize.{name}")) for name in ("height", "width")]
    unit = str(about.get("BinaryResult.PixelUnitX", ""))
    return (*(make_axis(name, n, size, 0.0, unit) for name, n, size in zip("yx", shape[:-1], sizes, strict=False)), energy)


def _told(about: Mapping[str, Any]) -> dict[str, float | bool]:
    energy, semiangle = (_number(about.get(f"Optics.{name}")) for name in ("AccelerationVoltage", "BeamConvergence"))
    return {**({"energy_eV": energy} if energy else {}), **({"semiangle_mrad": 1e3 * semiangle} if semiangle else {})}


def _first(about: Mapping[str, Any], key: str) -> float | None:
    return next((_number(value) for name, value in about.items() if name.startswith("Detectors.") and name.endswith(f".{key}")), None)


def _metadata(group: h5py.Group) -> dict[str, Any]:
    """The JSON of the first frame by dotted names, numbers as the text that they are there."""
    if "Metadata" not in group:
        return {}
    text = np.asarray(group["Metadata"][:, 0]).tobytes().split(b"\0")[0]
    kept = {name: value for name, value in flattened(_json(text)).items() if not name.startswith("CustomProperties")}
    return dict(list(kept.items())[:MOST])


def _json(text: bytes) -> dict[str, Any]:
    try:
        tree = json.loads(text.decode("utf-8", "replace"))
    except ValueError as error:
        raise FormatError("settings of Velox that cannot be read", got=str(error)) from error
    return tree if isinstance(tree, dict) else {}


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
