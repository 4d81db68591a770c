"""The layers of the blind network that are fitted in closed form: an uneven filter, then filters at even steps of what it made."""

import numpy as np
import torch

from exitwave.core import record
from exitwave.core.threads import together_on
from exitwave.images.denoising._convolve import COLUMNS, ROWS, correlate
from exitwave.images.denoising.covariance import tiles_of
from exitwave.images.denoising.taps import second_taps


@record
class EvenFilter:
    """Weights (K, K), float32, at offsets of `step` pixels; beyond the edges there is zero."""

    taps: np.ndarray
    step: int

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The image (y, x) filtered, float32: each of the step^2 images that are interleaved in it by itself."""
        (ny, nx), step, side = image.shape, self.step, self.taps.shape[0]
        py, px = -(-ny // step), -(-nx // step)
        whole = np.zeros((py * step, px * step), np.float32)
        whole[:ny, :nx] = image
        high, columns = -(-(py + side - 1) // ROWS) * ROWS, -(-px // COLUMNS) * COLUMNS
        room = np.zeros((step * step * high + side + 3, columns + side + COLUMNS), np.float32)  # one under the other, zeros between them
        blocks = room[: step * step * high].reshape(step, step, high, -1)
        half = side // 2
        blocks[:, :, half : half + py, half : half + px] = whole.reshape(py, step, px, step).transpose(1, 3, 0, 2)
        out = _correlated(room, self.taps, step * step * high, columns).reshape(step, step, high, columns)[:, :, :py, :px]
        return np.ascontiguousarray(out.transpose(2, 0, 3, 1).reshape(py * step, px * step)[:ny, :nx])


def _correlated(room: np.ndarray, taps: np.ndarray, rows: int, columns: int) -> np.ndarray:
    tall = np.zeros((1, taps.shape[0] + 6, taps.shape[1]), np.float32)
    tall[0, 3:-3] = taps
    out = np.empty((rows, columns), np.float32)

    def part(first: int, last: int) -> None:
        correlate(room.reshape(-1), np.zeros(1, np.int64), room.shape[1], tall, rows, columns, out.reshape(-1), first, last)

    together_on(rows // ROWS, part)
    return out


def fit_even(images: list[np.ndarray], counts: list[np.ndarray], step: int, space: int) -> EvenFilter:
    """The even filter of images (y, x) of mean zero that comes nearest to the truth behind `counts`, which each of them was made blind to.

    A = covariance of the images, b = theirs with the counts: as the image at p + o knows nothing of the count at p, b holds no noise.
    """
    own, cross = (_spread(images, other, step, 2 * space) for other in (images, counts))
    return EvenFilter(taps=second_taps(own, cross).astype(np.float32), step=step)


def _spread(early: list[np.ndarray], late: list[np.ndarray], step: int, reach: int) -> np.ndarray:
    """Mean of late(p) early(p + step o) for o up to `reach`, (2, 2 reach + 1, 2 reach + 1), by halves of the tiles."""
    far = step * reach
    tiles = tiles_of((early[0].shape[0], early[0].shape[1]), far)
    (ny, nx), first = tiles.shape, int((tiles.half == 0).sum())
    power = torch.zeros((2, tiles.padded[0], tiles.padded[1] // 2 + 1), dtype=torch.complex128)
    for a, b in zip(early, late, strict=True):
        a_, b_ = (torch.fft.rfft2(torch.from_numpy(np.stack([i[y : y + ny, x : x + nx] for y, x in tiles.corners]).astype(np.float32)),
                                  s=tiles.padded) for i in (a, b - b.mean()))
        product = a_ * b_.conj()
        power[0] += product[:first].sum(0)
        power[1] += product[first:].sum(0)
    lags = step * np.arange(-reach, reach + 1)
    found = torch.fft.irfft2(power, s=tiles.padded).numpy()[:, lags[:, None], lags]
    room = (ny - np.abs(lags))[:, None] * (nx - np.abs(lags))
    count = np.array([first, len(tiles.corners) - first], dtype=float)
    made: np.ndarray = found / (len(early) * count[:, None, None] * room)
    return made
