"""Composition from characteristic X-rays: counts of lines, factors, absorption, and what each of them leaves uncertain."""

from exitwave.spectra.eds.absorption import correction, detected_share
from exitwave.spectra.eds.factors import Factors, cross_sections_barn, from_cross_sections, given_factors, joined, theory
from exitwave.spectra.eds.lines import LineSet, line_set
from exitwave.spectra.eds.quantify import STATUS, Composition, Shared, Uncertain, View, quantify_cliff_lorimer, quantify_zeta, view_of
from exitwave.spectra.eds.sensitivity import Sensitivity, sensitivity

__all__ = [
    "STATUS", "Composition", "Factors", "LineSet", "Sensitivity", "Shared", "Uncertain", "View", "correction", "cross_sections_barn",
    "detected_share", "from_cross_sections", "given_factors", "joined", "line_set", "quantify_cliff_lorimer", "quantify_zeta", "sensitivity",
    "theory", "view_of",
]
