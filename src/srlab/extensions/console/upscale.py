"""Enlarge pictures and films: photographs, folders of them, transparency, 16 bits, EXIF, profile, sound kept.

Without --model, the network whose weights come with srlab enlarges, or bicubic interpolation if there are
none. Without --out, each result is beside its original, with the scale in its name. A second run skips what
is there; the exit status is 0 if every image is there as asked.

  srlab upscale photo.jpg
  srlab upscale photo.jpg holidays/ scans/*.tif --model model_x4.pt --out larger
  srlab upscale photo.jpg --model outputs/elan_light_x4/2026-11-21_10-00-00 --scale 2.5 --format png
  srlab upscale stills/ --model model_x4.pt --size 1920x1080 --tile 256 --ensemble --out stills_hd
  srlab upscale film.mp4 --model model_x4.pt --scale 2 --out larger.mkv --codec hevc --crf 18
"""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from srlab.extensions.console.flags import integer, parse_settings

if TYPE_CHECKING:
    from srlab.extensions.upscale.jobs import Outcome
    from srlab.extensions.upscale.stamps import Recipe

_FORMATS = ("auto", "png", "jpg", "webp", "tif")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add inputs, network, size, destination and how the network runs."""
    add = parser.add_argument
    add(
        "inputs", nargs="+", type=Path, metavar="IMAGE", help="image files and folders, searched to any depth"
    )
    add("--model", "-m", help="run folder, file of weights, or a name: bicubic, elan_tiny, hit_srf_x4")
    settings = "a parameter of the network that the file of --model does not hold"
    add("--set", action="append", default=[], metavar="NAME=VALUE", help=settings)
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--scale",
        "-s",
        type=_factor,
        metavar="X",
        help="output over input side, any number; default: the network's own, 2 without --model",
    )
    size.add_argument(
        "--size",
        type=_box,
        metavar="WIDTHxHEIGHT",
        help="fit inside this, proportions kept, such as 1920x1080",
    )
    add("--out", "-o", type=Path, help="folder, or file for a single image; default: beside each image")
    add("--suffix", help="appended to names; default: _ and the scale, or nothing with --out")
    add("--format", choices=_FORMATS, default="auto", help="auto (default): as the input where possible")
    add("--quality", type=_quality, metavar="1-100", help="of JPEG and lossy WebP; default: 95")
    add("--overwrite", action="store_true", help="replace files that are there")
    films = parser.add_argument_group("films").add_argument
    films("--codec", help="encoder, such as h264, hevc, vp9 or av1; default: that of the film")
    films("--crf", type=integer(0), metavar="N", help="quality, smaller is better; default: by the codec")
    films("--preset", help="the encoder's speed, such as slow for H.264 or 6 for AV1")
    running = parser.add_argument_group("how the network runs").add_argument
    tiles = "side of tiles in input pixels, 0 for none, auto (default): if needed"
    running("--tile", type=_tile, default="auto", help=tiles)
    running("--exact", action="store_true", help="tiles change nothing, for more time")
    running("--ensemble", action="store_true", help="mean over eight flips and turns, for 8 times the time")
    running("--device", default="auto", help="cpu, cuda, cuda:1 or auto (default)")
    running("--precision", default="float32", help="float32 (default), bfloat16 or float16")


def run(arguments: argparse.Namespace) -> None:
    """Find, enlarge, report.

    Raises:
        ValueError: flags that contradict, no such network, nothing to do; or, at the end, images that failed.
        OSError: an input does not exist.
        KeyboardInterrupt: Ctrl-C; what was finished is listed first.
    """
    import logging
    import warnings

    from srlab.extensions.upscale.film_plan import are_films
    from srlab.extensions.upscale.jobs import run_jobs
    from srlab.extensions.upscale.planning import Naming, plan
    from srlab.terminal.progress import progress_bar

    # the report says what is wrong with damaged files
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="PIL")
    if are_films(arguments.inputs):
        _run_films(arguments)
        return
    for name in ("codec", "crf", "preset"):
        if getattr(arguments, name) is not None:
            raise ValueError(f"--{name} is for films, but no input is one")
    recipe = _recipe(arguments)
    kind = None if arguments.format == "auto" else arguments.format
    planned = plan(arguments.inputs, Naming(arguments.out, arguments.suffix, kind, str(recipe.target)))
    _print_headline(arguments.model, recipe)
    outcomes: list[Outcome] = []
    try:
        with progress_bar(len(planned.jobs)) as show:
            # after Ctrl-C the list holds what was yielded before
            outcomes.extend(run_jobs(planned.jobs, recipe, overwrite=arguments.overwrite, show=show))
    except KeyboardInterrupt:
        _report(outcomes, planned.notes)
        print(f"{len(planned.jobs) - len(outcomes)} image(s) are left; the same command resumes")
        raise
    _report(outcomes, planned.notes)
    absent = [each for each in outcomes if each.state in ("failed", "different")]
    if absent:
        raise ValueError(f"{len(absent)} of {len(outcomes)} image(s) were not enlarged as asked")


def _run_films(arguments: argparse.Namespace) -> None:
    """One film after the other; the first that fails ends the command."""
    from srlab.extensions.upscale.film_files import FilmEncoding, import_av
    from srlab.extensions.upscale.film_plan import plan_films
    from srlab.extensions.upscale.films import enlarge_film
    from srlab.terminal.progress import progress_bar

    for name in ("format", "quality"):
        if getattr(arguments, name) not in (None, "auto"):
            raise ValueError(f"--{name} is for pictures; films have --codec, --crf and the suffix of --out")
    import_av()
    recipe = _recipe(arguments)
    jobs = plan_films(
        arguments.inputs, arguments.out, arguments.suffix, str(recipe.target), overwrite=arguments.overwrite
    )
    _print_headline(arguments.model, recipe)
    encoding = FilmEncoding(arguments.codec, arguments.crf, arguments.preset)
    for source, destination in jobs:
        try:
            with progress_bar(1) as show:
                notes = enlarge_film(
                    source, destination, recipe, encoding, on_frame=_frames_shown(source, show)
                )
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
        for note in notes:
            print(f"note: {note}")
        print(f"wrote {destination}")


def _frames_shown(source: Path, show: Callable[[float, str], None]) -> Callable[[int, int], None]:
    """Frames a second and the time that is left, beside the bar."""
    import time

    started = time.monotonic()

    def on_frame(done: int, total: int) -> None:
        rate = done / max(1e-9, time.monotonic() - started)
        known = f" of {total}, {max(0, total - done) / rate:.0f} s left" if total else ""
        text = f"{source.name}: frame {done}{known}, {rate:.2f} frames/s"
        show(min(1.0, done / total) if total else 0.0, text)

    return on_frame


def _recipe(arguments: argparse.Namespace) -> "Recipe":
    from srlab.extensions.upscale.choosing import choose, default_target
    from srlab.extensions.upscale.stamps import Recipe
    from srlab.extensions.upscale.writing import DEFAULT_QUALITY
    from srlab.tasks.restoration import Restoration

    upscaler = choose(
        arguments.model,
        scale=arguments.scale,
        device=arguments.device,
        precision=arguments.precision,
        overrides={name: value for name, (value,) in parse_settings(arguments.set).items()},
    )
    target = default_target(upscaler.network, arguments.scale, arguments.size)
    options = Restoration(tile=arguments.tile, exact=arguments.exact, ensemble=arguments.ensemble)
    return Recipe(upscaler, target, options, arguments.quality or DEFAULT_QUALITY)


def _print_headline(model: str | None, recipe: "Recipe") -> None:
    from srlab.extensions.upscale.enlarging import describe_steps

    print(_headline(model, recipe))
    print(f"size: {describe_steps(recipe.upscaler.network, recipe.target)}")


def _headline(model: str | None, recipe: "Recipe") -> str:
    from srlab.models.bicubic import Bicubic

    label = f"network: {recipe.upscaler.label}, {recipe.upscaler.precision}"
    if model is None and isinstance(recipe.upscaler.network, Bicubic):
        return (
            "network: none; no trained weights come with this version, so that plain bicubic interpolation "
            "enlarges. For a network, give --model RUN_OR_FILE (docs/networks.md lists the authors' weights)"
        )
    return label


def _report(outcomes: "Sequence[Outcome]", left_out: Sequence[str]) -> None:
    """Counts, notes, and a table of what was not written."""
    from srlab.terminal.names import one_line
    from srlab.terminal.tables import PlainTable, plain_console

    console = plain_console(unbounded_width=160)
    written = [each for each in outcomes if each.state == "written"]
    kept = sum(each.state == "kept" for each in outcomes)
    notes = Counter(note for each in outcomes for note in each.notes)
    for note in (*left_out, *(f"{count} image(s): {note}" for note, count in notes.items())):
        console.print(f"note: {note}", soft_wrap=True)
    rows = [
        {"image": each.job.source, "state": each.state, "reason": each.reason}
        for each in outcomes
        if each.state in ("failed", "different")
    ]
    if rows:
        console.print(PlainTable(rows, text=("image", "state", "reason")))
    if kept:
        console.print(f"{kept} image(s) were there already, made in the same way", soft_wrap=True)
    if written:
        pixels, seconds = (sum(getattr(each, name) for each in written) for name in ("megapixels", "seconds"))
        rate = f"{pixels:.2f} megapixels in {seconds:.1f} s"
        where = written[0].job.destination
        end = where if len(written) == 1 else f"{len(written)} images, the first {where}"
        console.print(f"wrote {one_line(str(end))} ({rate})", soft_wrap=True)


def _factor(text: str) -> float:
    try:
        value = float(text.removeprefix("x"))
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text!r}")
    return value


def _box(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"must be like 1920x1080, both sides at least 1, got {text!r}")
    return int(width), int(height)


def _tile(text: str) -> int | str:
    return text if text == "auto" else integer(0)(text)


def _quality(text: str) -> int:
    value = integer(1)(text)
    if value > 100:
        raise argparse.ArgumentTypeError(f"must be at most 100, got {value}")
    return value
