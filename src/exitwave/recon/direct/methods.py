"""The names of all direct methods."""

from exitwave.core.errors import InputError, suggest
from exitwave.recon.direct.optimal import METHODS as OPTIMAL
from exitwave.recon.direct.weights import WEIGHTS

METHODS = (*WEIGHTS, *OPTIMAL, "wdd")


def check_method(method: str) -> None:
    """Refuse a method that does not exist.

    Raises:
        InputError: naming the nearest one.
    """
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}", remedy=suggest(method, METHODS))
