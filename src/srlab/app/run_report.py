"""What a finished run shows and leaves: scores beside bicubic's, a picture, a summary to compare runs by."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf

from srlab.app.presets import list_recipes, match_preset
from srlab.atomic_files import atomic_write
from srlab.checkpoints import read_checkpoint
from srlab.data.datamodule import SuperResolutionData
from srlab.extensions.lab.costs import Costs
from srlab.extensions.wandb.logger import TolerantWandbLogger
from srlab.extensions.wandb.result import log_result
from srlab.metrics.protocol import ProtocolConfig, protocol_label
from srlab.models.bicubic import Bicubic
from srlab.models.network import Network
from srlab.tasks.comparison import Example, comparison_picture
from srlab.tasks.conditions import describe_conditions
from srlab.tasks.cost_record import CostRecord
from srlab.tasks.ending import Ending
from srlab.tasks.evaluation import EvaluationReport, evaluate, restore, saved_image
from srlab.tasks.published import Difference, difference_table, differences, training_data
from srlab.tasks.super_resolution import MONITOR, SuperResolutionTask, to_unit_range
from srlab.terminal.command_lines import command
from srlab.terminal.tables import PlainTable, plain_console

__all__ = ["RunReport"]

_IMAGES = "images"  # folder of restored images below the run's
_SHOWN_IMAGES = 3  # rows of the picture
_LISTED_IMAGES = 20  # more are shown by their means alone; summary.json and evaluate.py have each


@dataclass(frozen=True)
class RunReport:
    """The best checkpoint of a run, scored on the validation sets beside bicubic interpolation."""

    cfg: DictConfig
    trainer: Trainer
    step: int
    kept: str
    """Which of the run's checkpoints is scored, ``best`` or ``last``."""
    network: Network
    protocol: ProtocolConfig
    data: SuperResolutionData
    scores: EvaluationReport
    bicubic: EvaluationReport
    costs: Costs
    preset: str | None
    ending: Ending
    published: tuple[Difference, ...]
    """From the papers' scores of the same network, where the validation sets are ones that papers score."""

    @classmethod
    def of(
        cls,
        cfg: DictConfig,
        trainer: Trainer,
        task: SuperResolutionTask,
        data: SuperResolutionData,
        *,
        ending: Ending,
    ) -> "RunReport":
        """Load best.ckpt, or last.ckpt where none was kept, and score it on the device of the training."""
        checkpoints = Path(cfg.paths.run) / "checkpoints"
        kept = next(name for name in ("best", "last") if (checkpoints / f"{name}.ckpt").exists())
        loaded = read_checkpoint(checkpoints / f"{kept}.ckpt")
        sets = data.evaluation_sets().sets
        costs = next(callback.costs for callback in trainer.callbacks if isinstance(callback, CostRecord))  # type: ignore[attr-defined]
        assert costs is not None
        device = trainer.strategy.root_device

        def scored(network: Network, images: Path | None) -> EvaluationReport:
            return evaluate(
                network,
                sets,
                [task.protocol],
                scale=network.scale,
                device=device,
                save_images=images,
                progress=False,
                most_saved=cfg.saved_images,
            )

        scores = scored(loaded.network, Path(cfg.paths.run) / _IMAGES)
        preset = match_preset(loaded.description["model"])
        return cls(
            cfg=cfg,
            trainer=trainer,
            step=loaded.description["step"],
            kept=kept,
            ending=ending,
            network=loaded.network,
            protocol=task.protocol,
            data=data,
            scores=scores,
            bicubic=scored(Bicubic(scale=cfg.scale), None),
            costs=costs,
            preset=preset,
            published=differences(scores, preset, training=training_data(loaded.description.get("config"))),
        )

    @property
    def best_psnr(self) -> float:
        """Mean over the sets of their mean PSNR in dB."""
        return sum(mean.psnr for mean in self.scores.means) / len(self.scores.means)

    def publish(self) -> None:
        """Write picture and summary, hand both to W&B, print the tables and what to do next."""
        folder = Path(self.cfg.paths.run)
        picture = folder / "comparison.png"
        comparison_picture(self._examples()).save(picture)
        summary = self._summary()
        for logger in self.trainer.loggers:
            if isinstance(logger, TolerantWandbLogger):
                log_result(logger, summary, folder=folder, picture=picture)
        # last: who finds a summary finds a finished run
        with atomic_write(folder / "summary.json") as partial:
            partial.write_text(json.dumps(summary, indent=1) + "\n")
        console = plain_console(unbounded_width=120)
        published = [difference_table(self.published)] if self.published else []
        for table in (self._image_table(), self._cost_table(), *published):
            console.print(table)
        console.print(self._closing_words(folder), soft_wrap=True)

    def _summary(self) -> dict[str, Any]:
        name = self.cfg.paths.name
        conditions = describe_conditions(
            model=name,
            checkpoint=f"checkpoints/{self.kept}.ckpt, step {self.step}",
            costs=self.costs,
            preset=self.preset,
            device=self.scores.device,
            seed=self.cfg.seed,
        )
        return {
            "name": name,
            "step": self.step,
            "steps": self.ending.steps,
            "planned_steps": self.ending.planned,
            "ended_by": self.ending.cause,
            MONITOR: self.best_psnr,
            "scores": [asdict(mean) for mean in self.scores.means],
            "bicubic": [asdict(mean) for mean in self.bicubic.means],
            "published": [asdict(difference) for difference in self.published],
            "protocol": {key: getattr(value, "name", value) for key, value in asdict(self.protocol).items()},
            "conditions": asdict(conditions),
            "images": self._image_entries(),
        }

    def _image_entries(self) -> list[dict[str, Any]]:
        """Of each validation image: scores beside bicubic's, its source, its restoration if that is saved."""
        sources = {
            (dataset.name, name): path
            for dataset in self.data.evaluation_sets().sets
            for name, path in dataset.hr_paths.items()
        }
        entries = []
        for number, (ours, theirs) in enumerate(zip(self.scores.images, self.bicubic.images, strict=True)):
            restored = Path(_IMAGES) / saved_image(ours.set_name, ours.name, self.cfg.scale)
            entries.append(
                {
                    "set_name": ours.set_name,
                    "name": ours.name,
                    "psnr": ours.psnr,
                    "ssim": ours.ssim,
                    "bicubic_psnr": theirs.psnr,
                    "bicubic_ssim": theirs.ssim,
                    "hr_file": str(sources[ours.set_name, ours.name]),
                    "restored": restored.as_posix() if number < self.cfg.saved_images else None,
                }
            )
        return entries

    def _image_table(self) -> PlainTable:
        table = PlainTable(
            ("image", "bicubic", "SSIM", self.cfg.paths.name, "SSIM", "gain"),
            text=("image",),
            title=f"held-out images, {protocol_label(self.protocol)}: PSNR (dB) and SSIM at step "
            f"{self.step}, the {self.kept}",
        )
        for row in self._rows():
            name, *scores = row
            shown = [f"{value:.{digits}f}" for value, digits in zip(scores, (2, 4, 2, 4), strict=True)]
            table.add_row(name, *shown, f"{scores[2] - scores[0]:+.2f}")
        return table

    def _rows(self) -> list[tuple[str, float, float, float, float]]:
        """Images, unless there are many, then set means."""
        pairs = zip(self.bicubic.images, self.scores.images, strict=True)
        images = [
            (f"{ours.set_name}/{ours.name}", theirs.psnr, theirs.ssim, ours.psnr, ours.ssim)
            for theirs, ours in pairs
        ]
        means = [
            (f"{ours.set_name}: mean of {ours.images}", theirs.psnr, theirs.ssim, ours.psnr, ours.ssim)
            for theirs, ours in zip(self.bicubic.means, self.scores.means, strict=True)
        ]
        return means if len(images) > _LISTED_IMAGES else images + means

    def _cost_table(self) -> PlainTable:
        height, width = self.costs.output_size
        latency, memory = self.costs.latency, self.costs.memory
        table = PlainTable(
            ("params", "trainable", "mult-adds (G)", "latency ms (p10 to p90)", "peak memory (MiB)"),
            text=(),
            title=f"multiply-adds of 1280x720; latency and memory of one {width}x{height} image on "
            f"{latency.device}",
            caption=latency.remark,
        )
        table.add_row(
            f"{self.costs.parameters.all:,}",
            f"{self.costs.parameters.trainable:,}",
            f"{self.costs.multiply_adds / 1e9:.2f}",
            latency.shown,
            "–" if memory.peak_mib is None else f"{memory.peak_mib:.0f}",
        )
        return table

    def _closing_words(self, folder: Path) -> str:
        evaluation = command(
            ("python", "evaluate.py"),
            {"checkpoint": folder, "data": _data_name(self.cfg), **_data_roots(self.cfg)},
        )
        lines = [
            f"\neverything is in  {folder}",
            "  comparison.png (LR bicubic SR HR) images/ summary.json metrics.csv config.yaml checkpoints/",
            "next:",
            f"  {evaluation}",
            *_next_runs(self.preset, self.cfg.scale),
        ]
        loggers = [logger for logger in self.trainer.loggers if isinstance(logger, TolerantWandbLogger)]
        lines += [f"  {logger.next_words}" for logger in loggers if logger.next_words]
        return "\n".join(lines)

    @torch.inference_mode()
    def _examples(self) -> Sequence[Example]:
        device = self.trainer.strategy.root_device
        bicubic = Bicubic(scale=self.cfg.scale)
        network = self.network.to(device).eval()
        samples = (
            dataset[index] for dataset in self.data.evaluation_sets().sets for index in range(len(dataset))
        )
        psnr = {(record.set_name, record.name): record.psnr for record in self.scores.images}
        reference = {(record.set_name, record.name): record.psnr for record in self.bicubic.images}
        examples = []
        for sample in islice(samples, _SHOWN_IMAGES):
            key = sample["set_name"], sample["name"]
            lr_image = to_unit_range(sample["lr_image"])
            examples.append(
                Example(
                    name=sample["name"],
                    lr_image=lr_image,
                    hr_image=to_unit_range(sample["hr_image"]).expand(3, -1, -1),
                    restorations=[
                        (f"bicubic {reference[key]:.2f} dB", bicubic(lr_image[None])[0]),
                        (
                            f"{self.cfg.paths.name} {psnr[key]:.2f} dB",
                            restore(network, lr_image[None].to(device), self.protocol.padding)[0].cpu(),
                        ),
                    ],
                )
            )
        return examples


def _data_name(cfg: DictConfig) -> str:
    """What ``data=…`` chooses the data of this run: their functions are named as their files."""
    return cfg.data._target_.rpartition(".")[-1]


def _data_roots(cfg: DictConfig) -> dict[str, Any]:
    """Overrides that say where a user's own data lie."""
    if _data_name(cfg) not in ("folder", "images"):
        return {}
    data = OmegaConf.to_container(cfg.data, resolve=True)
    assert isinstance(data, dict)
    keys = ("root", "validation_root")
    return {f"data.{key}": data[key] for key in keys if data.get(key) is not None}


def _next_runs(preset: str | None, scale: int) -> list[str]:
    """Commands that go on from here: the published network after the demo, the recipe of a published one."""
    if preset == "elan_demo":
        return [
            "  python train.py model=elan_light            # the paper's network, same data",
            "  python train.py experiment=elan_light_x4    # the paper's recipe; needs DIV2K",
        ]
    if preset is None or scale not in list_recipes(preset):
        return []
    return [f"  python train.py experiment={preset}_x{scale}    # the paper's recipe; needs DIV2K"]
