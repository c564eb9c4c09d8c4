"""evaluate.py: scores a checkpoint or a named network on the chosen sets under the chosen protocols."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from srlab.app.checks import check_complete, refuse_overrides
from srlab.app.list_values import single_values_as_lists
from srlab.app.presets import build_network, match_preset
from srlab.app.saved_config import save_config
from srlab.checkpoints import LoadedCheckpoint, read_checkpoint
from srlab.checkpoints.shipped import shipped_file, shipped_weights
from srlab.counts.probe import find_device
from srlab.metrics.protocol import ProtocolConfig
from srlab.metrics.registry import ready_metrics
from srlab.metrics.scoring import least_side
from srlab.models.any_scale import AnyScale
from srlab.models.bicubic import Bicubic
from srlab.models.network import AttentionNetwork, Network
from srlab.ops.axis import checked_scales
from srlab.ops.subnormals import flush_subnormals
from srlab.runs.contract import CONFIG_FILE, IMAGES_FOLDER
from srlab.tasks.columns import MeterSettings, absent_columns
from srlab.tasks.conditions import Conditions, training_data
from srlab.tasks.costs import measure_costs
from srlab.tasks.evaluation import evaluate
from srlab.tasks.report_tables import Evaluation, display_tables, write_evaluations
from srlab.tasks.restoration import Restoration
from srlab.terminal.tables import plain_console

log = logging.getLogger(__name__)

_PAPER_SCALES = (2, 3, 4)
_CHANGES = "+overrides.KEY=VALUE changes it"

# A network, what is known of it, and the scale that it is scored at.
_Candidate = tuple[Network, Conditions, float]


@flush_subnormals()
def score_sets(cfg: DictConfig) -> None:
    """Write scores, costs and conditions as JSON, CSV and Markdown, then print the tables.

    Scores are on the disk before anything that may fail: measuring costs, scoring the next network, printing.

    Raises:
        ValueError: for both or neither of ``checkpoint`` and ``model``, an unknown metric, or another scale.
    """
    check_complete(cfg, HydraConfig.get().runtime.choices)
    single_values_as_lists(cfg)
    ready_metrics(cfg.metrics)
    torch.set_float32_matmul_precision(cfg.matmul_precision)
    torch.manual_seed(cfg.seed)
    folder = Path(cfg.paths.run)
    evaluations: list[Evaluation] = []
    asked = asked_scales(cfg.scale)
    for network, conditions, scale in _candidates(cfg, asked):
        cfg.scale = scale
        if cfg.backend is not None:
            _choose_backend(network, cfg.backend)
        scored = _scored(cfg, network, conditions, folder)
        cfg.scale = list(asked) if len(asked) > 1 else scale
        save_config(cfg, folder)
        write_evaluations([*evaluations, scored], folder)
        evaluations.append(_with_costs(scored, network, cfg))
    if (absent := absent_columns()) is not None:
        log.info(absent)
    written = [*write_evaluations(evaluations, folder), folder / CONFIG_FILE]
    console = plain_console(unbounded_width=120)
    for table in display_tables(evaluations):
        console.print(table)
    for name in evaluations[0].report.absent_sets:
        console.print(f"absent: {name}", soft_wrap=True)
    console.print()
    for path in written:
        console.print(f"wrote {path}", soft_wrap=True)


def _scored(cfg: DictConfig, network: Network, conditions: Conditions, folder: Path) -> Evaluation:
    """Scores on the data of ``cfg``; costs are not measured."""
    data = instantiate(cfg.data)
    protocols: Sequence[ProtocolConfig] = [OmegaConf.to_object(node) for node in cfg.protocol.values()]  # type: ignore[misc]
    data.least_scored_side = least_side(protocols, cfg.metrics)
    found = data.evaluation_sets()
    report = evaluate(
        network,
        found.sets,
        protocols,
        scale=cfg.scale,
        device=find_device(cfg.device),
        metrics=list(cfg.metrics),
        restoration=Restoration(tile=cfg.tile, exact=cfg.exact, ensemble=cfg.ensemble),
        save_images=folder / IMAGES_FOLDER if cfg.save_images else None,
        progress=True,
        absent_sets=found.absent,
    )
    label = conditions.model + ("+" if cfg.ensemble else "")
    return Evaluation(report, replace(conditions, model=label, device=report.device))


def _with_costs(scored: Evaluation, network: Network, cfg: DictConfig) -> Evaluation:
    """Costs are counted for a whole scale, at which an image becomes 1280x720."""
    if scored.report.scale != network.scale:
        log.info("costs are counted at whole scales: left out at x%g", scored.report.scale)
        return scored
    costs = measure_costs(network, _meter_settings(cfg))
    return replace(scored, conditions=replace(scored.conditions, costs=costs))


def _meter_settings(cfg: DictConfig) -> MeterSettings:
    return MeterSettings(
        output_size=tuple(cfg.latency.output_size),
        device=find_device(cfg.device),
        warmup=cfg.latency.warmup,
        repeats=cfg.latency.repeats,
    )


def _choose_backend(network: Network, backend: str) -> None:
    if not isinstance(network, AttentionNetwork):
        kind = type(network).__name__
        raise ValueError(f"backend={backend}: {kind} has no attention and one implementation")
    network.use_backend(backend)


def _candidates(cfg: DictConfig, scales: Sequence[float]) -> Iterator[_Candidate]:
    """Each network to score, with its name, weights, preset and training."""
    if (cfg.checkpoint is None) == (cfg.model is None):
        given = "both" if cfg.checkpoint is not None else "neither"
        raise ValueError(
            f"give either checkpoint=RUN_OR_FILE or model=NAME, got {given}: a checkpoint determines its "
            "network; model=bicubic needs no weights"
        )
    if cfg.checkpoint is not None:
        yield from _from_checkpoint(cfg, Path(cfg.checkpoint), scales)
    elif cfg.pretrained:
        for path, own in _pretrained(cfg, scales):
            cfg.scale = None
            yield from _from_checkpoint(cfg, path, own)
    else:
        yield from _from_preset(cfg, scales or _default_scales(cfg))


def _from_preset(cfg: DictConfig, scales: Sequence[float]) -> Iterator[_Candidate]:
    label = str(HydraConfig.get().runtime.choices["model"])
    for scale in scales:
        cfg.scale = math.ceil(scale)
        network = build_network(cfg.model)
        if isinstance(network, Bicubic):
            yield network, Conditions(model=label, checkpoint="none", preset=label), scale
            continue
        log.warning(
            "model=… alone builds random weights: costs are meaningful, scores are not; give checkpoint=…"
        )
        weights = f"random weights, seed {cfg.seed}"
        yield network, Conditions(model=label, checkpoint=weights), scale


def _pretrained(cfg: DictConfig, scales: Sequence[float]) -> list[tuple[Path, Sequence[float]]]:
    """Files of the network's shipped weights, with the scales to score: those asked for, or all there are."""
    name, shipped = str(HydraConfig.get().runtime.choices["model"]), shipped_weights()
    if name not in shipped:
        raise ValueError(
            f"pretrained=true: srlab has no weights of {name}, only of {', '.join(shipped) or 'none'}; give "
            "checkpoint=FILE"
        )
    refuse_overrides(
        [f"model.{key}" for key in cfg.model], f"trained weights determine the network; {_CHANGES}"
    )
    if not scales:
        return [(path, ()) for path in shipped[name].values()]
    found = [(shipped_file(name, math.ceil(scale)), (scale,)) for scale in scales]
    return [(path, own) for path, own in found if path]


def _from_checkpoint(cfg: DictConfig, path: Path, scales: Sequence[float]) -> Iterator[_Candidate]:
    refuse_overrides(
        ("shift_schedule", "degradation"),
        f"a checkpoint is scored as trained, on exact bicubic LR; {_CHANGES}",
    )
    overrides: Any = OmegaConf.to_container(cfg.overrides)
    loaded = read_checkpoint(path, **overrides)
    own, has_any = loaded.network.scale, isinstance(loaded.network, AnyScale)
    for scale in scales:
        if not has_any and scale == math.ceil(scale) != own:
            raise ValueError(f"scale={scale}, but {path} holds a x{own} network; leave scale out")
    for scale in scales or (own,):
        if has_any and loaded.network.scale != math.ceil(scale):
            loaded = read_checkpoint(path, **{**overrides, "scale": math.ceil(scale)})
        yield loaded.network, _conditions(loaded), scale


def _conditions(loaded: LoadedCheckpoint) -> Conditions:
    known = loaded.description
    preset = match_preset(known["model"])
    return Conditions(
        model=known.get("name", preset or known["network"]),
        checkpoint=known["file"] + (f", step {known['step']}" if "step" in known else ""),
        preset=preset,
        training=training_data(known.get("config")),
        seed=known.get("config", {}).get("seed"),
        trained_range=_trained_range(loaded.network, known),
    )


def _trained_range(network: Network, known: Mapping[str, Any]) -> tuple[float, float] | None:
    """Least and largest scale that a network of any scale was trained at."""
    if not isinstance(network, AnyScale):
        return None
    if known["layout"] == "official":
        return network.published_range
    config = known.get("config") or {}
    trained = (config.get("data") or {}).get("scale_range") or 2 * [config.get("scale")]
    low, high = trained
    return None if low is None or high is None else (float(low), float(high))


def asked_scales(scale: Any) -> tuple[float, ...]:
    """``scale=…``, a number or a list, as :func:`srlab.ops.axis.checked_scales`; none for None."""
    if scale is None:
        return ()
    return checked_scales("scale", scale if isinstance(scale, ListConfig) else [scale])


def _default_scales(cfg: DictConfig) -> tuple[int, ...]:
    if cfg.model._target_.endswith(".Bicubic"):
        return _PAPER_SCALES
    raise ValueError("model=… needs scale=2, 3 or 4 (only bicubic runs them all when scale is left out)")
