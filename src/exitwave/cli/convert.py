"""One file, or a folder of them, into another format."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from exitwave.cli.corrections import Asked, corrected
from exitwave.cli.session import emit, overridden, peak_bytes, progress
from exitwave.core import ExitwaveError, InputError, record
from exitwave.core.errors import suggest
from exitwave.io import cards, open_signal
from exitwave.io.convert import Converted, convert
from exitwave.io.readers.card import AskingReader
from exitwave.io.readers.registry import load
from exitwave.io.writers import writer_cards


@record
class How:
    """What holds for every file: the format, how to open, correct and calibrate it, the memory budget, whether to replace."""

    to: str | None
    options: Mapping[str, Any]
    corrections: Asked
    optics: Mapping[str, Any]
    budget: int
    force: bool


def run(source: str, target: str, how: How, as_json: bool) -> None:
    """Convert and say what came out; leaves with exit status 2 where files of a folder failed."""
    started = perf_counter()
    if os.path.isdir(source) and not _is_measurement(source):
        _folder(source, target, how, as_json)
        return
    done = _one(source, target, how)
    seconds = perf_counter() - started
    if as_json:
        emit({**_told(source, done), "seconds": seconds, "peak_bytes": peak_bytes()})
    else:
        click.echo(f"{done.path}: {done.format}, {done.values_bytes / 1e6:.4g} MB of values, {seconds:.1f} s")


def _one(source: str, target: str, how: How) -> Converted:
    signal = corrected(open_signal(source, **how.options), how.corrections)
    signal = replace(signal, calibration=overridden(signal.calibration, **how.optics))
    with progress(os.path.basename(source)) as tick:
        return convert(signal, target, to=how.to, memory_bytes=how.budget, force=how.force, progress=tick)


def _folder(source: str, target: str, how: How, as_json: bool) -> None:
    """Every file of a folder; one that no reader's name fits is left out where it cannot be read either."""
    started = perf_counter()
    extension = _extension(how.to)
    if os.path.realpath(source) == os.path.realpath(target):
        raise InputError("a folder is not converted into itself", got=target)
    if os.path.exists(target) and not os.path.isdir(target):
        raise InputError(f"{target} is a file", expected="a folder to write into")
    os.makedirs(target, exist_ok=True)
    named = {ending for card in cards() for ending in card.extensions}
    done, failed, skipped, taken = [], [], [], set()
    for path in sorted(p for p in Path(source).iterdir() if not p.name.startswith(".")):
        output = Path(target, path.stem + extension)
        if path.is_dir() and not _is_measurement(str(path)):
            skipped.append(str(path))
            continue
        try:
            if output in taken:
                raise InputError(f"two files would become {output}", remedy="rename one of them")
            done.append(_told(str(path), _one(str(path), str(output), how)))
            taken.add(output)
        except ExitwaveError as error:
            if path.suffix.lower() not in named:
                skipped.append(str(path))
                continue
            sentence = " ".join(str(error).split())
            failed.append({"input": str(path), "error": sentence})
            click.echo("exitwave: " + (sentence if str(path) in sentence else f"{path}: {sentence}"), err=True)
    if not done and not failed:
        raise InputError(f"{source} holds no measurement", got=f"{len(skipped)} other files")
    if as_json:
        emit({"converted": done, "failed": failed, "skipped": skipped, "seconds": perf_counter() - started, "peak_bytes": peak_bytes()})
    else:
        click.echo(f"{len(done)} files into {target}, {len(failed)} failed, {len(skipped)} are no measurements; {perf_counter() - started:.1f} s")
    if failed:
        raise click.exceptions.Exit(2)


def _extension(to: str | None) -> str:
    known = {card.name: card for card in writer_cards()}
    if to is None:
        raise InputError("a folder needs a format to be written in", expected="--to " + ", ".join(known))
    if to not in known:
        raise InputError(f"unknown format {to!r}", remedy=suggest(to, known))
    return known[to].extensions[0]


def _is_measurement(folder: str) -> bool:
    """Whether a folder is itself one measurement, such as a Zarr store."""
    for card in cards():
        if card.folder:
            reader = load(card)
            if isinstance(reader, AskingReader) and reader.recognises(folder):
                return True
    return False


def _told(source: str, done: Converted) -> dict[str, Any]:
    return {"input": os.path.abspath(source), "output": done.path, "format": done.format, "bytes": done.values_bytes}
