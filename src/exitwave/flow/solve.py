"""Iterative methods: a solver is stepped by one generator, and leaving the loop is how it stops."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import isfinite
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from exitwave.core.errors import Diverged, InputError
from exitwave.core.records import record

P = TypeVar("P")
S = TypeVar("S")
R = TypeVar("R")
P_contra = TypeVar("P_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


@runtime_checkable
class Solver(Protocol[P_contra, S, R_co]):
    """An iterative method. The solver is a value (its settings); the state is what moves and may change in place."""

    def start(self, problem: P_contra) -> S:
        """The state before the first step."""
        ...

    def step(self, problem: P_contra, state: S) -> tuple[S, Mapping[str, float]]:
        """One iteration: the new state and its figures, e.g. {"loss": ...}. The figures describe the state that is returned."""
        ...

    def finish(self, problem: P_contra, state: S) -> R_co:
        """The result as it stands, without changing the state: it is also what a snapshot shows."""
        ...


@record
class Report(Generic[R]):
    """What one iteration did. `seconds` counts from the start; `snapshot()` builds the result as it stands, only when asked."""

    iteration: int
    figures: Mapping[str, float]
    seconds: float
    take: Callable[[], R]

    def snapshot(self) -> R:
        """The result after this iteration.

        Raises:
            InputError: the solver has stepped on since, so the state of this report is gone.
        """
        return self.take()


Stop = Callable[[Report[Any]], bool]


def iterate(problem: P, solver: Solver[P, S, R], stop: int | Stop) -> Iterator[Report[R]]:
    """Step a solver, one report per iteration, until `stop`: a number of iterations or a test on the report.

    The caller may leave the loop at any time; the last report then holds the result: ``for report in iterate(...): ...`` and
    ``report.snapshot()``. Nothing runs between two turns of the loop.

    Raises:
        Diverged: a figure is no longer finite.
        InputError: fewer than one iteration.
    """
    if isinstance(stop, int) and stop < 1:
        raise InputError("an iterative method needs at least one iteration", expected=">= 1", got=stop)
    begun = perf_counter()
    state = solver.start(problem)
    iteration = 0

    def take(at: int) -> R:
        if at != iteration:
            raise InputError(f"the state of iteration {at} is gone", got=f"now at iteration {iteration}",
                             remedy="take a snapshot inside the loop, before the next iteration")
        return solver.finish(problem, state)

    while True:
        state, figures = solver.step(problem, state)
        iteration += 1
        bad = [name for name, value in figures.items() if not isfinite(value)]
        if bad:
            raise Diverged(f"{bad[0]} is {figures[bad[0]]} after iteration {iteration}", remedy="lower the step size or check the input")
        report = Report(iteration=iteration, figures=figures, seconds=perf_counter() - begun, take=partial(take, iteration))
        yield report
        if iteration >= stop if isinstance(stop, int) else stop(report):
            return


def solve(problem: P, solver: Solver[P, S, R], stop: int | Stop, progress: Callable[[Report[R]], None] | None = None) -> R:
    """Run `iterate` to its end and return the result."""
    for report in iterate(problem, solver, stop):
        if progress is not None:
            progress(report)
    return report.snapshot()
