"""Poisson maximum likelihood of spectra as sums of shapes, none of them negative; numba, outside the type-checked modules."""

import numpy as np
from numba import njit

from exitwave.spectra.eds._newton import solve

MOST = 60


@njit(cache=True, nogil=True)
def model(a, shapes, low, high, out):
    """out (channels,) <- sum of a_k shapes_k, each between low_k and high_k."""
    out[:] = 0.0
    for k in range(len(a)):
        if a[k] != 0:
            for c in range(low[k], high[k]):
                out[c] += a[k] * shapes[k, c]


@njit(cache=True, nogil=True)
def deviance(counts, mean):
    """Twice the log-likelihood ratio against a model that fits every channel."""
    total = 0.0
    for c in range(len(counts)):
        n, m = counts[c], mean[c]
        if n > 0:
            if m <= 0:
                return np.inf
            total += 2 * (n * np.log(n / m) - n + m)
        else:
            total += 2 * m
    return total


@njit(cache=True, nogil=True)
def information(shapes, low, high, mean, floor, out):
    """Fisher's information (k, k): sum over channels of shapes_k shapes_l / mean."""
    size = len(shapes)
    for k in range(size):
        for h in range(k + 1):
            total = 0.0
            for c in range(max(low[k], low[h]), min(high[k], high[h])):
                total += shapes[k, c] * shapes[h, c] / max(mean[c], floor)
            out[k, h] = total
            out[h, k] = total


@njit(cache=True, nogil=True)
def fit(spectra, shapes, low, high, start, report, out_a, out_cov, out_dev, out_steps):
    """Spectra (p, channels) as sums of shapes (k, channels). start (k,) is scaled to each spectrum.

    Fisher scoring; a shape that would turn negative stays at zero while the likelihood falls into it. Writes amplitudes (p, k), the inverse
    information of the first `report` of them (p, report, report) with the others fitted, the deviance and the steps that were taken.
    """
    size, channels = shapes.shape
    a, trial, gradient = np.empty(size), np.empty(size), np.empty(size)
    mean, mean2, counts = np.empty(channels), np.empty(channels), np.empty(channels)
    fisher, work, step = np.empty((size, size)), np.empty((size, size)), np.empty((size, 1))
    inverse, free = np.empty((size, size)), np.empty(size, np.bool_)
    for p in range(len(spectra)):
        held = 0.0
        for c in range(channels):
            counts[c] = spectra[p, c]
            held += counts[c]
        model(start, shapes, low, high, mean)
        scale = held / mean.sum()
        floor = 1e-9 * max(held, 1.0) / channels
        for k in range(size):
            a[k] = max(start[k] * scale, 1e-6 * max(held, 1.0))
        model(a, shapes, low, high, mean)
        now = deviance(counts, mean)
        steps = 0
        while steps < MOST:
            steps += 1
            for k in range(size):
                total = 0.0
                for c in range(low[k], high[k]):
                    total += shapes[k, c] * (counts[c] / max(mean[c], floor) - 1.0)
                gradient[k] = total
                free[k] = not (a[k] <= 0 and total <= 0)
            information(shapes, low, high, mean, floor, fisher)
            for k in range(size):
                for h in range(size):
                    work[k, h] = fisher[k, h] if free[k] and free[h] else 0.0
                if not free[k]:
                    work[k, k] = 1.0
                else:
                    work[k, k] *= 1 + 1e-10
                step[k, 0] = gradient[k] if free[k] else 0.0
            if not solve(work, step, size, 1):
                break
            share, new = 1.0, np.inf
            for _ in range(25):
                for k in range(size):
                    trial[k] = max(a[k] + share * step[k, 0], 0.0)
                model(trial, shapes, low, high, mean2)
                new = deviance(counts, mean2)
                if new <= now + 1e-10 * abs(now):
                    break
                share *= 0.5
            if not new <= now + 1e-10 * abs(now):
                break
            gained = now - new
            a[:] = trial
            mean[:] = mean2
            now = new
            if share == 1.0 and gained < 1e-7 * (1 + 1e-3 * abs(now)):
                break
        information(shapes, low, high, mean, floor, work)
        for k in range(size):
            for h in range(size):
                inverse[k, h] = 1.0 if k == h else 0.0
            work[k, k] *= 1 + 1e-10
        good = solve(work, inverse, size, size)
        out_a[p] = a
        for k in range(report):
            for h in range(report):
                out_cov[p, k, h] = inverse[k, h] if good else np.nan
        out_dev[p] = now
        out_steps[p] = steps
