"""The solver contract, held on a real solver: conjugate gradients on a quadratic (Hestenes and Stiefel 1952, doi:10.6028/jres.049.044)."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest

from exitwave.core.errors import Diverged, InputError
from exitwave.core.records import record
from exitwave.flow.solve import Report, Solver, iterate, solve


@record
class Quadratic:
    """min 1/2 x.Ax - b.x with A symmetric and positive."""

    a: np.ndarray
    b: np.ndarray


class Iterate:
    def __init__(self, x: np.ndarray, residual: np.ndarray) -> None:
        self.x, self.residual, self.direction = x, residual, residual.copy()


@record
class ConjugateGradients:
    def start(self, problem: Quadratic) -> Iterate:
        return Iterate(np.zeros_like(problem.b), problem.b.copy())

    def step(self, problem: Quadratic, state: Iterate) -> tuple[Iterate, Mapping[str, float]]:
        along = problem.a @ state.direction
        before = float(state.residual @ state.residual)
        length = before / float(state.direction @ along)
        state.x += length * state.direction
        state.residual -= length * along
        after = float(state.residual @ state.residual)
        state.direction = state.residual + after / before * state.direction
        return state, {"residual": after**0.5, "value": float(0.5 * state.x @ problem.a @ state.x - problem.b @ state.x)}

    def finish(self, problem: Quadratic, state: Iterate) -> np.ndarray:
        return state.x.copy()


@pytest.fixture
def problem() -> Quadratic:
    rng = np.random.default_rng(5)
    m = rng.normal(size=(7, 7))
    return Quadratic(a=m @ m.T + np.eye(7), b=rng.normal(size=7))


def test_a_solver_is_recognised() -> None:
    assert isinstance(ConjugateGradients(), Solver)


def test_exact_after_as_many_steps_as_unknowns(problem: Quadratic) -> None:
    values: list[float] = []
    x = solve(problem, ConjugateGradients(), 7, lambda report: values.append(report.figures["value"]))
    np.testing.assert_allclose(x, np.linalg.solve(problem.a, problem.b), rtol=1e-9)
    assert len(values) == 7
    assert all(b < a for a, b in pairwise(values))


def test_stops_by_a_test_on_the_report(problem: Quadratic) -> None:
    reports = list(iterate(problem, ConjugateGradients(), lambda report: report.figures["residual"] < 1e-2))
    assert [r.iteration for r in reports] == list(range(1, len(reports) + 1))
    assert all(r.figures["residual"] >= 1e-2 for r in reports[:-1])
    assert reports[-1].figures["residual"] < 1e-2
    assert all(a.seconds <= b.seconds for a, b in pairwise(reports))


def test_leaving_the_loop_stops_and_the_last_report_holds_the_result(problem: Quadratic) -> None:
    for report in iterate(problem, ConjugateGradients(), 100):
        if report.iteration == 3:
            break
    left = report.snapshot()
    np.testing.assert_array_equal(left, solve(problem, ConjugateGradients(), 3))
    np.testing.assert_array_equal(left, report.snapshot())


def test_a_snapshot_does_not_disturb_the_work(problem: Quadratic) -> None:
    for report in iterate(problem, ConjugateGradients(), 6):
        report.snapshot()[:] = np.nan
    np.testing.assert_array_equal(report.snapshot(), solve(problem, ConjugateGradients(), 6))


def test_a_report_of_the_past_says_that_its_state_is_gone(problem: Quadratic) -> None:
    reports: list[Report[np.ndarray]] = list(iterate(problem, ConjugateGradients(), 3))
    reports[2].snapshot()
    with pytest.raises(InputError, match=r"state of iteration 1 is gone.*now at iteration 3"):
        reports[0].snapshot()


def test_divergence_is_said(problem: Quadratic) -> None:
    with pytest.raises(Diverged, match=r"residual is (inf|nan) after iteration 1;"), np.errstate(all="ignore"):
        solve(Quadratic(a=problem.a, b=1e200 * problem.b), ConjugateGradients(), 5)


def test_no_iterations_are_refused(problem: Quadratic) -> None:
    with pytest.raises(InputError, match="at least one iteration"):
        solve(problem, ConjugateGradients(), 0)
