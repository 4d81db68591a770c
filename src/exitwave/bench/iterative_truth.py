"""Iterative ptychography against known specimens: dose, losses, positions, layers and the source's size, ours beside quantem and PtyRAD."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import mean, stdev
from types import MappingProxyType
from typing import Any

from exitwave.bench.direct import peer_python
from exitwave.bench.iterative import working
from exitwave.bench.iterative_scene import Scene, counts_of, scene, write_scene
from exitwave.bench.iterative_score import MARGIN_A, Fitted, bound_rad, optics_bound_rad, positions_rms_A, read_fitted, score
from exitwave.bench.process import ProcessDied
from exitwave.bench.registry import Options, Row
from exitwave.core.records import record

DOSES = (1e3, 1e4, 1e5, 1e6)
SEEDS = 3
JITTER_A, SOURCE_A = 0.14, 0.35
FILM: Mapping[str, Any] = MappingProxyType({"films": ((0.0, 10.0),), "slice_A": 10.0, "band_invA": 0.5})
LAYERS: Mapping[str, Any] = MappingProxyType(
    {"films": ((0.0, 6.0), (20.0, 26.0)), "energy_eV": 200e3, "detector_mrad": 1.57, "C10_A": -100.0, "step_A": 0.6}
)
APART_A = 20.0
LAYER_PRIOR_RAD = 0.1  # three times the rms of a layer


@record
class Program:
    """Who fits how, and after how many iterations it is judged."""

    name: str
    who: str
    words: Mapping[str, Any]
    marks: tuple[int, ...]


def ours(name: str = "exitwave", marks: tuple[int, ...] = (25,), loss: str = "poisson", **words: object) -> Program:
    """Ours with its defaults but for what is said."""
    return Program(name=name, who="exitwave", words={"loss": loss, **words}, marks=marks)


OURS = (ours(), ours("exitwave, one sample a pixel", oversample=1), ours("exitwave, L-BFGS", marks=(10, 20), solver="l-bfgs"))
THEIRS = (
    Program(name="quantem, amplitudes (its default)", who="quantem", words={"loss": "amplitude"}, marks=(25, 50, 100)),
    Program(name="quantem, Poisson", who="quantem", words={"loss": "poisson"}, marks=(25, 50, 100)),
    Program(name="PtyRAD, amplitudes (its default)", who="ptyrad", words={"loss": "amplitude"}, marks=(50, 100, 200)),
    Program(name="PtyRAD, Poisson", who="ptyrad", words={"loss": "poisson"}, marks=(50, 100, 200)),
)
LOSSES = tuple(ours(f"exitwave, {loss}", loss=loss) for loss in ("anscombe", "amplitude"))


@record
class Trial:
    """One scene as counts on disk: what is fitted to it, and what is true."""

    made: Scene
    file: Path
    dose: float
    seed: int
    kmax_invA: float = 0.5
    slices: int = 1
    batch: int = 32
    positions: bool = False
    margin_A: float = MARGIN_A

    def words(self, program: Program) -> dict[str, Any]:
        """As a process is asked."""
        asked = {"modes": 1, "slices": self.slices, "batch": self.batch, "dz_A": APART_A, "positions": self.positions}
        return asked | {"iterations": program.marks[-1]} | dict(program.words)


@record
class Found:
    """What one program had after each mark: cumulated seconds and processor seconds, figures of truth, and what else it said."""

    program: Program
    marks: tuple[int, ...]
    seconds: tuple[float, ...]
    cpu_s: tuple[float, ...]
    figures: tuple[Mapping[str, float], ...]


def rows(options: Options, seeds: int = SEEDS, scan: int = 24) -> list[Row]:
    """All tables; `runs` is the count of seeds (the peers' in the dose table: one)."""
    count = options.runs or seeds
    with tempfile.TemporaryDirectory(prefix="exitwave-bench-") as name:
        folder = Path(name)
        film = scene(folder, **FILM, scan=scan)
        made = dose_rows(folder, film, range(count), options.threads)
        made += loss_rows(folder, film, range(count), options.threads)
        made += position_rows(folder, scene(folder, **FILM, scan=scan, jitter_A=JITTER_A), range(count), options.threads)
        made += layer_rows(folder, scene(folder, **LAYERS, scan=40), range(count), options.threads)
        return made + source_rows(folder, scene(folder, **FILM, scan=20, source_A=SOURCE_A), range(count), options.threads)


def dose_rows(
    folder: Path, film: Scene, seeds: Sequence[int], threads: int, doses: Sequence[float] = DOSES, programs: Sequence[Program] = (*OURS, *THEIRS)
) -> list[Row]:
    """A film over the dose; peers are asked for the first seed."""
    made = []
    for dose in doses:
        for program in programs:
            some = seeds if program.who == "exitwave" else seeds[:1]
            trials = [Trial(made=film, file=folder / "counts.npz", dose=dose, seed=s) for s in some]
            made.append(row_of(f"film at {dose:g} e/A^2", program, trials, threads))
    return made


def loss_rows(folder: Path, film: Scene, seeds: Sequence[int], threads: int, dose: float = 1e5) -> list[Row]:
    """The same film with losses that are not the likelihood."""
    trials = [Trial(made=film, file=folder / "counts.npz", dose=dose, seed=s) for s in seeds[:1]]
    return [row_of(f"loss at {dose:g} e/A^2", program, trials, threads) for program in LOSSES]


def position_rows(folder: Path, film: Scene, seeds: Sequence[int], threads: int, dose: float = 1e6, iterations: int = 60) -> list[Row]:
    """A film scanned with positions that are off; `positions_A_before` and `positions_A` are rms along an axis."""
    made = []
    for program in (ours(marks=(iterations,)), THEIRS[1], THEIRS[3]):
        some = seeds if program.who == "exitwave" else seeds[:1]
        trials = [Trial(made=film, file=folder / "counts.npz", dose=dose, seed=s, positions=True) for s in some]
        made.append(row_of(f"positions off by {JITTER_A} A at {dose:g} e/A^2", program, trials, threads))
    return made


def layer_rows(folder: Path, layers: Scene, seeds: Sequence[int], threads: int, dose: float = 1e6, iterations: int = 40) -> list[Row]:
    """Two films, a slice each: figures are those of the worse one, `corr_entrance` and `corr_exit` of each;
    without a prior, and with one."""
    made = []
    prior = {"prior_rad": LAYER_PRIOR_RAD}
    programs = (ours(marks=(iterations,)), ours("exitwave, prior", marks=(iterations,), **prior),
                ours("exitwave, L-BFGS", marks=(10, 20, 30), solver="l-bfgs"),
                ours("exitwave, L-BFGS, prior", marks=(20, 40, 60), solver="l-bfgs", **prior), THEIRS[1], THEIRS[3])
    for program in programs:
        some = seeds if program.who == "exitwave" else seeds[:1]
        trials = [Trial(made=layers, file=folder / "counts.npz", dose=dose, seed=s, kmax_invA=0.9, slices=2, margin_A=6.0) for s in some]
        made.append(row_of(f"two layers {APART_A:g} A apart at {dose:g} e/A^2", program, trials, threads))
    return made


def source_rows(folder: Path, film: Scene, seeds: Sequence[int], threads: int, dose: float = 1e6) -> list[Row]:
    """A film lit by a source of finite size: fitted without, with, and with a fitted one. Contrast is the slope; `source_A_sigma` is the bound with
    phase and probe free (`certainty`), the scatter over seeds is beside it."""
    programs = (
        ours("exitwave, a point source"),
        ours("exitwave, the source's quadrature", source_A=SOURCE_A),
        ours("exitwave, its size fitted from 0.2 A", marks=(20, 40), source_A=0.2, fit_source=True),
    )
    case = f"source of {SOURCE_A} A at {dose:g} e/A^2"
    trials = [Trial(made=film, file=folder / "counts.npz", dose=dose, seed=s) for s in seeds]
    return [row_of(case, program, trials if "fit_source" in program.words else trials[:1], threads) for program in programs]


def row_of(case: str, program: Program, trials: Sequence[Trial], threads: int) -> Row:
    """One program over seeds: means and standard errors after its last iteration, and the way there of the first seed."""
    head: Row = {"case": case, "program": program.name, **bounds(trials[0])}
    if program.who != "exitwave":
        head["peer"] = program.who
        if peer_python(program.who) is None:
            return head | {"note": f"not installed: {program.who} (`make peers PEERS={program.who}`, or name the folder of peers in EXITWAVE_PEERS)"}
    try:
        done = [fitted(program, trial, threads) for trial in trials]
    except ProcessDied as error:
        if program.who == "exitwave":
            raise
        return head | {"ended": str(error)}
    who, last = ("peer" if "peer" in head else "ours"), [one.figures[-1] for one in done]
    row = head | {f"{who}_s": mean(one.seconds[-1] for one in done), "cpu_s": mean(one.cpu_s[-1] for one in done), "iterations": program.marks[-1]}
    for key in last[0]:
        values = [figures[key] for figures in last]
        row[key] = mean(values)
        if len(values) > 1:
            row[f"{key}_standard_error"] = stdev(values) / len(values) ** 0.5
    row[f"error_{who}"] = row["rmse_rad"]
    row |= {f"rmse_over_{key.removesuffix('_rad')}": row["rmse_rad"] / row[key] for key in ("bound_rad", "optics_bound_rad")}
    first = done[0]
    row["way"] = [{"iterations": n, "cpu_s": c, "slope": f["slope"], "rmse_rad": f["rmse_rad"]}
                  for n, c, f in zip(first.marks, first.cpu_s, first.figures, strict=True)]
    return row


def bounds(trial: Trial) -> dict[str, float]:
    """The quantum limit of the band, and what these optics leave of it when the probe is known; for a layer, those of the projected phase."""
    made, kmax = trial.made, trial.kmax_invA
    side = (made.frames.shape[0] - 1) * made.calibration.need("scan_step_y_A") - 2 * trial.margin_A
    optics = optics_bound_rad(made.calibration, made.frames.shape, trial.dose, kmax, side)  # type: ignore[arg-type]
    return {"bound_rad": bound_rad(trial.dose, kmax), "optics_bound_rad": optics}


def fitted(program: Program, trial: Trial, threads: int) -> Found:
    """Draw the counts, fit them in the program's own process, judge it at each mark."""
    depth = APART_A * (trial.slices - 1) if trial.slices > 1 else trial.made.thickness_A
    write_scene(trial.file, trial.made, counts_of(trial.made, trial.dose, trial.seed), depth)
    saved = str(trial.file.parent / "fitted.npz")
    seconds, cpu_s, figures = [0.0], [0.0], []
    with ExitStack() as stack:
        side = stack.enter_context(working(program.who, trial.file, threads)).process
        side.ask("build", trial.words(program))
        for done, mark in zip((0, *program.marks), program.marks, strict=False):
            said = side.ask("iterate", {"count": mark - done})
            seconds.append(seconds[-1] + float(said["seconds"]))
            cpu_s.append(cpu_s[-1] + float(said["cpu_s"]))
            told = side.ask("save", {"save": saved})["result"] or {}
            figures.append({**judged(read_fitted(saved), trial), **told})
        if program.words.get("fit_source"):
            figures[-1] = {**figures[-1], **side.ask("errors", {"most": 100})["result"]}
    return Found(program=program, marks=program.marks, seconds=tuple(seconds[1:]), cpu_s=tuple(cpu_s[1:]), figures=tuple(figures))


def judged(made: Fitted, trial: Trial) -> Mapping[str, float]:
    """Figures of truth: of the whole phase, or of the worse layer, and of positions where they were fitted."""
    if trial.slices > 1:
        both = zip(made.phase, trial.made.layers, strict=True)
        layers = [score(layer, made, truth, trial.made.pitch_A, trial.kmax_invA, trial.margin_A) for layer, truth in both]
        worst = min(layers, key=lambda one: one.corr)
        return {**worst.said(), "corr_entrance": layers[0].corr, "corr_exit": layers[-1].corr, "slope_entrance": layers[0].slope,
                "slope_exit": layers[-1].slope}
    figures = dict(score(made.phase.sum(0), made, trial.made.layers.sum(0), trial.made.pitch_A, trial.kmax_invA, trial.margin_A).said())
    if trial.positions:
        before, after = positions_rms_A(made, trial.made.positions_A)
        figures |= {"positions_A_before": before, "positions_A": after}
    return figures

