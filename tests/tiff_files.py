"""TIFF files of any layout, from the specification (Adobe, TIFF 6.0, 1992): one strip for each plane."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB = 0, 1, 2, 3, 5, 6, 8
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
UNSPECIFIED, ASSOCIATED, UNASSOCIATED = 0, 1, 2
_SHORT, _LONG = 3, 4
_NONE, _LZW = 1, 5


def write_tiff(
    path: Path,
    samples: np.ndarray,
    photometric: int,
    *,
    extra: Sequence[int] = (),
    planar: bool = False,
    orientation: int | None = None,
    big_endian: bool = False,
    lzw: bool = False,
    bits: int | None = None,
    more: dict[int, Sequence[int]] | None = None,
) -> Path:
    """``samples`` are (H, W) or (H, W, C); ``bits`` says how many of its bits make a sample."""
    order = ">" if big_endian else "<"
    samples = samples[..., None] if samples.ndim == 2 else samples
    height, width, count = samples.shape
    kind = {"u": UNSIGNED, "i": SIGNED, "f": FLOAT}[samples.dtype.kind]
    planes = [samples[..., channel] for channel in range(count)] if planar else [samples]
    strips = [plane.astype(plane.dtype.newbyteorder(order)).tobytes() for plane in planes]
    if bits is not None:
        width = width * samples.dtype.itemsize * 8 // bits
    strips = [_lzw(strip) for strip in strips] if lzw else strips
    tags = {
        256: (_SHORT, [width]),
        257: (_SHORT, [height]),
        258: (_SHORT, [bits or samples.dtype.itemsize * 8] * count),
        259: (_SHORT, [_LZW if lzw else _NONE]),
        262: (_SHORT, [photometric]),
        273: (_LONG, [0] * len(strips)),
        277: (_SHORT, [count]),
        278: (_SHORT, [height]),
        279: (_LONG, [len(strip) for strip in strips]),
        284: (_SHORT, [2 if planar else 1]),
        339: (_SHORT, [kind] * count),
        **({} if orientation is None else {274: (_SHORT, [orientation])}),
        **({338: (_SHORT, list(extra))} if extra else {}),
        **{tag: (_SHORT, list(values)) for tag, values in (more or {}).items()},
    }
    # the directory comes last, so that strips begin right after the header
    starts = [8 + sum(map(len, strips[:number])) for number in range(len(strips))]
    tags[273] = (_LONG, starts)
    data = b"".join(strips)
    data += b"\0" * (len(data) % 2)
    header = (b"MM" if big_endian else b"II") + struct.pack(order + "HI", 42, 8 + len(data))
    path.write_bytes(header + data + _directory(tags, 8 + len(data), order))
    return path


def _directory(tags: dict[int, tuple[int, list[int]]], place: int, order: str) -> bytes:
    behind = place + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, (kind, content) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(content)}{'H' if kind == _SHORT else 'I'}", *content)
        if len(packed) <= 4:
            stored = packed.ljust(4, b"\0")
        else:
            stored = struct.pack(order + "I", behind + len(values))
            values += packed.ljust(len(packed) + len(packed) % 2, b"\0")
        entries += struct.pack(order + "HHI", tag, kind, len(content)) + stored
    return struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 0) + values


def _lzw(data: bytes) -> bytes:
    """Nine-bit codes alone: the table is cleared before it needs ten."""
    clear, end, longest = 256, 257, 200
    codes = [
        code for start in range(0, len(data), longest) for code in (clear, *data[start : start + longest])
    ]
    bits = "".join(f"{code:09b}" for code in [*codes, end])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")
