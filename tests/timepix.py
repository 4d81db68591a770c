"""Packets of Timepix3, written from their description by an encoder that shares nothing with the decoder."""

SECOND = 640_000_000  # ticks of 25/16 ns
EDGES = {(1, True): "f", (1, False): "a", (2, True): "e", (2, False): "b"}


def packed(*fields: tuple[int, int]) -> int:
    """A word from (value, bits) pairs, the highest first; a value too large keeps its lower bits, as a counter does."""
    digits = "".join(f"{value % 2**bits:0{bits}b}" for value, bits in fields)
    assert len(digits) == 64
    return int(digits, 2)


def hit(y: int, x: int, tot: int, ticks: int) -> int:
    clocks = -(-ticks // 16)
    address = (x // 2, 7), (y // 4, 6), (4 * (x % 2) + y % 4, 3)
    return packed((0xB, 4), *address, (clocks, 14), (tot, 10), (16 * clocks - ticks, 4), (clocks // 2**14, 16))


def trigger(channel: int, rising: bool, count: int, sixths: int) -> int:
    """Time in units of 25/96 ns."""
    return packed((0x6, 4), (int(EDGES[channel, rising], 16), 4), (count, 12), (sixths // 12, 35), (sixths % 12 + 1, 4), (0, 5))


def global_time(ticks: int) -> list[int]:
    clocks = ticks // 16
    return [packed((0x44, 8), (0, 8), (clocks, 32), (clocks // 2**14, 16)), packed((0x45, 8), (0, 24), (clocks // 2**32, 16), (clocks // 2**14, 16))]


def chunk(chip: int, words: list[int]) -> list[int]:
    return [packed((8 * len(words), 16), (0, 8), (chip, 8), (int.from_bytes(b"TPX3", "little"), 32)), *words]


def raw(words: list[int]) -> bytes:
    return b"".join(word.to_bytes(8, "little") for word in words)
