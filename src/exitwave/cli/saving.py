"""A direct image on disk: planes of the result, TIFF and picture."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from exitwave.cli.quantities import stack_plane
from exitwave.cli.session import Outputs, peak_bytes
from exitwave.cli.told import Making, made_from
from exitwave.cli.work import Reconstructed, noise_plane
from exitwave.core.aberrations import focus_in_words
from exitwave.data import Dataset4D
from exitwave.io import Plane, write_result, write_tiff
from exitwave.plot import Curve, full_plane
from exitwave.plot.spectra import significant
from exitwave.recon.options import Halves

LABELS = {"ssb": "SSB phase", "parallax": "parallax", "flipped-parallax": "parallax, phase-flipped", "icom": "iCOM phase",
          "dpc": "iDPC phase of four quadrants", "obf": "OBF phase", "lsq": "least-squares phase", "wiener": "phase, posterior mean",
          "wdd": "WDD phase"}

NOISE = "variance of a Fourier coefficient over the count of pixels"


def save_direct(
    done: Reconstructed,
    data: Dataset4D,
    recipe: Mapping[str, Any],
    outputs: Outputs,
    *,
    force: bool,
    making: Making | None = None,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[str, ...]:
    """The result file and, where asked, a TIFF (of the depths, where there are some) and a PNG; `more` goes into the metrics. Returns what NeXus
    (NXem) requires of the result and nobody knows."""
    image = done.image
    stack = stack_plane(done.depths, done.asked) if done.depths else None
    metrics = {**done.metrics, **more, "method": image.method, "seconds": done.seconds, "peak_bytes": peak_bytes(), "pitch_A": list(image.pitch_A)}
    provenance, facts = made_from(data, making or Making())
    lacking = write_result(outputs.result, images=[*planes_of(done), *([stack] if stack else [])], recipe=dict(recipe), calibration=done.calibration,
                           metrics=metrics, provenance=provenance, facts=facts, force=force)
    if outputs.tiff and stack:
        write_tiff(outputs.tiff, stack.array, image.pitch_A, force, stack.depth_A)
    elif outputs.tiff:
        write_tiff(outputs.tiff, single(image.image), image.pitch_A, force)
    if outputs.png:
        picture(done, outputs.png, force)
    return lacking


def planes_of(done: Reconstructed) -> list[Plane]:
    """The images of a result, the phase first."""
    image = done.image
    ny, nx = image.image.shape
    dq = 1 / (ny * image.pitch_A[0]), 1 / (nx * image.pitch_A[1])
    ctf, noise = full_plane(image.ctf.numpy().astype(np.complex64), nx), noise_plane(image).astype(np.float32)
    planes = [
        Plane(name="phase", array=single(image.image), pitch=image.pitch_A, unit="rad", title=title_of(done)),
        *(Plane(name=f"half_{name}", array=single(half), pitch=image.pitch_A, unit="rad", title=half_title(name, done.asked.halves))
          for name, half in zip("ab", image.halves, strict=True)),
        Plane(name="ctf", array=ctf, pitch=dq, pitch_unit="1/A", title="transfer of a weak phase"),
        Plane(name="noise", array=noise, pitch=dq, pitch_unit="1/A", unit="rad^2", title=NOISE),
    ]
    if image.amplitude is not None:
        planes.append(Plane(name="log_amplitude", array=single(image.amplitude), pitch=image.pitch_A, title="log-amplitude"))
    return planes


def half_title(name: str, halves: Halves) -> str:
    """What a half image was made from."""
    return f"half {name} of the {'detector pixels' if halves == 'pixels' else 'counts, dealt out at random'}"


def picture(done: Reconstructed, png: str, force: bool) -> None:
    """The PNG of a reconstruction."""
    from exitwave.plot import phase_figure, save

    image = done.image
    curve = Curve(q_invA=done.rings.q_invA.numpy(), value=done.rings.value.numpy())
    figure = phase_figure(single(image.image), pitch_A=image.pitch_A, ctf=image.ctf.numpy(), noise=image.noise.numpy(),
                          aperture_invA=done.geometry.edge_invA, title=title_of(done), rings=curve, resolution_A=done.rings.resolution_A())
    save(figure, png, force)


def title_of(done: Reconstructed) -> str:
    """ "ssb phase, underfocus 30 nm, 1e4 e/Å^2": how people read it."""
    c10 = done.calibration.aberrations.get("C10_A")
    focus = f", {focus_in_words(float(c10.value))}" if c10 is not None and c10.value is not None else ""
    method, _, changed = done.image.method.partition(" ")
    label = LABELS.get(method, method) + (f", {changed}" if changed else "")
    return f"{label}{focus}, {significant(done.metrics['dose_e_per_A2'])} e/Å²"


def single(image: torch.Tensor) -> np.ndarray:
    """An image as it is stored, float32."""
    return image.to(torch.float32).numpy()
