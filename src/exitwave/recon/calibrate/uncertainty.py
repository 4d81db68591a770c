"""How far fitted optics can be trusted: counting noise, and what the weak, thin model misses of a specimen."""

import numpy as np

from exitwave.core import record

SMOOTH = 6  # polynomials of two variables to second order: as many ways for a smooth misfit to lie over the disk


@record
class Fit:
    """Parameters (p,) in a layout's units. `inverse` (p, p) is that of the loss's curvature, `modelled` (p, p) their covariance from counting noise
    and misfit, `left_out` (c, p) how far they move when each patch of scan frequencies is left out."""

    x: np.ndarray
    inverse: np.ndarray
    modelled: np.ndarray
    left_out: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """That of noise and misfit, no smaller than the jackknife's."""
        small = np.sqrt(np.maximum(1.0, np.diag(jackknife(self.left_out)) / np.diag(self.modelled)))
        found: np.ndarray = self.modelled * np.outer(small, small)
        return found


def fit_of(x: np.ndarray, normal: np.ndarray, slopes: np.ndarray, held: np.ndarray, q: np.ndarray, excess: np.ndarray, pixels: int) -> Fit:
    """The fit at `x` from each frequency's share of the curvature, (n, p, p), and of the slope, (n, p); `held` (p, p) is the prior's curvature.

    `excess` (n,) is the weighted sum of squares that each of `q` (n, 2) leaves beyond counting noise, in units of noise in one of `pixels` pixels.
    What is missed of a specimen is smooth over the detector, so it lies in few directions, the fit's own among them: of a patch's excess E each
    direction has E / 6, and its slope varies by 1 + E / 6 times what counting noise alone makes. The scatter of slopes between patches,
    White's sandwich, says the same where patches are many; of a crystal four reflections carry everything, and fitted together they cannot
    scatter.
    """
    label = patches(q)
    count = int(label.max()) + 1
    each, pull, beyond = np.zeros((count, *normal.shape[1:])), np.zeros((count, len(x))), np.zeros(count)
    np.add.at(each, label, normal)
    np.add.at(pull, label, slopes)
    np.add.at(beyond, label, excess)
    by_chance = 2 * np.sqrt(pixels * np.bincount(label))
    inverse = np.linalg.inv(each.sum(0) + held)
    varies = 1 + np.maximum(0.0, beyond - by_chance) / SMOOTH
    modelled = inverse @ (np.einsum("c,cij->ij", varies, each) + held) @ inverse
    # One Gauss-Newton step to where the other patches have their minimum: the jackknife of patches without fitting again.
    left_out = np.linalg.solve(each.sum(0) + held - each, pull[..., None])[..., 0]
    return Fit(x=x, inverse=inverse, modelled=modelled, left_out=left_out)


def patches(q: np.ndarray) -> np.ndarray:
    """The patch (n,) of 3 x 3 neighbouring frequencies that each of `q` (n, 2) belongs to: those of one reflection err together."""
    spacing = min(float(np.diff(np.unique(np.round(axis, 9))).min(initial=np.inf)) for axis in q.T)
    cell = np.floor(q / (3 * max(spacing, 1e-6))).astype(np.int64)
    return np.unique(cell, axis=0, return_inverse=True)[1].reshape(-1)


def jackknife(left_out: np.ndarray) -> np.ndarray:
    """Covariance (p, p) from what leaving out each of c patches does, (c, p).

    Bell & McCaffrey, Survey Methodology 28 (2002) 169: unlike the sandwich (White, Econometrica 48 (1980) 817, doi 10.2307/1912934) it does not
    shrink where a few patches carry the information.
    """
    found: np.ndarray = left_out.T @ left_out * (1 - 1 / max(2, len(left_out)))
    return found


def given_zero(fit: Fit, i: list[int]) -> Fit:
    """The fit, to second order of its loss, were the elements `i` held at zero: x - C_g C_gg^-1 x_g with C the inverse curvature."""
    c = fit.inverse
    gain = c[:, i] @ np.linalg.inv(c[np.ix_(i, i)])
    stay = np.eye(len(fit.x))
    stay[:, i] -= gain
    return Fit(x=stay @ fit.x, inverse=c - gain @ c[i], modelled=stay @ fit.modelled @ stay.T, left_out=fit.left_out @ stay.T)


def standard_errors(fit: Fit, i: list[int]) -> float:
    """How many standard errors the elements `i` lie from zero, by noise and misfit or by the jackknife, whichever says less."""
    x, block = fit.x[i], np.ix_(i, i)
    return min(float(x @ np.linalg.solve(c[block] + 1e-9 * fit.modelled[block], x)) ** 0.5 for c in (fit.modelled, jackknife(fit.left_out)))
