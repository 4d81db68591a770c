"""Composition from characteristic X-rays: counts of lines, factors, absorption, and what each of them leaves uncertain."""

from exitwave.spectra.eds.absorption import correction, detected_share
from exitwave.spectra.eds.factors import Factors, cross_sections_barn, from_cross_sections, given_factors, joined, theory
from exitwave.spectra.eds.intensities import LineCounts
from exitwave.spectra.eds.lines import LineSet, line_set
from exitwave.spectra.eds.measure import LineOptions, Measured, Scene, measure
from exitwave.spectra.eds.pool import pooled
from exitwave.spectra.eds.quantify import STATUS, Composition, Shared, Uncertain, View, averaged, quantify_cliff_lorimer, quantify_zeta, view_of
from exitwave.spectra.eds.sensitivity import Sensitivity, sensitivity
from exitwave.spectra.eds.standards import Standard, from_standard

__all__ = [
    "STATUS", "Composition", "Factors", "LineCounts", "LineOptions", "LineSet", "Measured", "Scene", "Sensitivity", "Shared", "Standard", "Uncertain",
    "View", "averaged", "correction", "cross_sections_barn", "detected_share", "from_cross_sections", "from_standard", "given_factors", "joined",
    "line_set", "measure", "pooled", "quantify_cliff_lorimer", "quantify_zeta", "sensitivity", "theory", "view_of",
]
