"""Masses per area from X-ray counts, a pixel at a time; numba, outside the type-checked modules.

Unknown: m_i, mass per area of element i. Equations: m_i T_i(m) = z_i n_i s with T_i = sum_q w_q (1 - exp(-x_iq)) / x_iq,
x_iq = p_q sum_j mu_ij m_j. Either s is known (zeta: 1 / electrons) or sum_j m_j is (Cliff-Lorimer with a mass thickness), and s follows.
Newton runs in log |m|, so that no step changes a sign; a line of no counts leaves its element at zero.
"""

import numpy as np
from numba import njit

DONE, EMPTY, STUCK = 0, 1, 2
MOST = 60
CLOSE = 1e-12
NEAR = 1e-7  # Newton squares the distance: one whole step from here ends in rounding


@njit(cache=True, nogil=True)
def escape(x):
    """(1 - e^-x) / x and its derivative."""
    if abs(x) < 1e-3:
        return 1 - x * (0.5 - x * (1 / 6 - x * (1 / 24 - x / 120))), -0.5 + x * (1 / 3 - x * (0.125 - x / 30))
    if x < -500.0:
        return np.inf, -np.inf
    e = np.expm1(-x)
    t = -e / x
    return t, (1 + e - t) / x


@njit(cache=True, nogil=True)
def transmitted(m, mu, path, weight, t, slope):
    """T_i into t (n,) and dT_i / dx_iq w_q p_q summed over detectors into slope (n,)."""
    n = len(m)
    for i in range(n):
        x = 0.0
        for j in range(n):
            x += mu[i, j] * m[j]
        t[i] = 0.0
        slope[i] = 0.0
        for q in range(len(weight)):
            value, change = escape(x * path[q])
            t[i] += weight[q] * value
            slope[i] += weight[q] * path[q] * change


@njit(cache=True, nogil=True)
def solve(a, b, n, columns):
    """b (n, columns) <- a^-1 b by elimination with row exchange; a is destroyed. False where a is singular."""
    for k in range(n):
        best = k
        for i in range(k + 1, n):
            if abs(a[i, k]) > abs(a[best, k]):
                best = i
        if not abs(a[best, k]) > 0 or not np.isfinite(a[best, k]):
            return False
        if best != k:
            for j in range(n):
                a[k, j], a[best, j] = a[best, j], a[k, j]
            for j in range(columns):
                b[k, j], b[best, j] = b[best, j], b[k, j]
        for i in range(k + 1, n):
            f = a[i, k] / a[k, k]
            if f != 0:
                for j in range(k, n):
                    a[i, j] -= f * a[k, j]
                for j in range(columns):
                    b[i, j] -= f * b[k, j]
    for j in range(columns):
        for i in range(n - 1, -1, -1):
            for k in range(i + 1, n):
                b[i, j] -= a[i, k] * b[k, j]
            b[i, j] /= a[i, i]
    return True


@njit(cache=True, nogil=True)
def residual(m, source, log_s, total, t, f):
    """Log equations into f; their largest size, infinite where they mean nothing. total <= 0: s is known and there is no last equation."""
    n = len(m)
    worst = 0.0
    for i in range(n):
        f[i] = 0.0
        if source[i] != 0:
            if not t[i] > 0 or not np.isfinite(t[i]):
                return np.inf
            f[i] = np.log(abs(m[i])) + np.log(t[i]) - np.log(abs(source[i])) - log_s
            worst = max(worst, abs(f[i]))
    if total > 0:
        held = m.sum()
        if not held > 0:
            return np.inf
        f[n] = np.log(held / total)
        worst = max(worst, abs(f[n]))
    return worst


@njit(cache=True, nogil=True)
def masses(m, source, total, mu, path, weight, t, slope, f, f2, jac, step, trial):
    """m (n,) from source_i = z_i n_i (s where known); returns (status, log s). The arrays after `weight` are scratch."""
    n = len(m)
    fixed = total > 0
    size = n + 1 if fixed else n
    held = source.sum()
    if not held > 0 or not np.isfinite(held):
        return EMPTY, 0.0
    log_s = np.log(total / held) if fixed else 0.0
    for i in range(n):
        m[i] = source[i] * np.exp(log_s)
    transmitted(m, mu, path, weight, t, slope)
    worst = residual(m, source, log_s, total, t, f)
    if not np.isfinite(worst):
        return STUCK, log_s
    for _ in range(MOST):
        if worst < CLOSE:
            return DONE, log_s
        for i in range(n):
            for j in range(n):
                jac[i, j] = 0.0 if source[i] == 0 or source[j] == 0 else slope[i] / t[i] * mu[i, j] * m[j]
            jac[i, i] += 1.0
            step[i, 0] = -f[i]
            if fixed:
                jac[i, n] = -1.0 if source[i] != 0 else 0.0
                jac[n, i] = m[i] / m.sum() if source[i] != 0 else 0.0
        if fixed:
            jac[n, n] = 0.0
            step[n, 0] = -f[n]
        if not solve(jac, step, size, 1):
            return STUCK, log_s
        largest = 0.0
        for i in range(size):
            largest = max(largest, abs(step[i, 0]))
        if worst < NEAR and largest < 1e-3:
            for i in range(n):
                m[i] *= np.exp(step[i, 0])
            return DONE, log_s + step[n, 0] if fixed else log_s
        share = min(1.0, 3.0 / largest) if largest > 0 else 1.0
        better = False
        for _try in range(30):
            for i in range(n):
                trial[i] = m[i] * np.exp(share * step[i, 0])
            moved = log_s + share * step[n, 0] if fixed else log_s
            transmitted(trial, mu, path, weight, t, slope)
            new = residual(trial, source, moved, total, t, f2)
            if new < worst:
                better = True
                break
            share *= 0.5
        if not better:  # rounding is all that is left, or there is no answer
            transmitted(m, mu, path, weight, t, slope)
            return (DONE if worst < 1e-10 else STUCK), log_s
        m[:] = trial
        f[:size] = f2[:size]
        log_s, worst = moved, new
    return (DONE if worst < 1e-10 else STUCK), log_s


@njit(cache=True, nogil=True)
def derivatives(m, source, fixed, mu, t, slope, jac, inverse):
    """inverse <- that of the derivatives of m_i T_i - source_i and of sum m - total, source with s in it. False where singular."""
    n = len(m)
    inverse[:] = 0.0
    for i in range(n):
        for j in range(n):
            jac[i, j] = m[i] * slope[i] * mu[i, j]
        jac[i, i] += t[i]
        inverse[i, i] = 1.0
        if fixed:
            jac[i, n], jac[n, i] = -source[i], 1.0
    if not fixed:
        return solve(jac, inverse, n, n)
    jac[n, n], inverse[n, n] = 0.0, 1.0
    return solve(jac, inverse, n + 1, n + 1)


@njit(cache=True, nogil=True)
def add_outer(into, column, size):
    """into += column column^T, lower half."""
    for i in range(size):
        for j in range(i + 1):
            into[i, j] += column[i] * column[j]


@njit(cache=True, nogil=True)
def add_spread(into, gain, inner, scratch, n):
    """into += gain inner gain^T, lower half."""
    for i in range(n):
        for h in range(n):
            scratch[h] = 0.0
            for k in range(n):
                scratch[h] += gain[i, k] * inner[k, h]
        for j in range(i + 1):
            for h in range(n):
                into[i, j] += scratch[h] * gain[j, h]


@njit(cache=True, nogil=True)
def add_shared(into, m, source, inverse, slope, mu, path, weight, z_cov, mu_rel, path_rel, rel_scale, rel_total, total, gain, column, scratch):
    """The covariance (n, n) from what every pixel shares: factors, dose or thickness, absorption coefficients, angle. The last three are scratch."""
    n = len(m)
    for i in range(n):
        for k in range(n):
            gain[i, k] = inverse[i, k] * source[k]
    add_spread(into, gain, z_cov, scratch, n)
    for i in range(n):
        column[i] = inverse[i, n] * total * rel_total if total > 0 else gain[i, :n].sum() * rel_scale
    add_outer(into, column, n)
    for k in range(n):
        spread, moved, x = 0.0, 0.0, 0.0
        for h in range(n):
            spread += (m[k] * slope[k] * mu[k, h] * m[h] * mu_rel) ** 2
            x += mu[k, h] * m[h]
        for q in range(len(weight)):
            if path_rel[q] != 0:
                moved += m[k] * weight[q] * escape(x * path[q])[1] * x * path[q] * path_rel[q]
        scratch[k] = moved
        for i in range(n):
            for j in range(i + 1):
                into[i, j] += inverse[i, k] * inverse[j, k] * spread
    for i in range(n):
        column[i] = 0.0
        for k in range(n):
            column[i] += inverse[i, k] * scratch[k]
    add_outer(into, column, n)


@njit(cache=True, nogil=True)
def quantify(first, last, counts, variance, covariance, scale, total, rel_scale, rel_total, z, z_cov, mu, mu_rel, paths, path_rel, weight,
             out_m, out_count, out_shared, out_status):
    """Pixels first:last. counts (p, n); variance (p, n) or, where it has any rows, covariance (p, n, n) of the counts; scale (p or 1) is s, unused
    where total (p or 1) > 0; z (n,), z_cov (n, n) relative; mu (n, n), each coefficient uncertain by mu_rel; paths (p or 1, q); path_rel (q,) is
    d ln p / d angle times the angle's deviation. Writes masses (p, n), their covariance from counts and from what all pixels share, and a status.
    """
    n = len(z)
    source, m, t, slope, trial = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    f, f2, jac, step = np.empty(n + 1), np.empty(n + 1), np.empty((n + 1, n + 1)), np.empty((n + 1, 1))
    inverse, gain, diagonal = np.empty((n + 1, n + 1)), np.empty((n, n)), np.zeros((n, n))
    for p in range(first, last):
        held = total[p if len(total) > 1 else 0]
        fixed = held > 0
        known = 1.0 if fixed else scale[p if len(scale) > 1 else 0]
        path = paths[p if len(paths) > 1 else 0]
        for i in range(n):
            source[i] = z[i] * counts[p, i] * known
        status, log_s = masses(m, source, held, mu, path, weight, t, slope, f, f2, jac, step, trial)
        if status == DONE:
            transmitted(m, mu, path, weight, t, slope)
            known *= np.exp(log_s)
            for i in range(n):
                source[i] = z[i] * counts[p, i] * known
            if not derivatives(m, source, fixed, mu, t, slope, jac, inverse):
                status = STUCK
        out_status[p] = status
        if status != DONE:
            out_m[p], out_count[p], out_shared[p] = np.nan, np.nan, np.nan
            continue
        out_m[p], out_count[p], out_shared[p] = m, 0.0, 0.0
        for i in range(n):
            for k in range(n):
                gain[i, k] = inverse[i, k] * z[k] * known
        if len(covariance):
            add_spread(out_count[p], gain, covariance[p], trial, n)
        else:
            for i in range(n):
                diagonal[i, i] = variance[p, i]
            add_spread(out_count[p], gain, diagonal, trial, n)
        add_shared(out_shared[p], m, source, inverse, slope, mu, path, weight, z_cov, mu_rel, path_rel, rel_scale, rel_total, held, gain, f, trial)
        for i in range(n):
            for j in range(i):
                out_count[p, j, i] = out_count[p, i, j]
                out_shared[p, j, i] = out_shared[p, i, j]
