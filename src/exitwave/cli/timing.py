"""When the beam was where: a scan's timing from the triggers and hits of a Timepix3 file."""

import os
from collections.abc import Mapping
from typing import Any

import click
import numpy as np

from exitwave.cli.session import emit
from exitwave.core import InputError
from exitwave.io.streams import Measured, Timing, Tpx3File, open_events, timing_of
from exitwave.io.streams.tpx3_file import TICKS_PER_SECOND
from exitwave.plot import figures
from exitwave.plot.timing import timing_figure

NAMES = {"period": "line period", "dwell": "dwell", "flyback": "flyback", "delay": "line delay"}


def run(path: str, scan_shape: tuple[int, int], *, channel: int, rising: bool, png: str | None, force: bool, as_json: bool) -> int:
    """Measure, tell, draw; the exit status."""
    file = open_events(path)
    if not isinstance(file, Tpx3File):
        raise InputError(f"{path} brings its scan positions with it", expected="a Timepix3 file", remedy="watch it: exitwave live")
    found = timing_of(file, scan_shape[1], channel=channel, rising=rising)
    if png is not None:
        shift, error = (column / TICKS_PER_SECOND for column in (found.line_shift, found.line_shift_error))
        dwell = None if found.dwell is None else found.dwell.ticks / TICKS_PER_SECOND
        figures.save(timing_figure(shift, error, dwell, f"{os.path.basename(path)}: {len(shift)} lines, rms {shift.std() * 1e6:.3g} µs"), png, force)
    if as_json:
        emit({"output": png, **told(found), "lines": len(found.line_shift), "line_shift_rms_s": float(found.line_shift.std()) / TICKS_PER_SECOND})
        return 0
    for name, words in NAMES.items():
        one: Measured | None = getattr(found, name)
        click.echo(f"{words:<12} {'not known' if one is None else _time(one)}")
    ways = {None: "not known", False: "all lines forward", True: "every other line backward"}
    click.echo(f"{'direction':<12} {ways[found.serpentine]}")
    late = np.std(found.line_shift) / TICKS_PER_SECOND * 1e6
    click.echo(f"{'lines':<12} {len(found.line_shift)}, late by {late:.3g} us rms against their neighbours")
    click.echo(_next(path, scan_shape, found, channel, rising))
    return 0


def told(found: Timing) -> Mapping[str, Any]:
    """Times in seconds as value, sigma and source; what is not known is missing."""
    said: dict[str, Any] = {}
    for name in NAMES:
        one: Measured | None = getattr(found, name)
        value, sigma = (None, None) if one is None else (one.ticks / TICKS_PER_SECOND, one.error / TICKS_PER_SECOND)
        said[f"{name}_s"] = {"value": value, "sigma": sigma, "source": "missing" if one is None else "measured"}
    return {**said, "serpentine": found.serpentine, "sure": found.sure}


def _time(one: Measured) -> str:
    return f"{one.ticks / TICKS_PER_SECOND * 1e6:.6g} +- {one.error / TICKS_PER_SECOND * 1e6:.2g} us"


def _next(path: str, scan_shape: tuple[int, int], found: Timing, channel: int, rising: bool) -> str:
    """The command that uses it, or what is lacking."""
    lacking = [words for name, words in NAMES.items() if getattr(found, name) is None] + (["direction"] if found.serpentine is None else [])
    if lacking or found.dwell is None or found.flyback is None or found.delay is None:
        return f"the hits do not say: {', '.join(lacking)}; take it from the scan generator's settings"
    flags = [f'--{flag} "{getattr(found, name).ticks / TICKS_PER_SECOND * 1e6:.6g} us"'
             for flag, name in (("dwell-s", "dwell"), ("flyback-s", "flyback"), ("line-delay-s", "delay"))]
    flags += ["--serpentine"] if found.serpentine else []
    flags += [f"--line-input {channel}"] if channel != 1 else []
    flags += [] if rising else ["--falling"]
    return f"exitwave live {path} --scan-shape {scan_shape[0]},{scan_shape[1]} {' '.join(flags)}"
