"""exitwave reconstruct --method ptycho: an iterative fit, from what is known to files on disk."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field, fields, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import numpy as np
import torch

from exitwave.cli.asked import Known, given
from exitwave.cli.calibrate import measured, typed_rotation
from exitwave.cli.corrections import known_alive
from exitwave.cli.iterative_saving import Fitted, fitted_of, save_fitted, search_told, title_of
from exitwave.cli.places import Places, again, with_step
from exitwave.cli.ptycho_flags import PTYCHO
from exitwave.cli.recipes import document_in
from exitwave.cli.session import Outputs, Progress, emit, layered, overridden, peak_bytes, progress
from exitwave.cli.told import Making
from exitwave.cli.watched import Nobody, Watches
from exitwave.cli.words import reach_in_words
from exitwave.cli.work import dead_px, require_optics
from exitwave.core import InputError, record
from exitwave.core.errors import Diverged
from exitwave.data import Calibration, Dataset4D
from exitwave.recon.iterative.checkpoint import checkpoint_path, key_of, load_checkpoint, save_checkpoint
from exitwave.recon.iterative.fused import get_ready
from exitwave.recon.iterative.halves import check_halves, half_fits
from exitwave.recon.iterative.options import PtychoOptions
from exitwave.recon.iterative.result import ScanImage, phase_of, residuals, scan_image
from exitwave.recon.iterative.run import ENDED, Kept, Outcome, Prepared, follow, prepare
from exitwave.recon.iterative.search import Found, search

WANTED = (PTYCHO, "calibration")
ENDS = {
    "converged": "converged", "iterations done": "done, the loss still falls", "stopped early": "stopped early, the held-out loss rose",
    "interrupted": "stopped by hand, --resume goes on",
    "diverged": "diverged, the last good state is kept: lower --phase-rate or --probe-rate, or check the calibration",
}
TRIALS = 24
PAGE_ENDS = {"interrupted": "stopped", "diverged": "broken"}  # complete otherwise
STATUS = {"interrupted": 3, "diverged": 2}  # exit statuses; 0 otherwise


@record
class Going:
    """How a fit is carried out: outputs, what may be replaced, whether it goes on, how it is measured first, the report, and who watches."""

    outputs: Outputs
    budget: int
    force: bool = False
    as_json: bool = False
    resume: bool = False
    html: str | None = None
    calibrate: Mapping[str, Any] | None = None
    search: tuple[str, ...] = ()
    trials: int = TRIALS
    page: Watches = field(default_factory=Nobody)

    @contextmanager
    def progress(self, title: str) -> Iterator[Progress]:
        """How far a part of the work is, for the terminal and for who watches."""
        self.page.stage(title)
        with progress(title) as tick:

            def told(done: int, total: int) -> None:
                tick(done, total)
                self.page.stage(title, done, total)

            yield told


def is_ptycho(method: str | None, recipe: str | None) -> bool:
    """Whether a fit is asked for, by the method's name or the recipe's kind."""
    if method is not None:
        return method == PTYCHO
    return recipe is not None and document_in(recipe).tree.get("kind") == PTYCHO


def asked_of(recipe: str | None, sets: Sequence[str], flags: Mapping[str, Any]) -> tuple[PtychoOptions, Known]:
    """A recipe of kind ptycho or calibration with --set on top, and flags (None: not given) on top of that.

    Raises:
        InputError, FormatError: as `exitwave.cli.recipes.loaded`; what `PtychoOptions` refuses.
    """
    told = given(recipe, sets, flags, WANTED)
    return told.options(PtychoOptions), told.known


def run(data: Dataset4D, options: PtychoOptions, beside: Known, going: Going, *, optics: Mapping[str, Any], making: Making,
        places: Places | None = None) -> int:
    """Fit, write, say what came out. Returns the exit status: 0, 3 where it was stopped and can go on, 2 where it diverged."""
    started = perf_counter()
    mask = beside.alive((data.shape[2], data.shape[3]))
    known = overridden(layered(data.calibration, beside.calibration), **optics)
    if going.calibrate is not None:
        found = measured(data, known, going.calibrate["twin"], typed_rotation(overridden(beside.calibration, **optics)), going.budget,
                         going.calibrate["order"])
        known, mask = overridden(found.calibration, **optics), found.alive
    mask = known_alive(data, mask)
    if places is not None:
        known = with_step(known, places, data.shape[0] * data.shape[1])
    require_optics(known, PTYCHO)
    sought = searched(data, known, mask, options, going, places)
    if sought is not None:
        known, options = sought.calibration, sought.options
    done = fitted(data, known, mask, options, going, places)
    recipe = recipe_of(options, known, going.budget, mask, places)
    lacking = save_fitted(done, data, recipe, going.outputs, html=going.html, force=going.force, making=making,
                          search=sought)
    _tidy(done.outcome, going)
    going.page.ended(PAGE_ENDS.get(done.outcome.status, "complete"), f"{ENDS[done.outcome.status]}; written to {going.outputs.result}")
    _say(done, going, perf_counter() - started, lacking, sought)
    return STATUS.get(done.outcome.status, 0)


def searched(
    data: Dataset4D, known: Calibration, mask: np.ndarray | None, options: PtychoOptions, going: Going, places: Places | None
) -> Found | None:
    """What the search finds, where one is asked for; a fit that goes on searches again, to the same values.

    Raises:
        InputError: as `search`.
    """
    if not going.search:
        return None
    with going.progress("searching by short fits") as tick:
        return search(data.frames, known, mask, options, going.search, going.trials, memory_bytes=going.budget,
                      positions_A=None if places is None else torch.from_numpy(places.positions_A), each=tick)


def fitted(data: Dataset4D, known: Calibration, mask: np.ndarray | None, options: PtychoOptions, going: Going, places: Places | None) -> Fitted:
    """The fit itself, with checkpoints beside the output."""
    positions = None if places is None else torch.from_numpy(places.positions_A)
    with going.progress("reading") as tick:
        p = prepare(data.frames, known, mask, options, memory_bytes=going.budget, positions_A=positions, progress=tick)
    check_halves(p)
    path, key = checkpoint_path(going.outputs.result), key_of(p, known)
    begin = _begin(path, key, going)
    with going.progress("getting ready: the first time the model is compiled, which takes half a minute"):
        get_ready()
    going.page.begins(p)
    with _turning(options.iterations) as say:
        outcome = follow(p, begin, _keeping(path, key, options, say, going.page))
    if outcome.status == "interrupted":
        save_checkpoint(path, outcome.kept, key)
    return concluded(p, known, outcome, going)


def concluded(p: Prepared, known: Calibration, outcome: Outcome, going: Going) -> Fitted:
    """Image, residuals and, where asked for and the fit came to its end, half sets."""
    s = p.problem.setup
    image = scan_image(s, phase_of(outcome.leaves))
    with going.progress("residuals") as tick:
        left = residuals(p.problem, outcome.leaves, tick)
    halves: tuple[ScanImage, ScanImage] | None = None
    if p.options.halves != "none" and outcome.status in ENDED:
        with suppress(Diverged), going.progress("half sets") as tick:  # a half may, where the whole did not: then there is no correlation to tell
            one, other = half_fits(p, outcome.leaves, max(1, len(outcome.kept.history)), tick)
            halves = scan_image(s, one.real.mean(0)), scan_image(s, other.real.mean(0))
    with going.progress("standard errors") as tick:
        return fitted_of(p, outcome, image, left, halves, known, tick)


def fitted_again(data: Dataset4D, known: Calibration, mask: np.ndarray | None, recipe: Mapping[str, Any], outputs: Outputs, budget: int) -> Fitted:
    """The fit that a stored recipe describes, from its start."""
    names = [f.name for f in fields(PtychoOptions)]  # type: ignore[arg-type]
    told: dict[str, Any] = {name: tuple(recipe[name]) if name in ("fit", "tilt_mrad") else recipe[name] for name in names if name in recipe}
    options = replace(PtychoOptions(**told), checkpoint_every=0)
    return fitted(data, known, mask, options, Going(outputs=outputs, budget=budget), again(recipe.get("places")))


def recipe_of(options: PtychoOptions, known: Calibration, memory: int, mask: np.ndarray | None, places: Places | None) -> dict[str, Any]:
    """The recipe of kind ptycho that makes the same fit again."""
    told = {f.name: getattr(options, f.name) for f in fields(PtychoOptions)}  # type: ignore[arg-type]
    return {"schema": 1, "kind": PTYCHO, "verb": PTYCHO, **told, "memory_bytes": memory, "calibration": known.as_json(),
            "dead_px": None if mask is None else dead_px(mask), **({} if places is None else {"places": places.as_json()})}


def check_checkpoint(output: str, *, resume: bool, force: bool) -> bool:
    """Whether there is a fit to go on with, whose unfinished outputs may be replaced.

    Raises:
        InputError: there is a checkpoint, and neither --resume nor --force.
    """
    path = checkpoint_path(output)
    if path.exists() and not (resume or force):
        raise InputError(f"{path} holds a fit that was not finished", remedy="pass --resume to go on with it, or --force to begin anew")
    return resume and path.exists()


def _begin(path: Path, key: str, going: Going) -> Kept | None:
    """The fit to go on with. Where --resume finds no checkpoint it begins anew, and says so."""
    if not going.resume:
        return None
    if path.exists():
        return load_checkpoint(path, key)
    click.echo(f"exitwave: there is no {path}; the fit begins anew", err=True)
    return None


def _keeping(path: Path, key: str, options: PtychoOptions, say: Callable[[Kept], None], page: Watches) -> Callable[[Kept], None]:
    def each(kept: Kept) -> None:
        say(kept)
        page.took(kept)
        if options.checkpoint_every and kept.state.iteration % options.checkpoint_every == 0:
            save_checkpoint(path, kept, key)

    return each


@contextmanager
def _turning(iterations: int) -> Iterator[Callable[[Kept], None]]:
    """A bar with the losses on stderr where that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield lambda kept: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("fitting", total=iterations)
        yield lambda kept: bar.update(task, completed=kept.state.iteration, description=_in_words(kept.history[-1]))


def _in_words(figures: Mapping[str, float]) -> str:
    held = f", held out {figures['held_out']:.4g}" if "held_out" in figures else ""
    return f"loss {figures['loss']:.4g}{held}"


def _tidy(outcome: Outcome, going: Going) -> None:
    """A fit that came to its end needs its checkpoint no more."""
    if outcome.status in ENDED:
        checkpoint_path(going.outputs.result).unlink(missing_ok=True)


def _say(done: Fitted, going: Going, seconds: float, lacking: tuple[str, ...], found: Found | None = None) -> None:
    metrics, outputs = done.metrics, going.outputs
    if going.as_json:
        emit({**outputs.as_json(), "html": going.html and str(Path(going.html).resolve()), "method": PTYCHO, "status": done.outcome.status,
              "seconds": seconds, "peak_bytes": peak_bytes(), "pitch_A": list(done.image.pitch_A), "metrics": metrics,
              "history": done.history, "search": search_told(found), "nexus_missing": list(lacking)})
        return
    _, ny, nx = done.image.slices.shape
    click.echo(f"{title_of(done)}: {ny} x {nx} pixels of {done.image.pitch_A[0]:.4g} x {done.image.pitch_A[1]:.4g} A")
    end = ENDS[done.outcome.status]
    last = f"; {_in_words(done.outcome.figures)} of a pattern" if done.outcome.kept.history else ""
    click.echo(f"  {end} after {metrics['iterations']} iterations{last}; {seconds:.1f} s")
    click.echo(f"  phase rms {metrics['rms_phase_rad']:.3g} rad; probe modes hold {', '.join(f'{share:.1%}' for share in metrics['mode_shares'])}")
    if found is not None:
        click.echo(f"  {len(found.trials)} short fits found {', '.join(f'{name} {value:.5g}' for name, value in found.best.items())}")
        for note in found.notes:
            click.echo(f"  note: {note}")
    for name, value in metrics["fitted"].items():
        sigma = metrics.get("fitted_sigma", {}).get(name)
        click.echo(f"  {name} {_numbers(value)}{'' if sigma is None else f' +- {_numbers(sigma)}'}")
    if "frc_resolution_A" in metrics:
        click.echo(f"  half sets correlate over 1/7 {reach_in_words(metrics['frc_resolution_A'], metrics['frc_last_A'])}")
    click.echo(f"  written to {', '.join(filter(None, (outputs.in_words(), going.html)))}")


def _numbers(value: Any) -> str:
    """Numbers in a line; what is not known, as nan."""
    return np.array2string(np.asarray(value, dtype=np.float64), precision=4, separator=", ", threshold=8).replace("\n", "")
