"""Strategies for what is known about a scan."""

from dataclasses import fields
from typing import get_args

from hypothesis import strategies as st

from exitwave.data import MISSING, Calibration, Quantity
from exitwave.data.calibration import Source
from tests.strategies.core import aberration_names

TEXT_FIELDS = ("twin",)
BOOL_FIELDS = ("transpose",)
KNOWN_SOURCES = tuple(source for source in get_args(Source) if source != "missing")


@st.composite
def quantities(draw: st.DrawFn, value: st.SearchStrategy[float | bool | str] | None = None) -> Quantity:
    """A known quantity with or without an uncertainty."""
    return Quantity(
        value=draw(value if value is not None else st.floats(-1e6, 1e6)),
        sigma=draw(st.none() | st.floats(0, 1e3)),
        source=draw(st.sampled_from(KNOWN_SOURCES)),
    )


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    """A calibration with any of its fields known or missing, and any aberrations."""
    known = {}
    for name in (f.name for f in fields(Calibration) if f.name != "aberrations"):
        if name in TEXT_FIELDS:
            value: st.SearchStrategy[float | bool | str] = st.sampled_from(["positive phase", "undetermined"])
        elif name in BOOL_FIELDS:
            value = st.booleans()
        else:
            value = st.floats(-1e6, 1e6)
        known[name] = draw(st.just(MISSING) | quantities(value))
    names = draw(aberration_names(min_terms=0))
    return Calibration(**known, aberrations={name: draw(quantities(st.just(value))) for name, value in names.items()})
