"""The data of a run: crops for training, whole images for validation and scoring."""

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from srlab.data.degradation import Degradation, TensorDegradation
from srlab.data.evaluation import EvaluationSet, EvaluationSets, RankShare
from srlab.data.image_identity import check_same_images, evaluation_identity, identity
from srlab.data.loader import Loader
from srlab.data.pixels import MAX_PIXELS
from srlab.data.sampling import GlobalBatchSampler
from srlab.data.sources import ImageSet, Source
from srlab.data.store import BadImagePolicy, ImageStore, open_store
from srlab.data.training_crops import DegradeOn, TrainingCrops

__all__ = ["SuperResolutionData"]

log = logging.getLogger(__name__)


class SuperResolutionData(LightningDataModule):
    """Streams crops that depend on (seed, global sample index) alone, and serves whole images to validate on.

    Nothing is read before it is needed: scoring does not need the training images, nor the reverse.

    Args:
        scale: HR side / LR side.
        train: where training images lie; None for data that only scores.
        validation: where validation images lie; sets are named by their sources.
        patch_size: side of a training crop in LR pixels.
        batch_size: samples of one optimizer step, over all devices and accumulated micro-batches.
        num_workers: loader processes of each device for training; validation uses one at most.
        seed: of crops, turns and degradations.
        degradation: makes training LR from HR. (Validation LR is a file or exact bicubic, always.)
        degrade_on: where, with the same result: ``"worker"``, or ``"device"`` for the training device.
        augment: turn and flip training pairs.
        on_bad_image: ``"error"``, or ``"skip"`` to warn of corrupt or too small images and go on without
            them.
        cache: folder for decoded images, about 3 bytes a pixel.
        accept_changed_images: go on, with a warning, from a checkpoint of a run on other images than these.
        max_pixels: of the largest image that is read.
    """

    def __init__(
        self,
        *,
        scale: int,
        train: Source | None,
        validation: Sequence[Source],
        patch_size: int,
        batch_size: int,
        num_workers: int,
        seed: int,
        degradation: Degradation,
        degrade_on: DegradeOn,
        augment: bool,
        on_bad_image: BadImagePolicy,
        cache: str,
        accept_changed_images: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        super().__init__()
        if on_bad_image not in ("error", "skip"):
            raise ValueError(f"data.on_bad_image must be error or skip, got {on_bad_image!r}")
        _check_place(degrade_on, degradation)
        _check_least("patch_size", patch_size, 1)
        _check_least("batch_size", batch_size, 1)
        _check_least("num_workers", num_workers, 0)
        _check_least("max_pixels", max_pixels, 1)
        self.scale = scale
        self.train = train
        self.validation = list(validation)
        self.patch_size = patch_size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.degradation = degradation
        self.degrade_on: DegradeOn = degrade_on
        self.augment = augment
        self.on_bad_image: BadImagePolicy = on_bad_image
        self.cache = Path(cache).expanduser()
        self.accept_changed_images = accept_changed_images
        self.max_pixels = max_pixels
        self.least_scored_side = 1
        """HR pixels that a side of a validation image must have: set to what scoring needs before use."""

    @cached_property
    def training_crops(self) -> TrainingCrops:
        """The training samples by global index.

        Raises:
            ValueError: if these data have no training images.
        """
        if self.train is None:
            raise ValueError(
                "these data have no training images: benchmarks neither train a network nor choose its "
                "checkpoint; train with data=demo, folder, div2k or df2k and score with evaluate.py "
                "data=benchmark or data=images"
            )
        (image_set,) = self.train.find().sets
        return TrainingCrops(
            store=self._open(image_set),
            scale=self.scale,
            patch_size=self.patch_size,
            seed=self.seed,
            degradation=self.degradation,
            augment=self.augment,
            on_bad_image=self.on_bad_image,
            degrade_on=self.degrade_on,
        )

    @cached_property
    def _evaluation_sets(self) -> EvaluationSets:
        found = [source.find() for source in self.validation]
        sets = tuple(
            EvaluationSet(
                image_set=image_set,
                store=self._open(image_set),
                scale=self.scale,
                on_bad_image=self.on_bad_image,
                least_side=self.least_scored_side,
                max_pixels=self.max_pixels,
            )
            for part in found
            for image_set in part.sets
        )
        names = [images.name for images in sets]
        if not names or len(set(map(str.casefold, names))) < len(names):
            raise ValueError(f"validation needs at least one set and distinct names, got {names}")
        return EvaluationSets(sets, tuple(name for part in found for name in part.absent))

    def _open(self, image_set: ImageSet) -> ImageStore:
        return open_store(
            image_set, cache=self.cache, on_bad_image=self.on_bad_image, max_pixels=self.max_pixels
        )

    def evaluation_sets(self) -> EvaluationSets:
        """The validation sets, whole; needs no trainer.

        Raises:
            ValueError: if nothing is there, or a set's files are at fault.
        """
        return self._evaluation_sets

    @property
    def validation_names(self) -> list[str]:
        """Names of the validation sets in their order."""
        return [images.name for images in self._evaluation_sets.sets]

    def setup(self, stage: str) -> None:
        """Build what the stage reads. Every process comes here: one decodes, the others wait for it."""
        if stage == "fit":
            _ = self.training_crops
        _ = self._evaluation_sets

    @cached_property
    def _images(self) -> dict[str, dict[str, str]]:
        """Which images these are, in their order, wherever they lie."""
        crops = self.training_crops
        return {
            "training": identity(crops.store, crops.images),
            **{
                f"validation on {each.name}": evaluation_identity(each) for each in self._evaluation_sets.sets
            },
        }

    def state_dict(self) -> dict[str, Any]:
        """What checkpoints hold: the images that samples depend on."""
        return {"images": self._images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compare; where the samples are in the run follows from its step.

        Raises:
            ValueError: naming the images that differ, unless they are accepted.
        """
        check_same_images(state_dict["images"], self._images, accept=self.accept_changed_images)

    def train_dataloader(self) -> Loader:
        """This rank's micro-batches from the trainer's optimizer step on."""
        trainer = self._trainer()
        if self.degrade_on == "device":
            log.info("low-resolution crops are made on %s", trainer.strategy.root_device)
        sampler = GlobalBatchSampler(
            batch_size=self.batch_size,
            num_replicas=trainer.world_size,
            rank=trainer.global_rank,
            accumulate=trainer.accumulate_grad_batches,
            start_step=trainer.global_step,
            num_steps=trainer.max_steps if trainer.max_steps >= 0 else None,
        )
        return _StepLoader(
            self.training_crops.batch,
            batches=sampler,
            num_workers=self.num_workers,
            pin_memory=_on_cuda(trainer),
        )

    def on_after_batch_transfer(
        self,
        batch: dict[str, Any],
        dataloader_idx: int,  # noqa: ARG002  (Lightning's signature)
    ) -> dict[str, Any]:
        """With ``degrade_on="device"``: training batches become pairs there."""
        return self.training_crops.finish(batch) if "hr_window" in batch else batch

    def val_dataloader(self) -> Loader:
        """This rank's share of the images of all sets, one by one."""
        trainer = self._trainer()
        share = RankShare(
            sets=self._evaluation_sets.sets, num_replicas=trainer.world_size, rank=trainer.global_rank
        )
        return Loader(
            share.batch,
            batches=[[index] for index in range(len(share))],
            num_workers=min(self.num_workers, 1),
            pin_memory=_on_cuda(trainer),
        )

    def _trainer(self) -> Any:
        if self.trainer is None:
            raise ValueError(
                "loaders need a trainer, which knows devices and steps; use evaluation_sets() without one"
            )
        return self.trainer


class _StepLoader(Loader):
    """Starts at the trainer's step by itself: having these two methods tells Lightning that it can resume."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep: the step says it all."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


def _check_place(degrade_on: DegradeOn, degradation: Degradation) -> None:
    if degrade_on not in ("worker", "device"):
        raise ValueError(f"data.degrade_on must be worker or device, got {degrade_on!r}")
    if degrade_on == "device" and not isinstance(degradation, TensorDegradation):
        raise ValueError(
            f"{type(degradation).__name__} works on a CPU only, got data.degrade_on=device; set "
            "data.degrade_on=worker or degradation=bicubic"
        )


def _check_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"data.{name} must be at least {least}, got {value}")


def _on_cuda(trainer: Any) -> bool:
    return trainer.strategy.root_device.type == "cuda" and torch.cuda.is_available()
