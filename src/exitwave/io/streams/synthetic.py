"""Synthetic Timepix3 measurements: electrons to lit pixels to packets of several chips, as a file or a sender would give them.

Layout of the packets: `exitwave.io.streams.tpx3`. Times are ticks of 25/16 ns.
"""

import numpy as np
from scipy.special import ndtr

from exitwave.core import record
from exitwave.io.streams.placement import CHIP_PIXELS, Placement

MAGIC = int.from_bytes(b"TPX3", "little")
HIT, TRIGGER = 0xB << 60, 0x6 << 60
EDGES = np.array([[0xB, 0xE], [0xA, 0xF]], np.uint64)  # by (channel 1, rising)
MOST_TOT = 1023


@record
class LitPixels:
    """Hits: frame `pixel` (n,) in C order, `time` (n,), time over threshold `tot` (n,), and the number of the `electron` (n,) that each is of."""

    pixel: np.ndarray
    time: np.ndarray
    tot: np.ndarray
    electron: np.ndarray


@record
class Edges:
    """Trigger edges: `time` (n,), `channel` (n,) 1 or 2, `rising` (n,)."""

    time: np.ndarray
    channel: np.ndarray
    rising: np.ndarray


def lit_pixels(y: np.ndarray, x: np.ndarray, time: np.ndarray, frame: tuple[int, int], charge: float = 400.0, spread_px: float = 0.6,
               threshold: float = 12.0, walk_ticks: float = 400.0) -> LitPixels:
    """The pixels that electrons at (y, x) (n,), in pixels with the middle of pixel 0 at 0, light: a Gaussian of charge cut at a threshold.

    `charge` in units of time over threshold; a pixel with charge q is late by walk_ticks / q ticks. Electrons that light no pixel leave no hit.
    """
    reach = int(np.ceil(4 * spread_px)) + 1
    steps = np.arange(-reach, reach + 1)
    near_y, near_x = np.round(y).astype(np.int64)[:, None] + steps, np.round(x).astype(np.int64)[:, None] + steps
    share = [ndtr((near + 0.5 - at[:, None]) / spread_px) - ndtr((near - 0.5 - at[:, None]) / spread_px) for near, at in ((near_y, y), (near_x, x))]
    held = charge * share[0][:, :, None] * share[1][:, None, :]
    inside = ((near_y >= 0) & (near_y < frame[0]))[:, :, None] & ((near_x >= 0) & (near_x < frame[1]))[:, None, :]
    electron, down, right = np.nonzero((held >= threshold) & inside)
    got = held[electron, down, right]
    late = np.round(walk_ticks / got).astype(np.int64)
    return LitPixels(pixel=near_y[electron, down] * frame[1] + near_x[electron, right], time=time[electron] + late,
                     tot=np.minimum(np.round(got), MOST_TOT).astype(np.int64), electron=electron)


def hit_words(y: np.ndarray, x: np.ndarray, tot: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Packets (n,) uint64 of hits at chip pixels (y, x)."""
    clocks = -(-time // 16)
    address = (x // 2) << 9 | (y // 4) << 3 | (x % 2) << 2 | y % 4
    low = address << 44 | (clocks & 0x3FFF) << 30 | tot << 20 | (16 * clocks - time) << 16 | (clocks >> 14) & 0xFFFF
    return low.astype(np.uint64) | np.uint64(HIT)


def edge_words(edges: Edges) -> np.ndarray:
    """Packets (n,) uint64 of trigger edges, counted from 0."""
    kind = EDGES[(edges.channel == 1).astype(int), edges.rising.astype(int)] << np.uint64(56)
    eighths, rest = edges.time // 2, 6 * (edges.time % 2) + 1
    low = (np.arange(len(edges.time)) & 0xFFF) << 44 | (eighths & (2**35 - 1)) << 9 | rest << 5
    return low.astype(np.uint64) | kind | np.uint64(TRIGGER)


def global_words(time: np.ndarray) -> np.ndarray:
    """Pairs of packets (n, 2) uint64 that say the global time."""
    clocks = time // 16
    low = np.uint64(0x44 << 56) | ((clocks & 0xFFFFFFFF) << 16).astype(np.uint64)
    high = np.uint64(0x45 << 56) | (((clocks >> 32) & 0xFFFF) << 16).astype(np.uint64)
    return np.stack([low, high], axis=1)


def chip_pixels(pixel: np.ndarray, placement: Placement) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chip number and chip pixel (y, x) of frame pixels (n,); chip -1 in a gap."""
    table = np.full(placement.shape[0] * placement.shape[1], -1, np.int64)
    rows, columns = np.mgrid[:CHIP_PIXELS, :CHIP_PIXELS]
    for chip in np.flatnonzero(placement.base >= 0):
        places = placement.base[chip] + rows * placement.step_y[chip] + columns * placement.step_x[chip]
        table[places] = chip << 16 | rows << 8 | columns
    found = table[pixel]
    return found >> 16, (found >> 8) & 0xFF, found & 0xFF


def tpx3_bytes(lit: LitPixels, placement: Placement, edges: Edges | None = None, headers: bool = True, packets: int = 200,
               disorder: int = 0, heartbeat: int = 0, seed: int = 0) -> bytes:
    """A stream: hits and edges by their time, each delayed by up to `disorder` ticks at random, in chunks of one chip each out of every `packets`.

    Edges are chip 0's. `heartbeat`: ticks between global times (0: none). Hits in gaps between chips are left out. Without `headers` chips are
    not told apart.
    """
    chip, y, x = chip_pixels(lit.pixel, placement)
    there = chip >= 0
    words, times, chips = [hit_words(y, x, lit.tot, lit.time)[there]], [lit.time[there]], [chip[there]]
    if edges is not None:
        words, times, chips = [*words, edge_words(edges)], [*times, edges.time], [*chips, np.zeros(len(edges.time), np.int64)]
    word, time, of = np.concatenate(words), np.concatenate(times), np.concatenate(chips)
    late = np.random.default_rng(seed).integers(0, disorder + 1, len(time))
    order = np.argsort(time + late, kind="stable")
    word, of, came = word[order], of[order], (time + late)[order]
    if heartbeat and len(came):
        beats = np.arange(came[0], came[-1], heartbeat)
        at = np.repeat(np.searchsorted(came, beats), 2)
        word, of = np.insert(word, at, global_words(beats).ravel()), np.insert(of, at, 0)
    return (_chunked(word, of, packets) if headers else word).astype("<u8").tobytes()


def _chunked(word: np.ndarray, chip: np.ndarray, packets: int) -> np.ndarray:
    """Of every `packets` packets those of one chip together behind a header."""
    turn = np.arange(len(word)) // packets
    order = np.lexsort((chip, turn))
    word, chip = word[order], chip[order]
    first = np.flatnonzero(np.r_[True, (np.diff(chip) != 0) | (np.diff(turn) != 0)]) if len(word) else np.zeros(0, np.int64)
    size = np.diff(np.r_[first, len(word)])
    return np.insert(word, first, (MAGIC | chip[first] << 32 | 8 * size << 48).astype(np.uint64))
