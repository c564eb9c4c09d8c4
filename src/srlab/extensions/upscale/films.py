"""A film through a network, frame after frame; sound and subtitles are copied as they are."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from srlab.atomic_files import atomic_write
from srlab.extensions.upscale.enlarging import enlarge
from srlab.extensions.upscale.film_colors import from_rgb, to_rgb
from srlab.extensions.upscale.film_files import (
    Film,
    FilmEncoding,
    copied_streams,
    encoder_for,
    frame_of,
    import_av,
    inspect_film,
    main_video,
    planes_of,
)
from srlab.extensions.upscale.film_plan import CONTAINERS
from srlab.extensions.upscale.stamps import Recipe


def enlarge_film(
    source: Path,
    destination: Path,
    recipe: Recipe,
    encoding: FilmEncoding,
    *,
    on_frame: Callable[[int, int], None],
) -> tuple[str, ...]:
    """Write ``destination``, complete or not at all. Memory does not depend on the film's length.

    Times of frames are kept, as exactly as the container stores them. Frames are turned upright. Colours go
    through the film's own matrix and range, and the result is marked with these.

    Args:
        source: the film.
        destination: its suffix, one of ``CONTAINERS``, determines the container.
        recipe: network, size and options.
        encoding: codec and quality.
        on_frame: called with how many frames are done, and how many there are (0: unknown).

    Returns:
        What was converted or left out, sentences for people.

    Raises:
        ValueError: a film, codec or container that is not supported.
        OSError: a file that cannot be read or written.
    """
    av = import_av()
    film = inspect_film(source)
    name, pixel_format, options = encoder_for(film, encoding)
    size, notes = _even_size(film, recipe)
    deep = pixel_format == film.pixel_format.replace("yuvj", "yuv")
    if not deep:
        notes += (f"{film.colors.bits} bits became 8, the most that {name} stores here",)
    stored = film.colors if deep else replace(film.colors, bits=8)

    def larger(frame: Any) -> Any:
        if (frame.height, frame.width) != film.size or frame.format.name != film.pixel_format:
            raise ValueError("the size or the format of its frames changes within the film; cut it there")
        upright = np.rot90(to_rgb(planes_of(frame, film.colors), film.colors), film.turns)
        result = enlarge(np.ascontiguousarray(upright), recipe.upscaler.network, size, recipe.options)
        return frame_of(from_rgb(result, stored), pixel_format)

    try:
        with (
            av.open(f"file:{source}") as opened,
            atomic_write(destination) as partial,
            av.open(f"file:{partial}", "w", format=CONTAINERS[destination.suffix.lower()]) as written,
        ):
            encoder = _add_encoder(written, main_video(opened), name, options, film, (*size, pixel_format))
            _transcode(opened, written, encoder, larger, lambda done: on_frame(done, film.frames))
    except av.error.FFmpegError as error:
        raise ValueError(
            f"FFmpeg cannot read it or store it as {destination.name}: {error.strerror}"
        ) from error
    return (*notes, *film.left_out)


def _even_size(film: Film, recipe: Recipe) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Sides are rounded up to multiples of the chroma's subsampling."""
    height, width = recipe.target.size_for(*film.upright_size)
    rows, columns = film.colors.rows, film.colors.columns
    size = -(-height // rows) * rows, -(-width // columns) * columns
    if size == (height, width):
        return size, ()
    return size, (f"{width}x{height} became {size[1]}x{size[0]}: subsampled chroma needs even sides",)


def _add_encoder(
    written: Any, stream: Any, name: str, options: dict[str, str], film: Film, shape: tuple[int, int, str]
) -> Any:
    encoder = written.add_stream(name, rate=stream.average_rate or stream.guessed_rate, options=options)
    context = encoder.codec_context
    context.height, context.width, context.pix_fmt = shape
    context.time_base = encoder.time_base = stream.time_base
    context.colorspace, context.color_range = film.colors.matrix, 2 if film.colors.full else 1
    context.color_primaries, context.color_trc = film.primaries, film.transfer
    ratio = stream.sample_aspect_ratio
    if ratio:
        context.sample_aspect_ratio = 1 / ratio if film.turns % 2 else ratio
    encoder.metadata.update(stream.metadata)
    return encoder


def _transcode(
    opened: Any, written: Any, encoder: Any, larger: Callable[[Any], Any], on_frame: Callable[[int], None]
) -> None:
    video = main_video(opened)
    copies = {each.index: written.add_stream_from_template(each) for each in copied_streams(opened)}
    for index, copy in copies.items():
        copy.metadata.update(opened.streams[index].metadata)
    written.metadata.update(opened.metadata)
    done = 0
    for packet in opened.demux(video, *copied_streams(opened)):
        if packet.stream.index != video.index:
            if packet.dts is not None:  # the end of a stream is a packet without content
                packet.stream = copies[packet.stream.index]
                written.mux(packet)
            continue
        for frame in packet.decode():
            if frame.pts is None:
                raise ValueError("its frames have no times; convert it to MP4 or Matroska first")
            result = larger(frame)
            result.pts, result.time_base = frame.pts, frame.time_base
            written.mux(encoder.encode(result))
            done += 1
            on_frame(done)
    written.mux(encoder.encode(None))
