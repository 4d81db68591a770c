"""Pictures: nothing overlaps, nothing is cut off, what is drawn is where it should be, files appear whole."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Circle, Ellipse
from matplotlib.text import Text

from exitwave.core import InputError
from exitwave.data import Calibration, Quantity
from exitwave.plot import Curve, Panel, calibration_figure, comparison_figure, phase_figure, plan_figure, save
from exitwave.plot.figures import length_text, nice

RNG = np.random.default_rng(5)
PITCH = (0.31, 0.27)


def rings() -> Curve:
    q = np.linspace(0.02, 1.5, 40)
    return Curve(q_invA=q, value=np.exp(-q) * np.cos(3 * q))


def phase() -> Figure:
    image = RNG.standard_normal((60, 77)) * 0.1
    qy, qx = np.fft.fftfreq(60, PITCH[0])[:, None], np.fft.rfftfreq(77, PITCH[1])[None]
    ctf = np.sin(6 * (qy**2 + qx**2)) + 0j
    return phase_figure(
        image,
        pitch_A=PITCH,
        ctf=ctf,
        noise=np.full(ctf.shape, 0.01),
        aperture_invA=0.6,
        title="SSB phase, underfocus 30 nm, 5000 e/Å²",
        rings=rings(),
        resolution_A=1.3,
    )


def calibration() -> Figure:
    def measured(value: float) -> Quantity:
        return Quantity(value=value, sigma=abs(value) / 100, source="measured")

    known = Calibration(
        energy_eV=Quantity(value=2e5, source="file"),
        semiangle_mrad=Quantity(value=20.0, source="given"),
        detector_mrad=measured(1.25),
        centre_y_px=measured(15.2),
        centre_x_px=measured(19.4),
        semiangle_px=measured(9.0),
        ellipticity=measured(0.05),
        ellipticity_deg=measured(30.0),
        rotation_deg=measured(-54.0),
        transpose=Quantity(value=True, source="measured"),
        twin=Quantity(value="positive phase", source="measured"),
        counts_per_electron=measured(3.2),
        fano=measured(2.9),
        neighbour_correlation=measured(0.14),
        aberrations={"C10_A": measured(-135490.0), "C12_A": measured(2790.0), "phi12_deg": measured(81.6)},
    )
    alive = np.ones((32, 40), bool)
    alive[3, 5] = alive[20, 20] = False
    k = RNG.uniform(-0.6, 0.6, (40, 2))
    shifts = k @ np.array([[-5.0, 2.0], [1.0, -7.0]])
    notes = ("handedness leads by 5.4e+03 in log-likelihood", "the 180-degree twin is undetermined: " + "rotation + 180 degrees fits as well " * 4)
    return calibration_figure(
        known, mean=RNG.uniform(0, 3, (32, 40)), alive=alive, shifts=(k, shifts + 0.1, shifts), title="calibration of scan.h5", notes=notes
    )


def comparison() -> Figure:
    panels = [
        Panel(
            name=name,
            image=RNG.standard_normal((48, 48)),
            numbers="mean correlation 0.56, over 1/2 to 1.1 Å",
            rings=rings() if name != "truth" else None,
        )
        for name in ("truth", "parallax, phase-flipped", "SSB phase", "iCOM phase")
    ]
    return comparison_figure(
        panels, pitch_A=PITCH, title="gold nanoparticle on carbon, 5000 e/Å², calibrated blind (underfocus 30 nm)", limit_invA=1.6
    )


def plan() -> Figure:
    q = np.linspace(0.01, 1, 200)
    curves = {"parallax": 2 * np.sin(20 * q**2), "ssb": np.abs(np.sin(20 * q**2)) + 0.2}
    return plan_figure(
        q, curves, {name: value**2 * 10 for name, value in curves.items()}, aperture_invA=0.5, nyquist_invA=0.3, title="underfocus 1.35 um"
    )


FIGURES: dict[str, Callable[[], Figure]] = {"phase": phase, "calibration": calibration, "comparison": comparison, "plan": plan}


@pytest.mark.parametrize("name", FIGURES)
def test_every_word_lies_inside_the_picture_and_over_no_other(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = FIGURES[name]()
    save(made, tmp_path / "figure.png")
    drawn: list[Text] = []
    draw = Text.draw
    monkeypatch.setattr(Text, "draw", lambda text, renderer: (drawn.append(text), draw(text, renderer)))
    made.canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn if text.get_visible() and text.get_text().strip()]
    assert len(boxes) > 10
    for text, box in boxes:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= made.bbox.width + 1 and box.y1 <= made.bbox.height + 1, f"{text!r} is cut off"
    for i, (first, a) in enumerate(boxes):
        for second, b in boxes[i + 1 :]:
            shared = max(0.0, min(a.x1, b.x1) - max(a.x0, b.x0)) * max(0.0, min(a.y1, b.y1) - max(a.y0, b.y0))
            assert shared <= 0.12 * min(a.width * a.height, b.width * b.height), f"{first!r} lies over {second!r}"


def test_circles_stand_at_one_and_two_apertures() -> None:
    radii = sorted(patch.radius for patch in phase().findobj(Circle))
    assert radii == pytest.approx([0.6, 1.2])


def test_the_ellipse_is_the_fitted_one() -> None:
    (ellipse,) = (patch for patch in calibration().findobj(Ellipse) if not isinstance(patch, Circle))
    assert ellipse.center == pytest.approx((19.4, 15.2))
    assert ellipse.width / ellipse.height == pytest.approx(1.05)
    assert ellipse.width * ellipse.height == pytest.approx(4 * 81)
    assert ellipse.angle == 30.0


def test_the_spectrum_is_drawn_where_its_frequencies_are() -> None:
    """A grating of known frequency has its peaks on the axes' numbers."""
    ny, nx = 60, 77
    image = 0.1 * np.cos(2 * np.pi * (6 * np.arange(ny)[:, None] / ny + 9 * np.arange(nx)[None] / nx))
    ctf = np.ones((ny, nx // 2 + 1), complex)
    made = phase_figure(image, pitch_A=PITCH, ctf=ctf, noise=np.ones(ctf.shape), aperture_invA=0.6, title="grating")
    drawn = made.axes[1].images[0]
    pixel = np.unravel_index(np.argmax(np.asarray(drawn.get_array())[:, nx // 2 :]), (ny, nx - nx // 2))
    x0, x1, y1, y0 = drawn.get_extent()
    at = y0 + (pixel[0] + 0.5) * (y1 - y0) / ny, x0 + (pixel[1] + nx // 2 + 0.5) * (x1 - x0) / nx
    assert at == pytest.approx((6 / (ny * PITCH[0]), 9 / (nx * PITCH[1])), abs=1e-9)


def test_a_picture_is_refused_where_one_exists_and_is_otherwise_a_png(tmp_path: Path) -> None:
    target = tmp_path / "plan.png"
    save(plan(), target)
    assert imread(target).shape[:2] == (660, 1650)
    with pytest.raises(InputError, match="--force"):
        save(plan(), target)
    save(plan(), target, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.png"]


@pytest.mark.parametrize(
    ("length", "bar", "text"), [(13.0, 10.0, "1 nm"), (5.2, 5.0, "5 Å"), (0.9, 0.5, "0.5 Å"), (999.0, 500.0, "50 nm"), (2.1e4, 2e4, "2 µm")]
)
def test_scale_bars_are_round_lengths(length: float, bar: float, text: str) -> None:
    assert nice(length) == pytest.approx(bar)
    assert length_text(nice(length)) == text
