"""What is told of a stream while it is watched: a log, a line on the terminal, a picture."""

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import TextIO

import click

from exitwave.cli.saving import single
from exitwave.core import InputError
from exitwave.data import Calibration
from exitwave.live import Look
from exitwave.plot.quick import quick_picture
from exitwave.recon.direct.image import DirectImage
from exitwave.signal import frc

PHASE = "phase"
LOG, PICTURE = "log.jsonl", "phase.png"


class Log:
    """A line for each look in `log.jsonl` of the folder `views` and, unless `quiet`, on the terminal; and the picture, each under a number of its own
    with `keep`.

    Raises:
        InputError: the folder cannot be written to.
    """

    def __init__(self, views: str | None, known: Calibration, *, keep: bool = False, quiet: bool = False) -> None:
        self.views, self.keep, self.quiet = views, keep, quiet
        step = known.need("scan_step_y_A"), known.need("scan_step_x_A")
        self.area_A2 = step[0] * step[1]
        self.events, self.seconds = 0, 0.0
        self.file: TextIO | None = None
        if views:
            try:
                os.makedirs(views, exist_ok=True)
                self.file = open(os.path.join(views, LOG), "a", encoding="utf-8")  # noqa: SIM115 - closed by close
                self.file.write(json.dumps({"begun": datetime.now(UTC).isoformat(timespec="milliseconds")}) + "\n")
            except OSError as error:
                raise InputError(f"{views} cannot be written to", got=error.strerror or str(error),
                                 remedy="name another folder for --views") from error

    def show(self, look: Look) -> None:
        """Called by the thread that looks."""
        image, resolution = look.views.get(PHASE), None
        if image is not None:
            resolution = resolution_of(image)
        counts = look.events or look.frames
        rate = (counts - self.events) / max(look.seconds - self.seconds, 1e-9)
        self.events, self.seconds = counts, look.seconds
        told = {"seconds": round(look.seconds, 3), "events": look.events, "frames": look.frames, "per_second": round(rate),
                "dose_e_per_A2": None if image is None else image.electrons / self.area_A2,
                "frc_resolution_A": resolution, "view_s": round(look.view_s, 4), "waiting_bytes": look.waiting_bytes,
                "rejected": dict(look.rejected), "lacking": look.lacking.get(PHASE, "")}
        if self.file is not None:
            self.file.write(json.dumps(told) + "\n")
            self.file.flush()
        if image is not None and self.views:
            name = f"phase_{look.number:05d}.png" if self.keep else PICTURE
            words = f"{look.seconds:.1f} s, {quantity(counts)} {'events' if look.events else 'frames'}"
            quick_picture(os.path.join(self.views, name), single(image.image), image.pitch_A, words)
        if not self.quiet:
            lost = sum(number for reason, number in look.rejected.items() if reason.startswith(("events", "frames", "electrons", "hits")))
            reach = f"{resolution:.3g} A" if resolution else "every ring" if image is not None else "no image yet"
            more = f"  {quantity(lost)} not used" if lost else ""
            click.echo(f"{look.seconds:8.1f} s  {quantity(counts):>8}  {quantity(rate):>8}/s  {reach}{more}", err=True)

    def close(self) -> None:
        """The log ends."""
        if self.file is not None:
            with suppress(OSError):
                self.file.close()


def resolution_of(image: DirectImage) -> float | None:
    """Where the half images stop correlating, A; None where they never do."""
    return frc(image.halves[0].double(), image.halves[1].double(), image.pitch_A).resolution_A()


def quantity(value: float) -> str:
    """ "12.3 M": a count that is read at a glance."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
