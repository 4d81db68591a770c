"""Which executor a stream needs: count cube, moments, integer shifts or guide functions, and why in a sentence."""

from pathlib import Path
from typing import Literal, TypeAlias

import torch

from exitwave.core import record
from exitwave.core.errors import InputError, MemoryBudgetError
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.linear import LINEAR, UNSHIFTED
from exitwave.recon.direct.methods import check_method
from exitwave.recon.live.field import Field, on_field
from exitwave.recon.live.guided import LiveGuides
from exitwave.recon.live.guides import half_widths, make_guides, stencil_size
from exitwave.recon.live.library import library
from exitwave.recon.live.moments import LiveMoments
from exitwave.recon.live.phase import LivePhase, live_phase, looked_at
from exitwave.recon.live.shifted import LiveShifts
from exitwave.recon.live.shifts import make_shifts

Executor = Literal["cube", "moments", "shifts", "guides"]
Live: TypeAlias = LivePhase | LiveMoments | LiveShifts | LiveGuides
CUBE_RATE, MOMENT_RATE, SHIFT_RATE = 50e6, 60e6, 30e6  # events per second of one core, the state larger than its caches
ADD_RATE = 6e9  # samples of guides a second and thread
CUBE_BYTES = 2  # of a count; a cube begins with one byte
CELLS = 4  # of a fine pixel along an axis, where parallax is counted in cells
VIEW_RATE = 1.2e8  # weights per second of a view from the cube
PLANE_RATE = 1e7  # cells or fine pixels per second of any other view
SLOWEST_VIEW_S = 1.0
RIDGE = 0.01


@record
class Choice:
    """`executor` and `why`; the bytes of its state, the events per second that it follows, the seconds of a view, whether it `keeps_up` with the rate
    that was asked for."""

    executor: Executor
    why: str
    memory_bytes: int
    events_per_s: float
    view_s: float
    keeps_up: bool


def choose(g: Geometry, method: str, *, upsample: int = 1, field: Field | None = None, half_width: tuple[int, int] | None = None, phases: int = 4,
           memory_bytes: int = 2**30, events_per_s: float = 0.0, threads: int = 2) -> Choice:
    """The executor for a method on a raster (`field` None) or on free positions.

    Moments for iCOM: three integers to a position are all that it needs. The count cube where the scan is a raster, its counts fit into half of the
    memory and a view takes less than a second: exact, any method, refocused at once. Else parallax as integers at shifts, and guide functions for
    what is linear.

    Raises:
        InputError: an unknown method, or one that none of the executors makes on these positions.
        MemoryBudgetError: nothing fits; what would is named.
    """
    check_method(method)
    (ny, nx), pixels, raster = g.scan.shape, len(looked_at(g, method)), field is None or field.at is None
    options: list[tuple[Executor, int, float, float, str]] = []
    if raster and method == "icom":
        options.append(("moments", ny * nx * 48, MOMENT_RATE, ny * nx * upsample**2 / PLANE_RATE, f"three sums at each of {ny} x {nx} positions"))
    if raster:
        options.append(("cube", pixels * ny * nx * CUBE_BYTES, CUBE_RATE, pixels * ny * nx * upsample**2 / VIEW_RATE,
                        f"{pixels} pixels x {ny} x {nx} positions, exact"))
    shape = (ny, nx) if field is None else field.shape
    canvas = (shape[0] * upsample, shape[1] * upsample)
    if method in ("parallax", "flipped-parallax"):
        cells = canvas[0] * canvas[1] * CELLS**2
        options.append(("shifts", 16 * cells, SHIFT_RATE, cells / PLANE_RATE, f"one integer per event among {CELLS} x {CELLS} cells to a pixel"))
    elif method in LINEAR and method not in UNSHIFTED:  # whose guides fall off as 1/r and cannot be cut
        options.append(_guides(g, method, upsample, canvas, half_width, 1 if raster else phases, pixels, threads))
    if not options:
        raise InputError(f"{method} needs a raster", got="free scan positions",
                         remedy=f"choose one of {', '.join(m for m in LINEAR if m not in UNSHIFTED)}")
    return _picked(options, memory_bytes, events_per_s)


def _guides(g: Geometry, method: str, upsample: int, canvas: tuple[int, int], half_width: tuple[int, int] | None, phases: int, pixels: int,
            threads: int) -> tuple[Executor, int, float, float, str]:
    size, parts = stencil_size(canvas, half_width or half_widths(g, upsample, method)), 2 if method == "wdd" else 1
    samples = size[0] * size[1] * parts
    needed = 4 * pixels * samples * (phases**2 + 2) + 24 * parts * canvas[0] * canvas[1]
    return ("guides", needed, ADD_RATE * min(2, threads) / samples, parts * canvas[0] * canvas[1] / PLANE_RATE,
            f"stencils of {size[0]} x {size[1]}{' complex' if parts == 2 else ''} samples for {pixels} pixels")


def _picked(options: list[tuple[Executor, int, float, float, str]], memory_bytes: int, events_per_s: float) -> Choice:
    """The first that fits, is quick to view and keeps up; without such a one, the quickest that fits."""
    fitting = [o for o in options if o[1] <= memory_bytes // 2]
    if not fitting:
        name, needed = min(((o[0], o[1]) for o in options), key=lambda o: o[1])
        raise MemoryBudgetError("no executor's state fits into half of the memory", expected=f"at most {memory_bytes / 2e6:.4g} MB",
                                got=f"{needed / 1e6:.4g} MB for {name}",
                                remedy=f"raise the memory to {2 * needed / 1e6 + 1:.0f} MB, or lower the upsampling")
    good = [o for o in fitting if o[3] <= SLOWEST_VIEW_S and o[2] >= events_per_s]
    name, needed, rate, view, what = good[0] if good else max(fitting, key=lambda o: o[2])
    why = f"{name}: {what}, {needed / 1e6:.4g} of {memory_bytes / 1e6:.4g} MB, about {rate / 1e6:.3g} M events/s and {view:.2g} s a view"
    for other in options:
        if other[0] != name:
            lacks = [f"would take {other[1] / 1e6:.4g} MB"] if other not in fitting else []
            lacks += [f"{other[3]:.2g} s a view"] if other[3] > SLOWEST_VIEW_S else []
            lacks += [f"{other[2] / 1e6:.3g} M events/s"] if other[2] < max(events_per_s, rate) else []
            why += f"; {other[0]}: {', '.join(lacks) if lacks else 'not needed'}"
    if events_per_s > rate:
        why += f"; it does not follow {events_per_s / 1e6:.3g} M events/s"
    return Choice(executor=name, why=why, memory_bytes=needed, events_per_s=rate, view_s=view, keeps_up=rate >= events_per_s)


def live_executor(choice: Choice, g: Geometry, method: str, *, upsample: int = 1, field: Field | None = None, random_halves: bool = False,
                  half_width: tuple[int, int] | None = None, phases: int = 4, ridge: float = RIDGE, cache_dir: Path | None = None,
                  finite_pixels: bool = True, memory_bytes: int = 2**30, dtype: torch.dtype = torch.complex64) -> Live:
    """The accumulator of a choice; guide functions come from `cache_dir` where one is given.

    Raises:
        InputError, MemoryBudgetError: as the executors.
    """
    where = field or Field(shape=g.scan.shape)
    if choice.executor == "moments":
        return LiveMoments(g=g, upsample=upsample, finite_pixels=finite_pixels)
    if choice.executor == "cube":
        made = live_phase(g, method, upsample=upsample, sets=2 if random_halves else 1, dtype=dtype)
        return LivePhase(cube=made.cube, g=g, method=method, upsample=upsample, finite_pixels=finite_pixels, memory_bytes=memory_bytes, dtype=dtype)
    halves: Literal["detector", "random"] = "random" if random_halves else "detector"
    if choice.executor == "shifts":
        shifts = make_shifts(g, where, method, upsample=upsample, cells=CELLS, finite_pixels=finite_pixels, dtype=dtype)
        return LiveShifts(g=g, shifts=shifts, field=where, halves=halves)
    made_on, used = on_field(g, where), 1 if where.at is None else phases
    slot = ridge if method == "wdd" else None
    guides = (make_guides(made_on, method, upsample=upsample, half_width=half_width, phases=used, finite_pixels=finite_pixels, ridge=slot,
                          memory_bytes=memory_bytes, dtype=dtype) if cache_dir is None else
              library(cache_dir, made_on, method, upsample=upsample, half_width=half_width, phases=used, finite_pixels=finite_pixels, ridge=slot,
                      memory_bytes=memory_bytes, dtype=dtype))
    return LiveGuides(g=g, guides=guides, field=where, halves=halves)
