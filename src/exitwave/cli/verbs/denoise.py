"""exitwave denoise: a movie seen through its noise."""

from typing import Any

import click

from exitwave.cli.options import Output, Step, Whole, about_options, force_option, json_option, seed_option, together, work_options

how_options = together(
    click.option("--method", "-m", default="linear", show_default=True, help="linear: a closed-form filter. blind: a small network on top of it."),
    click.option("--time", "time", type=click.IntRange(min=1), default=2, show_default=True, help="Frames that it looks to either side."),
    click.option("--space", "space", type=click.IntRange(min=1), default=8, show_default=True, help="Pixels that it looks to either side."),
    click.option("--exclude", "exclude", type=click.IntRange(min=0), default=0, show_default=True,
                 help="Pixels around a pixel that are not looked at in its own frame: 1 where the detector spreads electrons over neighbours."),
    click.option("--low-pass", "lowpass", is_flag=True, help="Also the low-pass that halves of the counts ask for."),
    click.option("--loss", type=click.Choice(["mse", "poisson"]), default="mse", show_default=True, help="What the network's head is trained on."),
    click.option("--steps", type=click.IntRange(min=0), default=400, show_default=True, help="Steps of that training."),
)
file_options = together(
    click.option("--reader", help="Format of the file, where content and extension mislead."),
    click.option("--shape", type=Whole(3), help="Layout of bare bytes: n,y,x."),
    click.option("--dtype", help="Type of bare bytes, e.g. uint16 or >u2."),
    click.option("--pixel-A", "pixel_A", type=Step(), help="Pixel size at the specimen, one number or Y,X, where the file has none."),
)


@click.command(name="denoise")
@click.argument("file")
@click.option("--output", "-o", required=True, type=click.Path(), help="The denoised movie: .h5 (NeXus), .zarr, .tif, .mrc, .hspy, float32.")
@click.option("--png", type=Output("picture"), help="A frame before and after.")
@how_options
@click.option("--align", is_flag=True, help="Also undo the drift, found on the frames as measured.")
@click.option("--model", type=click.Path(), help="Apply a denoiser that --save-model wrote; nothing is fitted.")
@click.option("--save-model", "save_model", type=Output("result"), help="Keep the denoiser, with its recipe, for other movies.")
@file_options
@seed_option
@about_options
@work_options
@force_option
@json_option
def command(
    file: str,
    output: str,
    png: str | None,
    align: bool,
    model: str | None,
    save_model: str | None,
    reader: str | None,
    shape: tuple[int, ...] | None,
    dtype: str | None,
    pixel_A: tuple[float, float] | None,
    about: tuple[str, ...],
    no_hash: bool,
    threads: int | None,
    memory: float | None,
    force: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """Each pixel is estimated from its neighbours in space and time, never from itself; no training data, no truth. Scores say how good that is.

    \b
    Example:
      exitwave denoise movie.mrc -o clean.h5 --png clean.png
      exitwave denoise movie.tif -o clean.tif --method blind --save-model model.h5
      exitwave denoise next.tif -o next_clean.tif --model model.h5
    """
    from exitwave.cli.denoise import DenoiseAsked, DenoiseOutputs, run
    from exitwave.cli.session import begin, check_outputs
    from exitwave.cli.told import Making, about_of
    from exitwave.images import DenoiseOptions
    from exitwave.images.movie import check_method

    check_method(how["method"])
    making = Making(hashed=not no_hash, about=about_of(about))
    outputs = DenoiseOutputs(movie=output, png=png, model=save_model)
    check_outputs(force, output, png, save_model)
    asked = DenoiseAsked(options=DenoiseOptions(**how), model=model, align=align, pixel_A=pixel_A,
                         opening={"reader": reader, "shape": shape, "dtype": dtype})
    run(file, asked, outputs, budget=begin(threads, memory), force=force, as_json=as_json, making=making)
