"""Saying what a session would give."""

from collections.abc import Mapping
from typing import Any

import click

from exitwave.cli.planned import FILL, Plan, Session, plan
from exitwave.cli.session import emit
from exitwave.core.aberrations import focus_in_words


def run(asked: Session, *, png: str | None, force: bool, as_json: bool) -> None:
    """Work out the plan and say it."""
    found = plan(asked)
    if png:
        _picture(found, asked, png, force)
    if as_json:
        emit(found.told)
    else:
        click.echo(text(found.told))


def _picture(found: Plan, asked: Session, png: str, force: bool) -> None:
    from exitwave.plot import plan_figure, save

    made, told = found.transfer, found.told
    title = f"{told['focus']}, {asked.dose_e_per_A2:g} e/Å², {asked.phase_rms_rad:g} rad rms"
    figure = plan_figure(made.q_invA, made.curves, made.signals, aperture_invA=told["aperture_invA"], nyquist_invA=told["scan_nyquist_invA"],
                         title=title)
    save(figure, png, force)


def text(found: Mapping[str, Any]) -> str:
    """The plan for people."""
    rows = [
        ("probe", f"{found['focus']}, {found['probe_diameter_A']:.4g} A across"),
        ("overlap", f"{found['overlap']:.0%} along a row, {found['positions_per_probe']:.3g} positions under each probe"),
        ("detector window", f"{found['window_A']:.4g} A; the probe takes {found['window_fill']:.0%} of its width (keep under {FILL:.0%})"),
        ("largest defocus", f"{focus_in_words(-found['largest_defocus_A'])} with this camera length"),
        (
            "scan Nyquist",
            f"{found['scan_nyquist_invA']:.4g} 1/A; the optics carry {found['information_limit_invA']:.4g} 1/A ({found['resolution_limit_A']:.3g} A)",
        ),
        ("upsampling", f"--upsample {found['upsample']}"),
        ("dose", f"{found['electrons_per_position']:.4g} electrons per position"),
        ("recommended", f"{focus_in_words(-found['recommended_defocus_A'])} for detail of {found['target_A']:.3g} A"),
    ]
    lines = [f"  {name:<17}{value}" for name, value in rows]
    lines.append(f"  {'method':<17}{'first zero (1/A)':>17}{'|CTF| at target':>17}{'signal/noise there':>20}")
    for method, values in found["transfer"].items():
        zero = "none" if values["first_zero_invA"] is None else f"{values['first_zero_invA']:.3g}"
        lines.append(f"  {method:<17}{zero:>17}{values['at_target']:>17.3g}{values['ssnr_at_target']:>20.3g}")
    return "\n".join(lines + [f"- {note}" for note in found["notes"]])
