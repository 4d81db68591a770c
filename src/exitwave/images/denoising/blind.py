"""The blind network: filters in closed form over growing distances, and a small head without biases that is trained on the movie itself."""

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from exitwave.core import InputError, record
from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.data import ItemSource
from exitwave.images.denoising.layers import EvenFilter, fit_even
from exitwave.images.denoising.linear import LinearFilter, LinearOptions, covariances_of, filter_of, filtered, frame_count, read_frames
from exitwave.images.denoising.taps import taps_of

Loss = Literal["mse", "poisson"]
HIDDEN, SLOPE = 16, 0.1
BATCH = 65536  # pixels: features and activations stay in the cache
SECOND_SPACE = 8
BLUR = np.full((9, 9), 1 / 81, np.float32)
STREAM = 11


@record
class BlindOptions:
    """`linear`: reach and blind spot of the first filters. `loss`: "mse", or "poisson" (f - y log f). `steps` of Adam on batches of 65536 pixels at
    rate `rate`, which falls to zero; `pixels`: how many pixels of the movie it learns from at most."""

    linear: LinearOptions = LinearOptions()
    loss: Loss = "mse"
    steps: int = 400
    rate: float = 3e-3
    pixels: int = 4_000_000
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        if self.steps < 0 or self.pixels < BATCH or not 0 < self.rate < 1:
            raise InputError("training needs steps, pixels and a rate", expected=f"steps >= 0, pixels >= {BATCH}, 0 < rate < 1",
                             got=f"{self.steps}, {self.pixels}, {self.rate}")


@record
class BlindNet:
    """f = m + mix . u + head(u, q): u the outputs of the linear filter, of the uneven one and of the even filters after it; q their local rms.

    The head is a perceptron at each pixel, LeakyReLU, no biases: f(a y) = a f(y). All inputs at p are blind to y(p), the even filters because they
    step over what an uneven one looked at (`Window`), so f is, to the last bit and at the edges too. `mix` (1, 0, ...) and no head are the
    linear filter.
    """

    linear: LinearFilter
    uneven: LinearFilter
    even: tuple[EvenFilter, ...]
    mix: np.ndarray
    head: tuple[np.ndarray, ...]
    scale: np.ndarray

    def __post_init__(self) -> None:
        size, step = 4 + len(self.even), 2 * (self.linear.exclude + 1)
        heads = [layer.shape for layer in self.head]
        fits = not heads or (len(heads) > 1 and all(len(h) == 2 for h in heads) and [h[1] for h in heads] == [size, *(h[0] for h in heads[:-1])]
                             and heads[-1][0] == 1)
        same = self.linear.taps.shape == self.uneven.taps.shape and self.linear.exclude == self.uneven.exclude
        if not (same and self.mix.shape == (size - 2,) and self.scale.shape == (size,) and fits):
            raise InputError("the parts of this network do not fit together", expected=f"{size - 2} amounts, {size} scales, layers from {size} to 1",
                             got=f"mix {self.mix.shape}, scale {self.scale.shape}, head {heads}")
        squares = all(even.taps.ndim == 2 and even.taps.shape[0] == even.taps.shape[1] and even.taps.shape[0] % 2 for even in self.even)
        if not squares or any(even.step % step or even.step < 1 for even in self.even):
            raise InputError("even filters step over what an uneven one looked at", expected=f"multiples of {step}, odd squares of taps",
                             got=[(even.step, even.taps.shape) for even in self.even])
        parts = (self.mix, self.scale, *self.head, *(even.taps for even in self.even))
        if not all(np.isfinite(part).all() for part in parts) or not self.scale.all():
            raise InputError("weights of a network are finite numbers", remedy="fit it again")

    @property
    def weights(self) -> int:
        """How many numbers it has."""
        filters = self.linear.taps[-1, -1].size + self.uneven.taps[-1, -1].size + sum(even.taps.size for even in self.even)
        return filters + self.mix.size + sum(layer.size for layer in self.head)


@record
class Trained:
    """A network and its making: mean squared difference to held-out counts of the linear filter, of the mix and of the whole, and whether the head
    was kept, which it is where it is better than the mix on pixels that it did not learn from."""

    net: BlindNet
    linear_loss: float
    mix_loss: float
    head_loss: float
    kept_head: bool


def denoised_blind(frames: Iterable[np.ndarray], net: BlindNet) -> Iterator[np.ndarray]:
    """Denoised frames (y, x), float32, as `filtered` gives them.

    Raises:
        InputError: as `filtered`.
    """
    for u, q, mean in features(frames, net):
        yield composed(u, q, mean, net)


def features(frames: Iterable[np.ndarray], net: BlindNet) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """For each frame the outputs u (k, y, x) of the filters, less the mean m of the frames beside it, their local rms q (2, y, x), and m."""
    for (first, mean), (second, _) in filtered(frames, net.linear, net.uneven):
        u = [first - np.float32(mean), second - np.float32(mean)]
        for even in net.even:
            u.append(even(u[-1]))
        q = [np.sqrt(np.maximum(EvenFilter(taps=BLUR, step=2 * (net.linear.exclude + 1) * wide)(u[-1] ** 2), 0)) for wide in (1, 2)]
        yield np.stack(u), np.stack(q), mean


def composed(u: np.ndarray, q: np.ndarray, mean: float, net: BlindNet) -> np.ndarray:
    """The frame (y, x) of its features."""
    mixed = np.tensordot(net.mix.astype(np.float32), u, 1) + np.float32(mean)
    if not net.head:
        return np.asarray(mixed)
    x = torch.from_numpy(np.concatenate([u, q]) * net.scale[:, None, None].astype(np.float32)).reshape(len(net.scale), -1).T.contiguous()
    layers = [torch.from_numpy(layer.astype(np.float32)) for layer in net.head]
    with torch.no_grad():
        made = torch.cat([_head(part, layers) for part in torch.split(x, BATCH)])
    return np.asarray(mixed + made.reshape(mixed.shape).numpy() / np.float32(net.scale[0]))


def _head(x: Tensor, layers: list[Tensor]) -> Tensor:
    for layer in layers[:-1]:
        x = torch.nn.functional.leaky_relu(x @ layer.T, SLOPE)
    return (x @ layers[-1].T)[:, 0]


def start_net(linear: LinearFilter, uneven: LinearFilter, even: tuple[EvenFilter, ...] = ()) -> BlindNet:
    """The network before training: the linear filter."""
    mix = np.zeros(2 + len(even))
    mix[0] = 1.0
    return BlindNet(linear=linear, uneven=uneven, even=even, mix=mix, head=(), scale=np.ones(4 + len(even)))


def fit_blind(frames: ItemSource | np.ndarray, options: BlindOptions | None = None, memory_bytes: int | None = None) -> Trained:
    """Train the network on a movie (n, y, x): filters in closed form one after the other, then the mix by least squares, then the head.

    The even filters and the head learn from at most `options.pixels` pixels of frames spread over the movie; every fourth block of pixels is
    held out of mix and head and decides between them.

    Raises:
        InputError: as `covariances_of`; frames smaller than the even filters need (about 70 pixels a side).
    """
    options = options or BlindOptions()
    told = options.linear
    found = covariances_of(frames, told, memory_bytes)
    linear = filter_of(found, told)
    uneven = LinearFilter(taps=taps_of(found, told.window_uneven), exclude=told.exclude)
    net = start_net(linear, uneven)
    sample = _sampled(frames, net, options.pixels)
    side = min(sample[0][2].shape)
    for step in (2 * (told.exclude + 1) * n for n in (1, 2)):
        if side > 4 * SECOND_SPACE * step + 4:
            even = fit_even([u[-1] for u, _, _ in sample], [y for _, _, y in sample], step, SECOND_SPACE)
            sample = [(np.concatenate([u, even(u[-1])[None]]), mean, y) for u, mean, y in sample]
            net = start_net(linear, uneven, (*net.even, even))
    return _trained(net, sample, options)


Sample = list[tuple[np.ndarray, float, np.ndarray]]


def _sampled(frames: ItemSource | np.ndarray, net: BlindNet, pixels: int) -> Sample:
    """Features, mean and counts of frames spread over the movie: whole ones, or the middle of two or more where one alone has more pixels."""
    count, (ny, nx) = frame_count(frames), frames.shape[-2:]
    middle = _middle((ny, nx), pixels // 2)
    wanted = np.unique(np.linspace(0, count - 1, max(2, min(count, pixels // (ny * nx)))).round().astype(int))
    t, kept = net.linear.time, []
    if len(wanted) == count:
        every = read_frames(frames, 0, count)[middle]
        return [(u, mean, every[i].astype(np.float32)) for i, (u, _, mean) in enumerate(features(every, net))]
    for at in wanted.tolist():
        first = max(0, at - t)
        near = read_frames(frames, first, min(count, at + t + 1))[middle]
        for i, (u, _, mean) in enumerate(features(near, net)):
            if i == at - first:
                kept.append((u, mean, near[i].astype(np.float32)))
    return kept


def _middle(shape: tuple[int, int], pixels: int) -> tuple[slice, slice, slice]:
    """The middle of frames (n, y, x) that has at most that many pixels, as square as they let it be."""
    ny = min(shape[0], int(pixels**0.5))
    nx = min(shape[1], pixels // ny)
    ny = min(shape[0], pixels // nx)
    top, left = (shape[0] - ny) // 2, (shape[1] - nx) // 2
    return np.s_[:, top : top + ny, left : left + nx]


def _trained(net: BlindNet, sample: Sample, options: BlindOptions) -> Trained:
    u = np.concatenate([a.reshape(len(a), -1) for a, _, _ in sample], 1)
    widths = [2 * (net.linear.exclude + 1) * wide for wide in (1, 2)]
    rms = [[np.sqrt(np.maximum(EvenFilter(taps=BLUR, step=step)(a[-1] ** 2), 0)) for step in widths] for a, _, _ in sample]
    q = np.concatenate([np.stack(part).reshape(2, -1) for part in rms], 1)
    mean = np.concatenate([np.full(y.size, m, np.float32) for _, m, y in sample])
    y = np.concatenate([y.reshape(-1) for _, _, y in sample])
    held = (np.arange(y.size) // 4096) % 4 == 3
    inner, outer = ~held, held
    a = u[:, inner].astype(np.float64)
    gram = a @ a.T
    mix = np.linalg.solve(gram + 1e-6 * np.trace(gram) / len(gram) * np.eye(len(gram)), a @ (y - mean)[inner])
    x = np.concatenate([u, q])
    scale = 1 / max(float(np.sqrt((u[0] ** 2).mean())), 1e-30)
    base = (mix.astype(np.float32) @ u + mean).astype(np.float32)
    layers = _learnt(x[:, inner] * np.float32(scale), base[inner], y[inner], scale, options)
    head = _predicted(x[:, outer] * np.float32(scale), layers, scale)
    errors = [float(((f - y[outer]).astype(np.float64) ** 2).mean()) for f in ((u[0] + mean)[outer], base[outer], base[outer] + head)]
    kept = errors[2] < errors[1]
    made = BlindNet(linear=net.linear, uneven=net.uneven, even=net.even, mix=mix if errors[1] < errors[0] else net.mix,
                    head=tuple(layers) if kept and errors[1] < errors[0] else (), scale=np.full(len(x), scale))
    return Trained(net=made, linear_loss=errors[0], mix_loss=errors[1], head_loss=errors[2], kept_head=bool(made.head))


def _learnt(x: np.ndarray, base: np.ndarray, y: np.ndarray, scale: float, options: BlindOptions) -> list[np.ndarray]:
    """The head's layers: Adam on what it adds to `base`, the last layer zero at first; weights averaged over the second half of the steps."""
    drawn = generator_at(options.seed, 0, STREAM)
    sizes = [(HIDDEN, len(x)), (HIDDEN, HIDDEN)]
    layers = [torch.from_numpy(drawn.normal(0, (2 / n) ** 0.5, (m, n)).astype(np.float32)).requires_grad_() for m, n in sizes]
    layers.append(torch.zeros((1, HIDDEN), requires_grad=True))
    moments = [(torch.zeros_like(layer), torch.zeros_like(layer)) for layer in layers]
    averaged, taken = [torch.zeros_like(layer) for layer in layers], 0
    for i in range(options.steps):
        at = int(drawn.integers(0, max(1, x.shape[1] - BATCH + 1)))
        part = torch.from_numpy(np.ascontiguousarray(x[:, at : at + BATCH].T))
        f = torch.from_numpy(base[at : at + BATCH]) + _head(part, layers) / scale
        target = torch.from_numpy(y[at : at + BATCH])
        grads = torch.autograd.grad(_loss(f, target, options.loss), layers)
        rate = options.rate * 0.5 * (1 + float(np.cos(np.pi * i / options.steps)))
        with torch.no_grad():
            for layer, grad, (first, second) in zip(layers, grads, moments, strict=True):
                _adam(layer, grad, first, second, i + 1, rate)
        if i >= options.steps // 2:
            taken += 1
            for mean, layer in zip(averaged, layers, strict=True):
                mean += layer.detach()
    return [(mean / max(1, taken)).numpy() for mean in averaged]


def _adam(layer: Tensor, grad: Tensor, first: Tensor, second: Tensor, step: int, rate: float) -> None:
    """One step of Adam in place (Kingma & Ba, arXiv 1412.6980); torch's own takes seconds to import."""
    first.mul_(0.9).add_(grad, alpha=0.1)
    second.mul_(0.999).addcmul_(grad, grad, value=0.001)
    root = (second / (1 - 0.999**step)).sqrt_().add_(1e-8)
    layer.addcdiv_(first, root, value=-rate / (1 - 0.9**step))


def _loss(f: Tensor, y: Tensor, kind: Loss) -> Tensor:
    if kind == "mse":
        return ((f - y) ** 2).mean() / torch.clamp(y.var(), min=1e-30)
    safe = torch.clamp(f, min=0.02 * float(y.mean()))
    return (safe - y * torch.log(safe)).mean()


def _predicted(x: np.ndarray, layers: list[np.ndarray], scale: float) -> np.ndarray:
    tensors = [torch.from_numpy(layer) for layer in layers]
    with torch.no_grad():
        parts = [_head(part.contiguous(), tensors) for part in torch.split(torch.from_numpy(x).T, BATCH)]
    return np.asarray(torch.cat(parts).numpy() / np.float32(scale))
