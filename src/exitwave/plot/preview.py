"""A look at any measurement in seconds, whatever its size: few items are read, spread over the whole."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure

from exitwave.core.errors import InputError
from exitwave.data import Axis, Signal, items_of
from exitwave.data.sampling import picked, raster, some, spread
from exitwave.plot import figures

LARGEST = 1024  # pixels of a panel
GAMMA = 0.4
IMAGE_MAP = "gray"
CHANNELS = 256  # images of a stack of energies to look at


def preview_figure(signal: Signal, title: str) -> Figure:
    """Mean pattern and virtual images of a 4D scan; first, mean and last frame of a movie or stack; an image; spectra with their map.

    What is shown is a sample where the file is large, and the panels say of how much. Scale bars appear where the axes are calibrated.

    Raises:
        InputError: more dimensions than a picture can show.
    """
    draw = {"4D-STEM": _scan, "movie": _frames, "stack": _frames, "image": _image, "spectrum": _spectra, "line of spectra": _spectra,
            "spectrum image": _energies if signal.frames.item_axes == 2 else _spectra}.get(signal.kind)
    if draw is None:
        raise InputError("no preview of this array", expected="an image, a stack, a scan or spectra", got=f"shape {signal.shape}",
                         remedy="convert a part of it, or name another array as FILE::/path")
    made = draw(signal)
    made.suptitle(title, fontsize=11)
    return made


def _scan(signal: Signal) -> Figure:
    source = signal.frames
    rows, columns = raster(source)
    indices = (rows[:, None] * signal.shape[1] + columns).reshape(-1)
    alive = signal.origin.get("alive")
    frame = signal.shape[2:]
    live = np.ones(frame, bool) if alive is None else alive
    rough = np.zeros(frame)
    for _, item in picked(source, indices[spread(len(indices), 48)]):
        rough += item
    bright = (rough > 0.5 * np.percentile(rough[live], 99.5)) & live if live.any() else live
    total, inside, outside = np.zeros(frame), np.zeros(len(indices)), np.zeros(len(indices))
    for place, item in picked(source, indices):
        values = np.where(live, item, 0).astype(np.float64)
        total += values
        inside[place] = values[bright].sum()
        outside[place] = values.sum() - inside[place]
    made = figures.figure(14.0, 4.9)
    pattern, left, right = made.subplots(1, 3)
    steps = _scan_steps(signal, rows, columns)
    what = f"{len(rows)} x {len(columns)} of {signal.shape[0]} x {signal.shape[1]} positions"
    mean = np.where(live, total / len(indices), np.nan)
    _show(made, pattern, mean, signal.axes[2:], f"mean pattern of {len(indices)} positions", f"mean {_what(signal)}", norm=_power(mean),
          colours=figures.PATTERN_MAP, pixel=_detector_pixel(signal))
    if 0 < bright.sum() < bright.size:
        pattern.contour(bright, levels=[0.5], colors="white", linewidths=0.9, linestyles="--")
    for axes, image, name in ((left, inside, "inside the dashed line"), (right, outside, "outside of it")):
        if min(len(rows), len(columns)) > 1:
            _show(made, axes, image.reshape(len(rows), len(columns)), signal.axes[:2], f"sum {name}\n{what}", _what(signal), pixel=steps)
        else:
            axes.plot(indices, image, color=figures.BLUE, lw=1.0)
            axes.set(xlabel="position", ylabel="counts", title=f"sum {name}\n{what}")
    return made


def _frames(signal: Signal) -> Figure:
    count = items_of(signal.frames)
    indices = some(signal.frames, 32)
    mean = np.zeros(signal.shape[-2:])
    for _, item in picked(signal.frames, indices):
        mean += item
    first, last = (signal.frames.read(i, i + 1)[0] for i in (0, count - 1))
    made = figures.figure(14.0, 4.9)
    named = ((first, f"first frame{_at(signal, 0)}"), (mean / len(indices), f"mean of {len(indices)} of {count} frames"),
             (last, f"last frame{_at(signal, count - 1)}"))
    for axes, (image, name) in zip(made.subplots(1, 3), named, strict=True):
        _show(made, axes, image, signal.axes[-2:], name, _what(signal))
    return made


def _image(signal: Signal) -> Figure:
    made = figures.figure(7.4, 6.4)
    _show(made, made.subplots(1, 1), signal.frames.read(0, 1)[0], signal.axes, f"{signal.shape[0]} x {signal.shape[1]} pixels", _what(signal))
    return made


def _spectra(signal: Signal) -> Figure:
    navigation = signal.shape[:-1]
    source, count = signal.frames, items_of(signal.frames)
    if len(navigation) == 2:
        rows, columns = raster(source, 256)
        indices = (rows[:, None] * navigation[1] + columns).reshape(-1)
    else:
        indices = some(source, 4096)
    mean, sums = np.zeros(signal.shape[-1]), np.zeros(len(indices))
    for place, item in picked(source, indices):
        mean += item
        sums[place] = float(item.sum(dtype=np.float64))
    made = figures.figure(7.4 if not navigation else 13.0, 4.9)
    if not navigation:
        _curve(made.subplots(1, 1), mean, signal.axes[-1], "spectrum")
        return made
    left, right = made.subplots(1, 2, width_ratios=(1.5, 1.0))
    _curve(left, mean / len(indices), signal.axes[-1], f"mean of {len(indices)} of {count} spectra")
    if len(navigation) == 2:
        pixel = _stretched(signal.axes[:2], rows, columns)
        _show(made, right, sums.reshape(len(rows), len(columns)), signal.axes[:2], "sum of each spectrum", _what(signal), pixel=pixel)
    else:
        place = signal.axes[0]
        right.plot(_values(place)[indices], sums, color=figures.BLUE, lw=1.0)
        right.set(xlabel=_label(place), ylabel="sum of each spectrum")
    return made


def _energies(signal: Signal) -> Figure:
    indices = some(signal.frames, CHANNELS)
    image, spectrum = np.zeros(signal.shape[-2:]), np.zeros(len(indices))
    for place, item in picked(signal.frames, indices):
        image += item
        spectrum[place] = float(item.mean(dtype=np.float64))
    made = figures.figure(13.0, 4.9)
    left, right = made.subplots(1, 2, width_ratios=(1.5, 1.0))
    left.plot(_values(signal.axes[0])[indices], spectrum, color=figures.BLUE, lw=1.2)
    left.set(xlabel=_label(signal.axes[0]), ylabel=f"mean {_what(signal)}", title=f"mean of each image, {len(indices)} of {signal.shape[0]} energies")
    _show(made, right, image / len(indices), signal.axes[1:], "mean image", f"mean {_what(signal)}")
    return made


def _show(made: Figure, axes: Axes, image: np.ndarray, of: Sequence[Axis], title: str, label: str, *, norm: Normalize | None = None,
          colours: str = IMAGE_MAP, pixel: tuple[float, float, str] | None = None) -> None:
    """One panel: binned to at most 1024 pixels, with a scale bar where the pixel is known (`pixel`: y, x, unit), else ticks in pixels."""
    scale = pixel or _pixel(of)
    factor = -(-max(image.shape) // LARGEST)
    small = _binned(image.astype(np.uint8) if image.dtype.kind == "b" else image, factor)
    finite = small[np.isfinite(small)]
    low, high = (float(v) for v in np.percentile(finite, (0.3, 99.7))) if finite.size else (0.0, 1.0)
    aspect = scale[0] / scale[1] if scale else 1.0
    ny, nx = image.shape
    shown = axes.imshow(small, cmap=colours, norm=norm or Normalize(low, max(high, low + 1e-12 * max(1.0, abs(low)))), aspect=aspect,
                        extent=(-0.5, nx - 0.5, ny - 0.5, -0.5))
    made.colorbar(shown, ax=axes, fraction=0.046, pad=0.02).set_label(label)
    axes.set_title(title)
    if scale is None:
        axes.set(xlabel=f"{of[1].name} (pixels)", ylabel=f"{of[0].name} (pixels)")
        return
    unit = scale[2]
    figures.scale_bar(axes, (ny, nx), scale[:2], figures.length_text if unit == "A" else lambda length: f"{length:g} {unit.replace('A', 'Å')}")
    figures.bare(axes)


def _binned(image: np.ndarray, factor: int) -> np.ndarray:
    if factor == 1:
        return image
    ny, nx = (n // factor * factor for n in image.shape)
    return image[:ny, :nx].reshape(ny // factor, factor, nx // factor, factor).mean(axis=(1, 3), dtype=np.float64)


def _power(image: np.ndarray) -> PowerNorm:
    """Weak scattering and the bright disk in one picture."""
    known = image[np.isfinite(image)]
    low, high = (float(v) for v in np.percentile(known, (0.3, 99.9))) if known.size else (0.0, 1.0)
    return PowerNorm(GAMMA, vmin=low, vmax=max(high, low + 1e-12))


def _pixel(of: Sequence[Axis]) -> tuple[float, float, str] | None:
    y, x = of
    if not y.scale or not x.scale or y.unit != x.unit or not y.unit:
        return None
    return abs(y.scale), abs(x.scale), y.unit


def _detector_pixel(signal: Signal) -> tuple[float, float, str] | None:
    known = signal.calibration.detector_mrad.value
    return _pixel(signal.axes[2:]) if known is None else (float(known), float(known), "mrad")


def _scan_steps(signal: Signal, rows: np.ndarray, columns: np.ndarray) -> tuple[float, float, str] | None:
    y, x = signal.calibration.scan_step_y_A.value, signal.calibration.scan_step_x_A.value
    if y is None or x is None:
        return _stretched(signal.axes[:2], rows, columns)
    return _apart(rows) * float(y), _apart(columns) * float(x), "A"


def _stretched(of: Sequence[Axis], rows: np.ndarray, columns: np.ndarray) -> tuple[float, float, str] | None:
    pixel = _pixel(of)
    return None if pixel is None else (pixel[0] * _apart(rows), pixel[1] * _apart(columns), pixel[2])


def _apart(indices: np.ndarray) -> float:
    return float(indices[1] - indices[0]) if len(indices) > 1 else 1.0


def _values(axis: Axis) -> np.ndarray:
    return np.arange(axis.size, dtype=float) if axis.scale is None else axis.offset + axis.scale * np.arange(axis.size)


def _label(axis: Axis) -> str:
    unit = axis.unit.replace("A", "Å") if axis.scale is not None else "channel"
    return f"{axis.name} ({unit})" if unit and unit != axis.name else axis.name


def _curve(axes: Axes, values: np.ndarray, axis: Axis, title: str) -> None:
    axes.plot(_values(axis), values, color=figures.BLUE, lw=1.2)
    axes.set(xlabel=_label(axis), ylabel="counts", title=title)
    axes.margins(x=0)


def _at(signal: Signal, index: int) -> str:
    axis = signal.axes[0]
    return "" if axis.scale is None or len(signal.shape) != 3 else f", {axis.name} = {axis.offset + axis.scale * index:.6g} {axis.unit}".rstrip()


def _what(signal: Signal) -> str:
    return {"f": "value", "b": "true"}.get(signal.frames.dtype.kind, "counts")
