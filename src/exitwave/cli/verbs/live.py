"""exitwave live: phase images while the scan runs."""

from typing import Any, Literal

import click

from exitwave.cli.options import Output, Unit, about_options, flag_of, recipe_option, scan_options, serving_options, set_option, together


class Share(click.ParamType):
    """A share I/N of a stream."""

    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        from exitwave.core import InputError

        one, slash, of = str(value).partition("/")
        if not slash or not one.strip().isdigit() or not of.strip().isdigit() or not 1 <= int(one) <= int(of):
            raise InputError(f"{flag_of(param)} is a share of the stream", expected="1/2, 2/2 and so on", got=value)
        return int(one) - 1, int(of)


image_options = together(
    click.option("--output", "-o", type=Output("result"), help="Headless: HDF5 result as NeXus (NXem), or a Zarr folder where it ends in .zarr."),
    click.option("--png", type=Output("picture"), help="Headless: phase, FFT and transfer as a picture."),
    click.option("--tiff", type=Output("TIFF"), help="Headless: the phase as calibrated 32-bit TIFF."),
)
page_options = together(
    serving_options,
    click.option("--save-to", type=click.Path(file_okay=False), default=".", help="Folder for what the page's buttons save.  [default: this one]"),
)


@click.command(name="live")
@click.argument("source")
@click.option("--headless", is_flag=True, help="Pictures, a log and a result, without a page.")
@click.option("--browse", is_flag=True, help="Look at the frames of a finished scan: nothing is replayed, and read is what is looked at.")
@click.option("--method", "-m", help="parallax, flipped-parallax, ssb, icom, obf, wiener, lsq or wdd.")
@page_options
@image_options
@click.option("--views", type=click.Path(file_okay=False), help="Folder for the picture of every look and log.jsonl.")
@click.option("--keep", is_flag=True, help="With --views: keep every picture under a number of its own.")
@click.option("--every", "every_s", type=Unit("s"), default=1.0, show_default=True, help="Seconds from one look to the next.")
@click.option("--record", "recording", type=Output("recording"), help="Keep the events in a file that is only added to.")
@click.option("--halves/--no-halves", default=True, show_default=True, help="Random half sets, for a correlation with every look.")
@click.option("--engine", type=click.Choice(["auto", "cube", "moments", "shifts", "guides"]), default="auto", show_default=True,
              help="How events are added up; auto takes what fits memory and rate, and says why.")
@click.option("--library", type=click.Path(file_okay=False), help="Folder where guide functions are kept for the next time.")
@click.option("--upsample", type=int, help="Image pixels per scan step.  [default: 1]")
@click.option("--seconds", type=Unit("s"), help="Stop after so long.")
@click.option("--rate", type=float, help="Replay a file at so many events (or frames) a second.  [default: as fast as possible]")
@click.option("--follow", is_flag=True, help="The file of events is still being written: read on while it grows.")
@click.option("--wait-s", type=Unit("s"), default=10.0, show_default=True, help="How long a source may take to begin.")
@click.option("--idle-s", type=Unit("s"), help="Silence that ends a connection (default: none does) or a growing file (default: 10 s).")
@click.option("--part", "share", type=Share(), default="1/1", help="Take only this share of a file's chunks, e.g. 1/2; `exitwave merge` joins all.")
@click.option("--dwell-s", type=Unit("s"), help='Timepix3: time on a scan position, e.g. "10 us"; lines begin with a trigger.')
@click.option("--flyback-s", type=Unit("s"), help="Timepix3: time from a line's end to the next trigger.  [default: what is left]")
@click.option("--line-delay-s", type=Unit("s"), default=0.0, help="Timepix3: from a trigger to its first position.  [default: 0]")
@click.option("--flyback-frames", type=click.IntRange(0), default=0, help="Cameras: frames after each row that belong to no position.  [default: 0]")
@click.option("--serpentine", is_flag=True, help="Timepix3, cameras: every other line runs backward.")
@click.option("--line-input", type=click.IntRange(1, 2), default=1, show_default=True, help="Timepix3: input of the line triggers.")
@click.option("--falling", is_flag=True, help="Timepix3: lines begin with a falling edge.")
@click.option("--cluster", is_flag=True, help="Timepix3: gather the hits of an electron into one event.")
@click.option("--electrons", is_flag=True, help="Frames: count single electrons above a threshold from the first frames (--dark, --gain, --dead).")
@recipe_option
@set_option
@about_options
@scan_options
def command(
    source: str,
    headless: bool,
    browse: bool,
    method: str | None,
    host: str,
    port: int,
    token: str | None,
    browser: bool,
    save_to: str,
    output: str | None,
    png: str | None,
    tiff: str | None,
    views: str | None,
    keep: bool,
    every_s: float,
    recording: str | None,
    halves: bool,
    engine: Literal["auto", "cube", "moments", "shifts", "guides"],
    library: str | None,
    upsample: int | None,
    seconds: float | None,
    recipe: str | None,
    sets: tuple[str, ...],
    about: tuple[str, ...],
    no_hash: bool,
    **options: Any,
) -> None:
    """Watch SOURCE: tcp://HOST:PORT (Timepix3 or packed events), merlin://HOST:PORT, simplon://HOST:PORT, a file of events, one that
    grows (--follow), a scan that is replayed, a result to look at, or `demo`: a microscope that is always there.

    Without --headless a page opens in the browser (needs the extra `live`): the image while it grows, methods and optics to turn, detectors to draw.

    \b
    Example:
      exitwave live demo
      exitwave live scan.h5 --method ssb --rate 2000
      exitwave live scan.h5 --browse
      exitwave live tcp://detector:8088 --headless --method obf --recipe recipe.yaml -o phase.h5 --views watch --record run.ewe
      exitwave live run.ewe --headless --method ssb -o ssb.h5
      exitwave live scan.h5 --headless --method parallax --recipe recipe.yaml -o phase.h5 --rate 2000
      exitwave live run.ewe --headless --method obf --part 1/2 -o a.h5 & exitwave live run.ewe --headless --method obf --part 2/2 -o b.h5
    """
    from exitwave.cli.live import Watching, run
    from exitwave.cli.live_source import StreamFlags
    from exitwave.cli.reconstruct import asked_of
    from exitwave.cli.scan_flags import scan_flags
    from exitwave.cli.session import Outputs, begin, check_outputs
    from exitwave.cli.told import Making, about_of
    from exitwave.core import InputError

    if seconds is not None and not seconds > 0:
        raise InputError("--seconds is how long to watch", expected="more than 0 s", got=seconds)
    if every_s <= 0:
        raise InputError("--every is a time between looks", expected="more than 0 s", got=every_s)
    names = ("wait_s", "idle_s", "rate", "follow", "share", "dwell_s", "flyback_s", "serpentine", "line_input", "falling", "cluster",
             "flyback_frames", "electrons")
    typed = {name: options.pop(name) for name in names} | {"delay_s": options.pop("line_delay_s")}
    flags = scan_flags(options)
    asked_for = flags.corrections
    if asked_for.descan or (any((asked_for.dark, asked_for.gain, asked_for.dead)) and not typed["electrons"]):
        raise InputError("a stream is counted as it comes: corrections of frames are for scans", remedy="leave out --dark, --gain, --dead, --descan"
                         + ("" if asked_for.descan else ", or count --electrons"))
    scan = flags.file["scan_shape"]
    stream = StreamFlags(scan_shape=scan, tables=asked_for, **typed)
    file = {name: flags.file[name] for name in ("reader", "shape", "dtype")}
    if not headless:
        from exitwave.cli import live_page
        from exitwave.cli.serving import Serving

        live_page.refused({"output": output, "png": png, "tiff": tiff, "views": views, "seconds": seconds, "library": library}, stream.share)
        serving = Serving(host=host, port=port, token=token, browser=browser, folder=save_to, recording=recording, force=flags.force)
        asked, known = live_page.asked_of(recipe, sets, {"method": method, "upsample": upsample})
        check_outputs(flags.force, recording)
        click.get_current_context().exit(live_page.run(source, asked, known, stream, serving, optics=flags.optics, file=file,
                                                       budget=begin(flags.threads, flags.memory),
                                                       making=Making(hashed=not no_hash, about=about_of(about)), browse=browse))
    if browse:
        raise InputError("--browse is for the page", remedy="leave out --headless")
    if output is None:
        raise InputError("--headless leaves a result", remedy="pass --output, or leave out --headless for the page")
    asked, known = asked_of(recipe, sets, {"method": method, "upsample": upsample})
    check_outputs(flags.force, output, png, tiff, recording)
    w = Watching(outputs=Outputs(result=output, png=png, tiff=tiff), views=views, keep=keep, every_s=every_s, recording=recording, seconds=seconds,
                 halves=halves, engine=engine, library=library, budget=begin(flags.threads, flags.memory), force=flags.force, as_json=flags.as_json,
                 making=Making(hashed=not no_hash, about=about_of(about)))
    click.get_current_context().exit(run(source, asked, known, stream, w, optics=flags.optics, file=file))
