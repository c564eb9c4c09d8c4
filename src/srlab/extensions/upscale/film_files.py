"""Reads the properties of a film and opens the result for writing; through PyAV (the extra ``video``)."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from srlab.extensions.optional_packages import import_optional
from srlab.extensions.upscale.film_colors import Colors, describe_colors

# The encoder of a codec, and its default --crf.
_ENCODERS = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1", "ffv1": "ffv1"}
_DEFAULT_CRF = {"libx264": 17, "libx265": 19, "libvpx-vp9": 24, "libsvtav1": 24}


@dataclass(frozen=True)
class FilmEncoding:
    """How a film is stored.

    Attributes:
        codec: FFmpeg's name of an encoder or codec; None: that of the input.
        crf: constant quality, smaller is better; None: 17 for H.264, 19 for HEVC, 24 for VP9 and AV1.
        preset: of the encoder, its speed; None: the encoder's own.
    """

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None


@dataclass(frozen=True)
class Film:
    """What the first frame and the headers of a film say.

    Attributes:
        codec: FFmpeg's name.
        pixel_format: FFmpeg's name.
        size: (height, width) as stored, before turning.
        colors: how planes encode colours.
        primaries: H.273's ColourPrimaries.
        transfer: H.273's TransferCharacteristics.
        turns: quarter turns, counterclockwise, that make frames upright.
        frames: how many, as the file says or by its duration; 0: unknown.
        left_out: sentences about streams that are not copied.
    """

    codec: str
    pixel_format: str
    size: tuple[int, int]
    colors: Colors
    primaries: int
    transfer: int
    turns: int
    frames: int
    left_out: tuple[str, ...]

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) after turning."""
        height, width = self.size
        return (width, height) if self.turns % 2 else (height, width)


def import_av() -> Any:
    """PyAV.

    Raises:
        ValueError: it is not installed.
    """
    return import_optional("av", purpose="enlarging films", extra="video")


def inspect_film(path: Path) -> Film:
    """Decode the first frame of the first video stream.

    Raises:
        ValueError: no video, interlaced, encrypted or damaged, or a kind of pixels that is not supported.
        OSError: the file cannot be read.
    """
    av = import_av()
    try:
        with av.open(f"file:{path}") as source:
            stream = main_video(source)
            frame = next(source.decode(stream), None)
            if frame is None:
                raise ValueError("no frame can be decoded; it is empty, encrypted or damaged")
            return _film(source, stream, frame)
    except av.error.InvalidDataError as error:
        raise ValueError("it is not a film of a supported format, or encrypted, or damaged") from error


def main_video(source: Any) -> Any:
    """The first video stream of an open container that is not a cover picture.

    Raises:
        ValueError: there is none.
    """
    attached = importlib.import_module("av.stream").Disposition.attached_pic
    streams = [each for each in source.streams.video if not each.disposition & attached]
    if not streams:
        raise ValueError("it has no video stream")
    if streams[0].codec_context is None:
        raise ValueError("its video has a codec that is not supported")
    return streams[0]


def copied_streams(source: Any) -> list[Any]:
    """Audio and subtitles, in the file's order."""
    return [each for each in source.streams if each.type in ("audio", "subtitle")]


def _film(source: Any, stream: Any, frame: Any) -> Film:
    if frame.interlaced_frame:
        raise ValueError("it is interlaced; deinterlace it first")
    if frame.rotation % 90:
        raise ValueError(f"it is to be turned by {frame.rotation} degrees; only quarter turns are supported")
    context = stream.codec_context
    left = len(source.streams) - 1 - len(copied_streams(source))
    seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
    if not seconds and source.duration:
        seconds = source.duration / 1e6
    return Film(
        codec=context.codec.canonical_name,
        pixel_format=frame.format.name,
        size=(frame.height, frame.width),
        colors=describe_colors(
            frame.format.name, int(context.colorspace), int(context.color_range), frame.height
        ),
        primaries=int(context.color_primaries),
        transfer=int(context.color_trc),
        turns=int(frame.rotation) // 90 % 4,
        frames=stream.frames or int(seconds * float(stream.average_rate or 0)),
        left_out=(f"{left} stream(s) were left out: only one video, audio and subtitles are kept",)
        if left
        else (),
    )


def encoder_for(film: Film, encoding: FilmEncoding) -> tuple[str, str, dict[str, str]]:
    """FFmpeg's encoder, pixel format and options.

    Raises:
        ValueError: no such encoder, or it stores neither the film's pixel format nor that with 8 bits.
    """
    av = import_av()
    wanted = encoding.codec or film.codec
    name = _ENCODERS.get(wanted, wanted if encoding.codec else None)
    if name is None:
        raise ValueError(
            f"its codec is {wanted}, which is not written by default; choose one with --codec, such as h264"
        )
    try:
        formats = av.Codec(name, "w").video_formats
    except av.codec.codec.UnknownCodecError as error:
        raise ValueError(f"--codec {wanted}: FFmpeg has no such encoder here") from error
    plain = film.pixel_format.replace("yuvj", "yuv")
    known = {each.name for each in formats or ()}
    pixel_format = next((each for each in (plain, plain.partition("p")[0] + "p") if each in known), None)
    if pixel_format is None:
        raise ValueError(f"--codec {wanted} does not store {plain}; choose another one")
    crf = _DEFAULT_CRF.get(name) if encoding.crf is None else encoding.crf
    options = {} if crf is None else {"crf": str(crf)}
    if name == "libvpx-vp9":
        options["b"] = "0"  # constant quality
    if encoding.preset is not None:
        options["preset"] = encoding.preset
    return name, pixel_format, options


def planes_of(frame: Any, colors: Colors) -> tuple[Any, Any, Any]:
    """Y', Cb and Cr of a frame as float32 arrays, its levels as stored."""
    dtype = np.dtype("u1" if colors.bits == 8 else "<u2")
    planes = []
    for plane in frame.planes:
        lines = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)
        planes.append(lines[: plane.height, : plane.width].astype(np.float32))
    return planes[0], planes[1], planes[2]


def frame_of(planes: tuple[Any, ...], pixel_format: str) -> Any:
    """A frame with these levels, of the format's depth."""
    av = import_av()
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pixel_format)
    dtype = np.dtype("u1" if frame.format.components[0].bits == 8 else "<u2")
    for plane, levels in zip(frame.planes, planes, strict=True):
        lines = np.zeros((plane.height, plane.line_size // dtype.itemsize), dtype)
        lines[:, : levels.shape[1]] = levels
        plane.update(lines.tobytes())
    return frame
