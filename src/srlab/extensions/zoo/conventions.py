"""Costs under the conventions of papers, which differ for the same network.

``official``      ours: convolutions and matrix products of the official formulation for an output of
                  1280x720, padding included; all parameters.
``fvcore``        fvcore 0.1.5's FlopCountAnalysis, the column of ESC's and HiT-SR's tables: ``official`` plus
                  normalisation, pooling and interpolation, in evaluation mode.
``swinir_paper``  SwinIR's own figure: its class's ``flops()`` for 1024x720, and no position bias tables.
``elan_paper``    ELAN's printed table: no padding, no shift convolutions, trainable parameters.
``ntire``         the NTIRE challenges on efficient x4 super-resolution: fvcore's count for 256x256 inputs.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from srlab.app.presets import create_model, published_scales
from srlab.counts.complexity import (
    OUTPUT_SIZE,
    activations,
    count_parameters,
    lr_size_for,
    multiply_adds,
    official_calls,
)
from srlab.counts.operations import Call
from srlab.extensions.literature.records import sources
from srlab.extensions.zoo.networks import known_presets
from srlab.layers.upsample import DirectHead
from srlab.models.elan import ELAN, GroupAttention
from srlab.models.network import Network, require_integer
from srlab.models.shared_attention import LocalFeatures
from srlab.models.swinir import SwinBlock, SwinIR
from srlab.terminal.tables import PlainTable

_NTIRE_SCALE, _NTIRE_LR_SIDE = 4, 256

# fvcore's estimates for each element: normalisation with statistics of the image 5 (4 without gain and bias),
# batch normalisation with kept statistics 2 (or 1), bilinear reading 4, nearest reading and pooling 1.
_PLACE_OF_GAIN = {"native_layer_norm": 2, "native_group_norm": 1, "native_batch_norm": 1}  # arguments
_READINGS = {"upsample_bilinear2d": 4, "grid_sampler_2d": 4, "upsample_nearest2d": 1}

_ELAN_CONFIG_WINDOWS, _ELAN_CLASS_WINDOWS = (4, 8, 16), (4, 8, 12)

_SWINIR_OUTPUT_SIZE = (1024, 720)  # height and width, in its script's words


@dataclass(frozen=True)
class ConventionReport:
    """A network's costs under one convention, and what is particular to it.

    Attributes:
        output_size: height and width of the enlarged image that they are for, padding aside.
        activations: elements of the results of convolutions, where the convention reports them.
    """

    parameters: int
    multiply_adds: int
    note: str
    output_size: tuple[int, int] = OUTPUT_SIZE
    activations: int | None = None


class UndefinedConventionError(ValueError):
    """The convention is not defined for the network."""


def cost_under(network: Network, convention: str) -> ConventionReport:
    """Parameters and multiply-adds of ``network`` as the papers of ``convention`` count them.

    Raises:
        UndefinedConventionError: the convention is not defined for this network.
        ValueError: no such convention.
    """
    if convention not in _COUNTS:
        raise ValueError(f"unknown convention {convention!r}; choose one of {', '.join(CONVENTIONS)}")
    return _COUNTS[convention](network)


def convention_table(names: Sequence[str] | None, *, convention: str, scale: int) -> PlainTable:
    """Sizes and multiply-adds as the papers of one convention count them, next to what papers print.

    Args:
        names: presets; None: all that the convention is defined for and that upsample by ``scale``.
        convention: see :mod:`srlab.extensions.zoo.conventions`.
        scale: of both sides.

    Raises:
        ValueError: an unknown preset or convention, or one of ``names`` that it is not defined for.
    """
    require_integer("scale", scale)
    notes, rows = [], []
    for name in known_presets(names):
        if not names and scale not in published_scales(name):
            continue
        try:
            with torch.device("meta"):
                report = cost_under(create_model(name, scale=scale), convention)
        except UndefinedConventionError:
            if names:
                raise
            continue
        notes.append(report.note)
        rows.append(
            {
                "model": name,
                "params K": f"{report.parameters / 1e3:,.0f}",
                "mult-adds G": f"{report.multiply_adds / 1e9:.2f}",
                "activations M": report.activations and f"{report.activations / 1e6:.1f}",
                "output": "{1}x{0}".format(*report.output_size),
                "printed G": _printed(name, scale),
            }
        )
    if not rows:
        raise ValueError(f"convention {convention} is defined for no preset at scale {scale}")
    title, caption = f"x{scale}, counted as {convention}", "\n".join(dict.fromkeys(notes))
    return PlainTable(rows, text=("model", "printed G"), title=title, caption=caption)


def _printed(name: str, scale: int) -> str | None:
    """Every figure that a source prints for the network, whatever it counted."""
    figures = defaultdict(list)
    for source in sources():
        for row in source.rows:
            if (row.network, row.scale) == (name, scale) and row.multiply_adds_g is not None:
                figures[f"{row.multiply_adds_g:g}"].append(source.name)
    shown = (f"{figure} {', '.join(dict.fromkeys(names))}" for figure, names in figures.items())
    return "; ".join(shown) or None


def _fvcore(network: Network) -> ConventionReport:
    return ConventionReport(
        count_parameters(network).all,
        _fvcore_multiply_adds(network, OUTPUT_SIZE),
        "As fvcore 0.1.5 counts in evaluation mode. ESC's paper prints 54.1 G for ELAN-light x4, where "
        "this gives 53.7: it has batch normalisation at 5 for each element, as fvcore does in training mode.",
    )


def _ntire(network: Network) -> ConventionReport:
    if network.scale != _NTIRE_SCALE:
        raise _undefined("ntire", network, f"networks of scale {_NTIRE_SCALE}")
    side = _NTIRE_LR_SIDE * _NTIRE_SCALE
    return ConventionReport(
        parameters=count_parameters(network).all,
        multiply_adds=_fvcore_multiply_adds(network, (side, side)),
        output_size=(side, side),
        activations=activations(network, (side, side), convolutions_only=True),
        note=f"For an input of {_NTIRE_LR_SIDE}x{_NTIRE_LR_SIDE}. "
        "Activations count all convolutions, the challenge's hook only those that are modules.",
    )


def _swinir_paper(network: Network) -> ConventionReport:
    """The official class's ``flops()``, for the size that its script builds the network with."""
    if not (isinstance(network, SwinIR) and isinstance(network.head, DirectHead)):
        # flops() of the other heads does not exist: the official method fails
        raise _undefined("swinir_paper", network, "SwinIR with the head pixelshuffledirect (swinir_light)")
    side, dim = network.size_multiple, network.conv_first.out_channels
    pixels = math.prod((length // network.scale // side + 1) * side for length in _SWINIR_OUTPUT_SIZE)
    blocks = [module for module in network.modules() if isinstance(module, SwinBlock)]
    tables = sum(block.attention.position_bias.table.numel() for block in blocks)
    per_pixel = 27 * dim + dim  # first convolution, its normalisation
    for block in blocks:
        attention, mlp = 4 * dim**2 + 2 * side**2 * dim, 2 * dim * block.mlp.expand.out_features
        per_pixel += attention + mlp + 2 * dim
    per_pixel += 9 * dim**2 * len(network.groups)
    per_pixel += 3 * dim**2  # the convolution after the body, really 9 dim^2
    per_pixel += 27 * dim  # up-sampling, really 27 dim scale^2
    return ConventionReport(
        parameters=count_parameters(network).all - tables,
        multiply_adds=pixels * per_pixel,
        output_size=_SWINIR_OUTPUT_SIZE,
        note="The official class's own method, for 1024x720: not comparable with figures for 1280x720. It "
        "takes the convolution after the body for a third of what it is, and forgets the scale in the head.",
    )


def _elan_paper(network: Network) -> ConventionReport:
    """Reading (a): every attention product, with the windows that the class has by default."""
    if not isinstance(network, ELAN):
        raise _undefined("elan_paper", network, "ELAN")
    modules = list(network.modules())
    attentions = [module for module in modules if isinstance(module, GroupAttention)]
    dim, windows = network.head.out_channels, attentions[0].window_sizes
    if windows == _ELAN_CONFIG_WINDOWS:
        windows = _ELAN_CLASS_WINDOWS
    products = sum(side**2 for side in windows) * dim // len(windows)
    per_pixel = 27 * dim + 27 * network.scale**2 * dim
    for module in modules:
        if isinstance(module, LocalFeatures):
            per_pixel += module.expand.mix.weight.numel() + module.contract.mix.weight.numel()
    for module in attentions:
        per_pixel += (2 + module.computes_maps) * dim**2 + (1 + module.computes_maps) * products
    sides = ", ".join(map(str, windows))
    return ConventionReport(
        parameters=count_parameters(network).trainable,
        multiply_adds=math.prod(lr_size_for(network, OUTPUT_SIZE)) * per_pixel,
        note=f"Without padding, shift convolutions and normalisation, with windows {sides}. ELAN-light's "
        "printed figures also follow from another reading (b): windows 4, 8, 16 with one of the two products "
        "left out where maps are computed; the paper does not say which. ELAN's own row does not follow.",
    )


_COUNTS: dict[str, Callable[[Network], ConventionReport]] = {
    "official": lambda network: ConventionReport(
        count_parameters(network).all,
        multiply_adds(network),
        "Convolutions and matrix products of the official formulation, padding included.",
    ),
    "fvcore": _fvcore,
    "swinir_paper": _swinir_paper,
    "elan_paper": _elan_paper,
    "ntire": _ntire,
}

#: Names that :func:`cost_under` takes.
CONVENTIONS = tuple(_COUNTS)


def _undefined(convention: str, network: Network, defined_for: str) -> UndefinedConventionError:
    return UndefinedConventionError(
        f"convention {convention} is defined for {defined_for}, not for this {type(network).__name__} of "
        f"scale {network.scale}; official and fvcore are defined for every network"
    )


def _fvcore_multiply_adds(network: Network, output_size: tuple[int, int]) -> int:
    extra = sum(map(_fvcore_extra, official_calls(network, output_size)))
    return multiply_adds(network, output_size) + extra


def _fvcore_extra(call: Call) -> int:
    """What fvcore 0.1.5 counts beside convolutions and matrix products."""
    name, arguments = call.operation.removeprefix("aten."), list(call.arguments)
    if name in _PLACE_OF_GAIN:
        # instance normalisation arrives as batch normalisation in training mode
        keeps_statistics = name == "native_batch_norm" and not arguments[5]
        has_gain = arguments[_PLACE_OF_GAIN[name]] is not None
        return arguments[0].numel() * ((1 if keeps_statistics else 4) + has_gain)
    if name in _READINGS:
        return call.result.numel() * _READINGS[name]
    # a mean over both axes of the maps is what adaptive pooling to one pixel arrives as
    is_mean = name == "mean" and len(arguments) > 1 and len(arguments[0]) == 4
    is_global_pooling = is_mean and {axis % 4 for axis in arguments[1]} in ({2, 3}, {1, 2})
    return arguments[0].numel() if name == "_adaptive_avg_pool2d" or is_global_pooling else 0
