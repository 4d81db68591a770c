"""Weighted sums over channels; numba, outside the type-checked modules."""

from numba import njit


@njit(cache=True, nogil=True)
def weigh(first, last, spectra, channels, weights, counts, covariance):
    """Spectra first:last of (p, all channels), weights (k, n) of the k `channels`: counts (p, n) += sum, covariance (p, n, n) += sum of products
    weighed by the spectrum."""
    n = weights.shape[1]
    for p in range(first, last):
        for c in range(len(channels)):
            value = spectra[p, channels[c]]
            if value != 0:
                for i in range(n):
                    w = weights[c, i] * value
                    if w != 0:
                        counts[p, i] += w
                        for j in range(i + 1):
                            covariance[p, i, j] += w * weights[c, j]
        for i in range(n):
            for j in range(i):
                covariance[p, j, i] = covariance[p, i, j]
