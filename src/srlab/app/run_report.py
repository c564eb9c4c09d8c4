"""The result of a finished run: scores next to bicubic's, a picture, a summary."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from srlab.app.launch import program
from srlab.app.presets import match_preset
from srlab.app.resolve import RunConfig
from srlab.checkpoints import read_checkpoint
from srlab.data.datamodule import SuperResolutionData
from srlab.data.evaluation import EvaluationSet
from srlab.metrics.protocol import ProtocolConfig, at_scale, protocol_label
from srlab.metrics.registry import find_metric
from srlab.models.bicubic import Bicubic
from srlab.models.network import Network
from srlab.ops.input_padding import InputPadding
from srlab.runs.contract import (
    BEST_CHECKPOINT,
    CHECKPOINTS_FOLDER,
    COMPARISON_FILE,
    CONFIG_FILE,
    IMAGES_FOLDER,
    LAST_CHECKPOINT,
    METRICS_FILE,
    SUMMARY_FILE,
    ResultLogger,
    validation_key,
)
from srlab.runs.records import plain, write_json
from srlab.tasks.comparison import Example, comparison_picture
from srlab.tasks.conditions import Conditions, training_data
from srlab.tasks.costs import CostRecord
from srlab.tasks.evaluation import EvaluationReport, ImageRecord, SetMean, evaluate, saved_image
from srlab.tasks.interruption import Ending
from srlab.tasks.report_tables import Evaluation, comparison_tables, cost_table
from srlab.tasks.restoration import restore_padded, result_size
from srlab.tasks.super_resolution import SuperResolutionTask, to_unit_range
from srlab.terminal.command_lines import command
from srlab.terminal.tables import PlainTable, plain_console

# Keys of conf/data/folder, images and paired that say which images are scored.
_OWN_FOLDERS = (
    "root",
    "validation_root",
    *("hr_root", "lr_root", "lr_name"),
    "validation_hr_root",
    "validation_lr_root",
)
_SHOWN_IMAGES = 3  # rows of the picture
_LISTED_IMAGES = 20  # of more, the console shows only the means; summary.json has every image


@dataclass(frozen=True)
class RunReport:
    """The best checkpoint of a run, scored on the validation sets, next to bicubic interpolation."""

    run: RunConfig
    trainer: Trainer
    data: SuperResolutionData
    ending: Ending
    checkpoint: str
    """File name of the checkpoint that is scored."""
    step: int
    """Of that checkpoint."""
    network: Network
    evaluation: Evaluation
    bicubic: EvaluationReport

    @classmethod
    def of(
        cls,
        run: RunConfig,
        trainer: Trainer,
        task: SuperResolutionTask,
        data: SuperResolutionData,
        ending: Ending,
    ) -> "RunReport":
        """Load best.ckpt, or last.ckpt if none was best, and score it on the device of the training."""
        checkpoints = run.folder / CHECKPOINTS_FOLDER
        name = next(each for each in (BEST_CHECKPOINT, LAST_CHECKPOINT) if (checkpoints / each).exists())
        loaded = read_checkpoint(checkpoints / name)
        score = partial(
            _evaluate_sets,
            sets=data.evaluation_sets().sets,
            protocol=task.protocol,
            device=trainer.strategy.root_device,
            metrics=task.metrics,
        )
        report = score(
            loaded.network, save_images=run.folder / IMAGES_FOLDER, most_saved=run.cfg.saved_images
        )
        costs = next(each for each in trainer.callbacks if isinstance(each, CostRecord))  # type: ignore[attr-defined]
        step = loaded.description["step"]
        conditions = Conditions(
            model=run.cfg.paths.name,
            checkpoint=f"{CHECKPOINTS_FOLDER}/{name}, step {step}",
            costs=costs.measure(trainer, loaded.network),
            preset=match_preset(loaded.description["model"]),
            training=training_data(loaded.description.get("config")),
            device=report.device,
            seed=run.cfg.seed,
        )
        evaluation, bicubic = Evaluation(report, conditions), score(Bicubic(scale=run.cfg.scale))
        return cls(run, trainer, data, ending, name, step, loaded.network, evaluation, bicubic)

    @property
    def best_psnr(self) -> float:
        """Mean over the sets of their mean PSNR in dB."""
        return self._over_sets("psnr")

    @property
    def _name(self) -> str:
        return self.run.cfg.paths.name

    def publish(self) -> None:
        """Write picture and summary, log both, print the tables and what to do next."""
        folder = self.run.folder
        comparison_picture(self._examples()).save(folder / COMPARISON_FILE)
        summary = plain(self._summary())
        loggers = [logger for logger in self.trainer.loggers if isinstance(logger, ResultLogger)]
        for logger in loggers:
            logger.log_result(summary, folder, folder / COMPARISON_FILE)
        # last: a folder with a summary holds a finished run
        write_json(folder / SUMMARY_FILE, summary)
        console = plain_console(unbounded_width=120)
        costs = cost_table([self.evaluation], left_out=("model", "scale", "executed (G)", "activations (M)"))
        for table in (self._image_table(), *costs, *comparison_tables([self.evaluation])):
            console.print(table)
        lines = [f"  {logger.closing_line}" for logger in loggers if logger.closing_line]
        console.print("\n".join([*self._closing_lines(folder), *lines]), soft_wrap=True)

    def _over_sets(self, metric: str) -> float:
        means = self.evaluation.report.means
        return sum(mean.scores[metric] for mean in means) / len(means)

    def _summary(self) -> dict[str, Any]:
        report = self.evaluation.report
        return {
            "name": self._name,
            "step": self.step,
            "steps": self.ending.steps,
            "planned_steps": self.ending.planned,
            "ended_by": self.ending.cause,
            **{validation_key(metric): self._over_sets(metric) for metric in report.means[0].scores},
            "scores": [asdict(mean) for mean in report.means],
            "bicubic": [asdict(mean) for mean in self.bicubic.means],
            "published": self.evaluation.differences(),
            "protocol": asdict(report.protocols[0]),
            "conditions": self.evaluation.conditions.record(),
            "images": self._image_entries(),
        }

    def _image_entries(self) -> list[dict[str, Any]]:
        """For each validation image: scores and bicubic's, its source, its restoration if that is saved."""
        sources = {dataset.name: dataset.hr_paths for dataset in self.data.evaluation_sets().sets}
        scales = {dataset.name: dataset.scale for dataset in self.data.evaluation_sets().sets}
        cfg, images = self.run.cfg, Path(IMAGES_FOLDER)
        pairs = zip(self.evaluation.report.images, self.bicubic.images, strict=True)
        return [
            {
                "set_name": ours.set_name,
                "name": ours.name,
                "scores": ours.scores,
                "bicubic": theirs.scores,
                "hr_file": sources[ours.set_name][ours.name],
                "restored": (images / saved_image(ours.set_name, ours.name, scales[ours.set_name])).as_posix()
                if number < cfg.saved_images
                else None,
            }
            for number, (ours, theirs) in enumerate(pairs)
        ]

    def _image_table(self) -> PlainTable:
        """Images, unless there are many, then means of sets."""
        report, bicubic = self.evaluation.report, self.bicubic
        images = [f"{each.set_name}/{each.name}" for each in report.images]
        means = [f"{each.set_name}: mean of {each.images}" for each in report.means]
        rows = list(map(self._image_row, means, report.means, bicubic.means))
        if len(images) <= _LISTED_IMAGES:
            rows = [*map(self._image_row, images, report.images, bicubic.images), *rows]
        return PlainTable(
            rows,
            text=("image",),
            title=f"held-out images, {protocol_label(report.protocols[0])}, bicubic -> {self._name} "
            f"at step {self.step} ({self.checkpoint})",
        )

    def _image_row(
        self, label: str, ours: ImageRecord | SetMean, theirs: ImageRecord | SetMean
    ) -> dict[str, str]:
        row = {"image": label}
        for name, value in ours.scores.items():
            metric = find_metric(name)
            row[metric.heading] = f"{metric.show(theirs.scores[name])} -> {metric.show(value)}"
        row["gain (dB)"] = f"{ours.scores['psnr'] - theirs.scores['psnr']:+.2f}"
        return row

    def _closing_lines(self, folder: Path) -> list[str]:
        run = self.run
        roots = {}
        if run.data_name in ("folder", "images", "paired"):  # the user's own folders
            named = {f"data.{key}": run.plain["data"].get(key) for key in _OWN_FOLDERS}
            roots = {key: value for key, value in named.items() if value is not None}
        evaluation = {"checkpoint": folder, "data": run.data_name, **roots}
        files = (SUMMARY_FILE, METRICS_FILE, CONFIG_FILE, f"{CHECKPOINTS_FOLDER}/")
        return [
            f"\neverything is in  {folder}",
            f"  {COMPARISON_FILE} (LR bicubic SR HR) {IMAGES_FOLDER}/ {' '.join(files)}",
            "next:",
            f"  {command(program('evaluate'), evaluation)}",
        ]

    @torch.inference_mode()
    def _examples(self) -> list[Example]:
        device, padding = self.trainer.strategy.root_device, self.evaluation.report.protocols[0].padding
        network, bicubic = self.network.to(device).eval(), Bicubic(scale=self.run.cfg.scale)
        samples = chain.from_iterable(
            (dataset[index] for index in range(len(dataset))) for dataset in self.data.evaluation_sets().sets
        )
        scores = zip(self.evaluation.report.images, self.bicubic.images, strict=True)
        examples = []
        for sample, (ours, theirs) in zip(islice(samples, _SHOWN_IMAGES), scores, strict=False):
            lr_image = to_unit_range(sample["lr_image"])[None]
            size = result_size(network, sample, sample["scale"])
            sr_image = restore_padded(network, lr_image.to(device), padding, size=size)[0].cpu()
            interpolated = restore_padded(bicubic, lr_image, InputPadding.model, size=size)[0]
            examples.append(
                Example(
                    name=sample["name"],
                    lr_image=lr_image[0],
                    hr_image=to_unit_range(sample["hr_image"]).expand(3, -1, -1),
                    restorations=[
                        (f"bicubic {theirs.scores['psnr']:.2f} dB", interpolated),
                        (f"{self._name} {ours.scores['psnr']:.2f} dB", sr_image),
                    ],
                )
            )
        return examples


def _evaluate_sets(
    network: Network,
    *,
    sets: Sequence[EvaluationSet],
    protocol: ProtocolConfig,
    most_saved: int | None = None,
    **settings: Any,
) -> EvaluationReport:
    """One report of sets that may have different scales, each scored by :func:`evaluate` at its own.

    The report has the scale of the network and its protocol; the border of that follows each set's scale.
    """
    reports: list[EvaluationReport] = []
    for dataset in sets:
        settings |= {"scale": dataset.scale, "most_saved": most_saved}
        protocols = [at_scale(protocol, dataset.scale, own_scale=network.scale)]
        reports.append(evaluate(network, [dataset], protocols, **settings))
        most_saved = None if most_saved is None else max(0, most_saved - len(dataset))
    return replace(
        reports[0],
        scale=network.scale,
        protocols=(protocol,),
        means=tuple(mean for report in reports for mean in report.means),
        images=tuple(image for report in reports for image in report.images),
    )
