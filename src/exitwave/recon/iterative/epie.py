"""ePIE: pattern after pattern, phase and probe corrected at once by what the pattern says."""

from collections.abc import Mapping

from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.core.seeds import DEFAULT_SEED
from exitwave.recon.iterative.constraints import Constraint
from exitwave.recon.iterative.problem import Leaves, Problem
from exitwave.recon.iterative.steps import CURVATURE, Moved, batches, begin, falling, kept_to, lit, mean_loss, over_field, slopes, stiffness


@record
class EPIE:
    """Maiden & Rodenburg, Ultramicroscopy 109 (2009) 1256, doi 10.1016/j.ultramic.2009.05.012; several slices as in Maiden, Humphry & Rodenburg,
    J. Opt. Soc. Am. A 29 (2012) 1606, doi 10.1364/JOSAA.29.001606, with one common step a pattern.

    Their correction of the exit wave, F^-1 (sqrt(n / I) - 1) F psi, is the negative gradient of the amplitude loss, so the updates

        O += object_step conj(P) (psi' - psi) / max |P|^2,    P += probe_step conj(O) (psi' - psi) / max |O|^2

    are steps along the gradient in the phase and the modes, of a length that needs no search; with another loss of the problem they follow that one.
    `batch` patterns step together (1: the paper's), with the maximum of their summed |P|^2. Steps fall as a cosine to `last` over `iterations`, or
    noise would be followed for ever; penalties add their curvature to the denominators. `probe_from` is the iteration that first moves the modes.
    Figures: the loss of a pattern, each just before its own step.

    Raises:
        InputError: steps out of range; other leaves than phase and modes are free (from `start`).
    """

    iterations: int
    batch: int = 1
    object_step: float = 1.0
    probe_step: float = 1.0
    probe_from: int = 0
    constraints: tuple[Constraint, ...] = ()
    last: float = 0.05
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        if not (0 < self.object_step < 2 and 0 < self.probe_step < 2 and self.batch >= 1 and 0 < self.last <= 1):
            raise InputError("ePIE needs steps between 0 and 2, at least one pattern, and a last step up to the first",
                             got=f"{self.object_step:g}, {self.probe_step:g}, batch {self.batch}, last {self.last:g}")

    def start(self, problem: Problem) -> Moved:
        return begin(problem, "ePIE")

    def step(self, problem: Problem, state: Moved) -> tuple[Moved, Mapping[str, float]]:
        leaves, total = dict(state.leaves), 0.0
        moving = [name for name in problem.free if name != "modes" or state.iteration >= self.probe_from]
        shrunk = falling(state.iteration, self.iterations, self.last)
        slices, configurations = leaves["phase"].shape[1], leaves["phase"].shape[0]
        stiff = {name: problem.loss.dispersion * stiffness(problem, leaves, name) / int((~problem.held).sum()) for name in moving}
        for index in batches(problem, self.batch, self.seed, state.iteration):
            loss, slope = slopes(problem, leaves, index, moving)
            total += loss
            if "phase" in slope:
                bright = float(self._brightest(problem, leaves, index)) * slices / configurations
                leaves["phase"] = leaves["phase"] - slope["phase"] * (shrunk * self.object_step / (CURVATURE * bright + len(index) * stiff["phase"]))
            if "modes" in slope:
                leaves["modes"] = leaves["modes"] - slope["modes"] * (shrunk * self.probe_step / (len(index) * (CURVATURE + stiff["modes"])))
        kept = kept_to(problem, Moved(leaves=leaves, iteration=state.iteration), self.constraints)
        return Moved(leaves=kept, iteration=state.iteration + 1), mean_loss(total, problem, kept)

    def finish(self, problem: Problem, state: Moved) -> Leaves:
        return {name: value.detach().clone() for name, value in state.leaves.items()}

    def _brightest(self, problem: Problem, leaves: Leaves, index: Tensor) -> Tensor:
        """The largest summed |P|^2 over all slices."""
        power = (lit(problem, leaves).abs() ** 2).sum(1)
        return power.max() if len(index) == 1 else over_field(problem, leaves, index, power).max()
