"""Finds the preset of an option file's network, and the arguments in which it differs."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from srlab.app.launch import configuration_folder
from srlab.app.presets import list_models
from srlab.extensions.import_options.reading import Options


@dataclass(frozen=True)
class Counterpart:
    """Presets of one official class, the likeliest first, and the official names of our arguments."""

    presets: Sequence[str]
    names: Mapping[str, str] = field(default_factory=dict)


_SCALE = ("upscale", "scale", "upscaling_factor")
# Arguments that must be as here, or follow from what is trained.
_COLOURS = ("in_chans", "num_in_ch", "num_out_ch", "colors")
_NO_EFFECT = {
    "img_size": "any image size is trained",
    "rgb_mean": "DIV2K's mean is built in",
    "patch_size": "1, always",
    "attn_type": "model.backend chooses how attention is computed",
    "deployment": "evaluation fuses what can be fused",
    "use_checkpoint": "activation_checkpointing=true does that",
}

_SWIN = {
    "embed_dim": "dim",
    "depths": "depths",
    "num_heads": "num_heads",
    "window_size": "window_size",
    "mlp_ratio": "mlp_ratio",
    "img_range": "value_range",
    "drop_path_rate": "drop_path",
    "upsampler": "head",
    "resi_connection": "connection",
}
_HIT = {
    **{key: _SWIN[key] for key in ("embed_dim", "depths", "num_heads", "img_range", "upsampler")},
    "expansion_factor": "mlp_ratio",
    "mlp_ratio": "mlp_ratio",
    "resi_connection": "connection",
    "window_sizes": "window_sizes",
}
_ESC = {
    "dim": "dim",
    "pdim": "mixed_dim",
    "kernel_size": "kernel_side",
    "n_blocks": "depth",
    "conv_blocks": "steps_per_block",
    "window_size": "window_size",
    "num_heads": "num_heads",
    "exp_ratio": "step_ffn_ratio",
}
_CNN = {"num_feat": "dim", "num_block": "depth", "img_range": "value_range"}

#: By the type's name in lower case, without underscores.
COUNTERPARTS = {
    "swinir": Counterpart(("swinir_light", "swinir"), _SWIN),
    "swinirs": Counterpart(("swinir_light",), _SWIN),
    "swinirm": Counterpart(("swinir",), _SWIN),
    "esc": Counterpart(("esc", "esc_light"), {**_ESC, "use_ln": "normed_steps"}),
    "esclight": Counterpart(("esc_light",), _ESC),
    "escfp": Counterpart(("esc_fp",), _ESC),
    "escreal": Counterpart(("esc_real",), _ESC),
    "elan": Counterpart(("elan",)),
    "elanlight": Counterpart(("elan_light",)),
    "hitsrf": Counterpart(("hit_srf",), _HIT),
    "hitsng": Counterpart(("hit_sng",), _HIT),
    "hitsir": Counterpart(("hit_sir",), _HIT),
    "edsr": Counterpart(("edsr_baseline", "edsr"), {**_CNN, "res_scale": "residual_scale"}),
    "rcan": Counterpart(("rcan",), {**_CNN, "num_group": "num_groups", "squeeze_factor": "squeeze_factor"}),
    "msrresnet": Counterpart(("msrresnet",), {"num_feat": "dim", "num_block": "depth"}),
}


def import_network(options: Options, prefix: str, name: str, scale: int) -> None:
    """Set ``model`` and the arguments in which it differs from the preset.

    Args:
        options: the file.
        prefix: of the network's options, ``network_g`` or ``netG``.
        name: its type.
        scale: HR side / LR side, of the whole file.

    Raises:
        ValueError: there is no such network here, or its scale or colours differ.
    """
    counterpart = COUNTERPARTS.get(name.lower().replace("_", ""))
    if counterpart is None:
        raise ValueError(
            f"{prefix}: there is no network {name!r} here; there are {', '.join(list_models())} "
            "(to add one: docs/extending.md)"
        )
    given = _taken(options, prefix, scale)
    for official in given.keys() - counterpart.names.keys():
        options.leave(f"{prefix}.{official}", given.pop(official))
    wanted = {counterpart.names[official]: value for official, value in given.items()}
    presets = {preset: _arguments(preset, scale) for preset in counterpart.presets}
    preset = min(presets, key=lambda each: len(_differences(wanted, presets[each])))
    options.overrides["model"] = preset
    for argument, value in _differences(wanted, presets[preset]).items():
        options.overrides[f"model.{argument}"] = value
    absent = sorted(set(counterpart.names.values()) - wanted.keys() & presets[preset].keys() - wanted.keys())
    if wanted and absent:
        options.notes.append(f"{prefix} does not say {', '.join(absent)}: as in model={preset}")


def _taken(options: Options, prefix: str, scale: int) -> dict[str, Any]:
    """The arguments that describe the function, once scale, colours and the like are checked."""
    given = options.below(prefix)
    for key in given:
        options.take(f"{prefix}.{key}")
    for key in _SCALE:
        if (value := given.pop(key, scale)) != scale:
            raise ValueError(f"{prefix}.{key}={value}, but scale={scale}: network and images have one scale")
    for key in _COLOURS:
        if (value := given.pop(key, 3)) != 3:
            raise ValueError(f"{prefix}.{key}={value}: networks here have three colours")
    for key in _NO_EFFECT.keys() & given.keys():
        options.notes.append(f"{prefix}.{key}={given.pop(key)}: {_NO_EFFECT[key]}")
    base, ratios = given.pop("base_win_size", None), given.pop("hier_win_ratios", None)
    if base is not None and ratios is not None:
        given["window_sizes"] = [int(base[0] * ratio) for ratio in ratios]
    return given


@functools.cache
def _arguments(preset: str, scale: int) -> dict[str, Any]:
    with initialize_config_dir(config_dir=str(configuration_folder()), version_base="1.3", job_name="srlab"):
        model = compose("network", overrides=[f"model={preset}", f"scale={scale}"]).model
    arguments = OmegaConf.to_container(model, resolve=True)
    assert isinstance(arguments, dict)
    return {str(key): value for key, value in arguments.items()}


def _differences(wanted: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wanted.items() if preset.get(name) != value}
