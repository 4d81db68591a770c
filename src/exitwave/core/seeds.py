"""Random numbers that depend on what they are for, never on who asks first."""

import numpy as np

DEFAULT_SEED = 20260101


def generator_at(seed: int, index: int, stream: int = 0) -> np.random.Generator:
    """The generator of item `index` (a scan position, a configuration) in `stream`, counter-based (Philox), so any order or chunking agrees."""
    return np.random.Generator(np.random.Philox(key=[seed & (2**64 - 1), stream], counter=[0, 0, 0, index]))
