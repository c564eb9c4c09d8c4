"""evaluate.py: scores a checkpoint or a named network on the chosen sets under the chosen protocols."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from srlab.app.checks import refuse_overrides
from srlab.app.list_values import single_values_as_lists
from srlab.app.presets import build_network, match_preset
from srlab.app.saved_config import save_config
from srlab.checkpoints import read_checkpoint
from srlab.checkpoints.shipped import shipped_file, shipped_weights
from srlab.counts.probe import find_device
from srlab.metrics.protocol import ProtocolConfig
from srlab.metrics.scoring import least_side
from srlab.models.bicubic import Bicubic
from srlab.models.network import AttentionNetwork, Network
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


@flush_subnormals()
def score_sets(cfg: DictConfig) -> None:
    """Write scores, costs and conditions as JSON, CSV and Markdown, then print the tables.

    Scores are on the disk before anything that may fail: measuring costs, scoring the next network, printing.

    Raises:
        ValueError: for both or neither of ``checkpoint`` and ``model``, or a scale that is not the
        checkpoint's.
    """
    single_values_as_lists(cfg)
    torch.set_float32_matmul_precision(cfg.matmul_precision)
    torch.manual_seed(cfg.seed)
    folder = Path(cfg.paths.run)
    evaluations: list[Evaluation] = []
    for network, conditions in _candidates(cfg):
        cfg.scale = network.scale
        if cfg.backend is not None:
            _choose_backend(network, cfg.backend)
        scored = _scored(cfg, network, conditions, folder)
        save_config(cfg, folder)
        write_evaluations([*evaluations, scored], folder)
        costs = measure_costs(network, _meter_settings(cfg))
        evaluations.append(replace(scored, conditions=replace(scored.conditions, costs=costs)))
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
        scale=network.scale,
        device=find_device(cfg.device),
        metrics=list(cfg.metrics),
        restoration=Restoration(tile=cfg.tile, exact=cfg.exact, ensemble=cfg.ensemble),
        save_images=folder / IMAGES_FOLDER if cfg.save_images else None,
        progress=True,
        absent_sets=found.absent,
    )
    label = conditions.model + ("+" if cfg.ensemble else "")
    return Evaluation(report, replace(conditions, model=label, device=report.device))


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


def _candidates(cfg: DictConfig) -> Iterator[tuple[Network, Conditions]]:
    """Each network to score, with its name, weights, preset and training."""
    if (cfg.checkpoint is None) == (cfg.model is None):
        given = "both" if cfg.checkpoint is not None else "neither"
        raise ValueError(
            f"give either checkpoint=RUN_OR_FILE or model=NAME, got {given}: a checkpoint determines its "
            "network; model=bicubic needs no weights"
        )
    if cfg.checkpoint is not None:
        yield _from_checkpoint(cfg, Path(cfg.checkpoint))
        return
    if cfg.pretrained:
        for path in _pretrained(cfg):
            yield _from_checkpoint(cfg, path)
            cfg.scale = None
        return
    for scale in _scales(cfg):
        cfg.scale = scale
        network = build_network(cfg.model)
        label = str(HydraConfig.get().runtime.choices["model"])
        if isinstance(network, Bicubic):
            yield network, Conditions(model=label, checkpoint="none", preset=label)
        else:
            log.warning(
                "model=… alone builds random weights: costs are meaningful, scores are not; give checkpoint=…"
            )
            yield network, Conditions(model=label, checkpoint=f"random weights, seed {cfg.seed}")


def _pretrained(cfg: DictConfig) -> list[Path]:
    """Files of the network's shipped weights: at ``scale``, or at all scales."""
    name, shipped = str(HydraConfig.get().runtime.choices["model"]), shipped_weights()
    if name not in shipped:
        raise ValueError(
            f"pretrained=true: srlab has no weights of {name}, only of {', '.join(shipped) or 'none'}; give "
            "checkpoint=FILE"
        )
    refuse_overrides(
        [f"model.{key}" for key in cfg.model], f"trained weights determine the network; {_CHANGES}"
    )
    path = shipped_file(name, cfg.scale) if cfg.scale is not None else None
    return [path] if path else list(shipped[name].values())


def _from_checkpoint(cfg: DictConfig, path: Path) -> tuple[Network, Conditions]:
    refuse_overrides(
        ("shift_schedule", "degradation"),
        f"a checkpoint is scored as trained, on exact bicubic LR; {_CHANGES}",
    )
    loaded = read_checkpoint(path, **OmegaConf.to_container(cfg.overrides))  # type: ignore[arg-type]
    known, scale = loaded.description, loaded.network.scale
    if cfg.scale not in (None, scale):
        raise ValueError(f"scale={cfg.scale}, but {path} holds a x{scale} network; leave scale out")
    preset = match_preset(known["model"])
    return loaded.network, Conditions(
        model=known.get("name", preset or known["network"]),
        checkpoint=known["file"] + (f", step {known['step']}" if "step" in known else ""),
        preset=preset,
        training=training_data(known.get("config")),
        seed=known.get("config", {}).get("seed"),
    )


def _scales(cfg: DictConfig) -> tuple[int, ...]:
    if cfg.scale is not None:
        return (cfg.scale,)
    if cfg.model._target_.endswith(".Bicubic"):
        return _PAPER_SCALES
    raise ValueError("model=… needs scale=2, 3 or 4 (only bicubic runs them all when scale is left out)")
