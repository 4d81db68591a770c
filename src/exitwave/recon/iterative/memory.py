"""What a fit needs beside its frames, estimated before it begins."""

from exitwave.core.errors import MemoryBudgetError
from exitwave.data import FrameSource
from exitwave.recon.iterative.fused import room_for
from exitwave.recon.iterative.lbfgs import HISTORY
from exitwave.recon.iterative.options import SLICED, PtychoOptions
from exitwave.recon.iterative.setup import Setup

PHASE = 48  # bytes of a pixel and slice: phase, gradient, two moments, transmission, the kept copy, temporaries
MODES = 64  # bytes of a sample of a mode, copies over source and focus not counted
PAIR = 16  # bytes that L-BFGS keeps of a number for each pair of its memory, in double precision
PAIRS = HISTORY + 3  # and what its line search holds
OWN = 48  # of a sample of a mode that a pattern has of its own: as torch mixes it, laid out for the pass, and the gradient of both
HELD_TOGETHER = 256  # patterns held out that are looked at together
COPIES = {"source": 7, "focal": 3}


def needed_bytes(s: Setup, frames: FrameSource, options: PtychoOptions, memory_bytes: int) -> int:
    """Bytes of a fit whose frames stay on the disk.

    Raises:
        MemoryBudgetError: more than the budget.
    """
    field = s.field.shape[0] * s.field.shape[1] * options.slices * PHASE
    window, frame = s.window.shape[0] * s.window.shape[1], frames.shape[2] * frames.shape[3]
    copies = (COPIES["source"] if "source" in options.fit else 1) * (COPIES["focal"] if "focal-spread" in options.fit else 1)
    modes = window * options.modes * (MODES + 16 * copies)
    if options.solver == "lbfgs":
        field += s.field.shape[0] * s.field.shape[1] * options.slices * PAIR * PAIRS
        modes += 2 * window * options.modes * PAIR * PAIRS
    largest = max(options.batch, HELD_TOGETHER)
    if options.probe_shapes:
        modes += window * options.probe_shapes * MODES + largest * window * options.modes * copies * OWN
    depth_too = bool(set(options.fit) & set(SLICED))
    room = room_for(largest, options.modes * copies, 1, options.slices, s.window.shape, 4, kernels=depth_too, absorbs=False)
    waves = room.bytes_of(options.modes * copies, options.slices, 4)
    batch = largest * frame * (frames.dtype.itemsize + 4)
    total = field + modes + waves + batch + len(s.positions_px) * 128
    if total > memory_bytes:
        sides = f"{options.slices} x {s.field.shape[0]} x {s.field.shape[1]}"
        raise MemoryBudgetError(
            "the fit does not fit the memory, even with its frames left on the disk",
            expected=f"at least {total / 1e6:.0f} MB ({field / 1e6:.0f} MB for a phase of {sides})",
            got=f"{memory_bytes / 1e6:.0f} MB", remedy=f"pass --memory {-(-total // 10**6)}MB, fewer --slices, or a part of the scan")
    return total
