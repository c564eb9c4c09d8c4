"""The data of a run: crops for training, whole images for validation and scoring."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from srlab.data.crop_scales import FixedScale, RandomScale
from srlab.data.degradation import Degradation, TensorDegradation
from srlab.data.evaluation import EvaluationSet, EvaluationSets, RankShare
from srlab.data.loader import Loader, Make
from srlab.data.lr_files import LrPairs
from srlab.data.pixels import MAX_PIXELS
from srlab.data.sampling import GlobalBatchSampler
from srlab.data.sources import ImageFile, ImageSet, Source
from srlab.data.store import BadImagePolicy, ImageStore, open_store
from srlab.data.training_crops import DegradeOn, TrainingCrops
from srlab.ops.axis import checked_scales
from srlab.terminal.names import some

log = logging.getLogger(__name__)


@dataclass(eq=False, kw_only=True, repr=False)
class SuperResolutionData(LightningDataModule):
    """Streams crops that depend on (seed, global sample index) alone, and serves whole images to validate on.

    Nothing is read before it is needed: scoring does not need the training images, nor the reverse.

    Args:
        scale: HR side / LR side; a whole number to train at.
        train: finds the training images; None for data that only scores.
        validation: find the validation images; sets are named by their sources.
        patch_size: side of a training crop in LR pixels.
        batch_size: samples of one optimizer step, over all devices and accumulated micro-batches.
        num_workers: loader processes of each device for training; validation uses one at most.
        seed: of crops, augmentation and degradation.
        degradation: makes training LR from HR. (Validation LR is a file or exact bicubic, always.)
        degrade_on: where, with the same result: ``"worker"``, or ``"device"`` for the training device.
        augment: transpose and flip training pairs.
        on_bad_image: ``"error"``, or ``"skip"`` to skip corrupt and too small images with a warning.
        cache: folder for decoded images, about 3 bytes a pixel.
        accept_changed_images: resume, with a warning, a run that was started on other images than these.
        max_pixels: of the largest image that is read.
        scale_range: least and largest of the scales at which training crops are made, one drawn for each
            optimizer step; None: ``scale``. Then ``patch_size`` is that of all, and the HR side follows.
        compared_pixels: HR pixels of each crop that the loss sees, drawn at random; None: all.
        validation_scales: at which every validation set is scored, as a set of its own whose name ends in
            ``_x2``; None: ``scale``.
    """

    scale: float
    train: Source | None
    validation: Sequence[Source]
    patch_size: int
    batch_size: int
    num_workers: int
    seed: int
    degradation: Degradation
    degrade_on: DegradeOn
    augment: bool
    on_bad_image: BadImagePolicy
    cache: str
    accept_changed_images: bool = False
    max_pixels: int = MAX_PIXELS
    scale_range: tuple[float, float] | None = None
    compared_pixels: int | None = None
    validation_scales: Sequence[float] | None = None

    def __post_init__(self) -> None:
        super().__init__()
        for name, choices in (("on_bad_image", ("error", "skip")), ("degrade_on", ("worker", "device"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"data.{name} must be {' or '.join(choices)}, got {getattr(self, name)!r}")
        if self.degrade_on == "device" and not isinstance(self.degradation, TensorDegradation):
            raise ValueError(
                f"{type(self.degradation).__name__} runs on a CPU only, got data.degrade_on=device; set "
                "data.degrade_on=worker or degradation=bicubic"
            )
        for name, least in (("patch_size", 1), ("batch_size", 1), ("num_workers", 0), ("max_pixels", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"data.{name} must be at least {least}, got {getattr(self, name)}")
        if self.compared_pixels is not None and self.scale_range is None:
            raise ValueError(
                f"data.compared_pixels={self.compared_pixels} belongs to data.scale_range=[low,high]: a "
                "network of one scale restores all pixels; leave it out"
            )
        if self.validation_scales is not None:
            self.validation_scales = checked_scales("data.validation_scales", self.validation_scales)
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
                "checkpoint; train with data=demo, folder, paired, div2k or df2k and score with evaluate.py "
                "data=benchmark or data=images"
            )
        image_set = self.train()
        store = self._open(image_set)
        return TrainingCrops(
            store=store,
            pairs=self._pairs(image_set, store),
            scales=self._crop_scales(),
            compared_pixels=self.compared_pixels,
            seed=self.seed,
            degradation=self.degradation,
            augment=self.augment,
            on_bad_image=self.on_bad_image,
            degrade_on=self.degrade_on,
        )

    def _crop_scales(self) -> FixedScale | RandomScale:
        if self.scale_range is None:
            return FixedScale(scale=int(self.scale), patch_size=self.patch_size)
        return RandomScale(
            bounds=self.scale_range, patch_size=self.patch_size, batch_size=self.batch_size, seed=self.seed
        )

    def _pairs(self, image_set: ImageSet, store: ImageStore) -> LrPairs | None:
        if image_set.lr_files is None:
            return None
        self._refuse_other_scales(image_set)
        scale = int(self.scale)
        lr_files = tuple(ImageFile(image.name, image_set.lr_files[image.name]) for image in store.images)
        return LrPairs(
            hr_store=store,
            lr_store=self._open(ImageSet(f"{image_set.name}_LRx{scale}", lr_files)),
            paths=image_set.lr_files,
            scale=scale,
            on_bad_image=self.on_bad_image,
        )

    def _refuse_other_scales(self, image_set: ImageSet) -> None:
        asked = {"scale_range": self.scale_range, "validation_scales": self.validation_scales}
        for name, value in asked.items():
            if value is not None:
                raise ValueError(
                    f"data.{name}={list(value)}: the LR files of {image_set.name} have one scale, "
                    f"{self.scale}; leave it out, or use data=folder, which makes LR"
                )

    @cached_property
    def _evaluation_sets(self) -> EvaluationSets:
        found = [source() for source in self.validation]
        names = [image_set.name for image_set in found]
        if not names or len(set(map(str.casefold, names))) < len(names):
            raise ValueError(f"validation needs at least one set and distinct names, got {names}")
        if not any(image_set.files for image_set in found):
            raise ValueError(f"none of the sets {', '.join(names)} exists; {found[-1].if_none_usable}")
        sets = [scored for image_set in found if image_set.files for scored in self._at_scales(image_set)]
        return EvaluationSets(tuple(sets), tuple(each.name for each in found if not each.files))

    def _at_scales(self, image_set: ImageSet) -> Iterator[EvaluationSet]:
        """The set at each scale, from images that are decoded once."""
        if image_set.lr_files is not None:
            self._refuse_other_scales(image_set)
        store, scales = self._open(image_set), self.validation_scales
        for scale in scales or (self.scale,):
            yield EvaluationSet(
                image_set=replace(image_set, name=f"{image_set.name}_x{scale:g}") if scales else image_set,
                store=store,
                scale=scale,
                on_bad_image=self.on_bad_image,
                least_side=self.least_scored_side,
                max_pixels=self.max_pixels,
            )

    def _open(self, image_set: ImageSet) -> ImageStore:
        cache = Path(self.cache).expanduser()
        return open_store(image_set, cache=cache, on_bad_image=self.on_bad_image, max_pixels=self.max_pixels)

    def evaluation_sets(self) -> EvaluationSets:
        """The validation sets, whole; needs no trainer.

        Raises:
            ValueError: if there is none, or if a set's files are at fault.
        """
        return self._evaluation_sets

    @property
    def validation_names(self) -> list[str]:
        """Names of the validation sets in their order."""
        return [images.name for images in self._evaluation_sets.sets]

    def setup(self, stage: str) -> None:
        """Build what the stage reads. Every process calls this: one decodes, the others wait for it."""
        if stage == "fit":
            _ = self.training_crops
        _ = self._evaluation_sets

    @cached_property
    def _images(self) -> dict[str, dict[str, str]]:
        """Hashes by use and name, in the images' order, wherever their files are."""
        validation = {f"validation on {each.name}": each.digests() for each in self._evaluation_sets.sets}
        return {"training": self.training_crops.digests(), **validation}

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints: the images that samples depend on."""
        return {"images": self._images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compare the images; the position in the stream of samples follows from the optimizer step.

        Raises:
            ValueError: naming the images that differ, unless they are accepted.
        """
        before, now = state_dict["images"], self._images
        differences = [_difference(use, before.get(use, {}), now.get(use, {})) for use in {**before, **now}]
        found = "; ".join(difference for difference in differences if difference)
        if found and not self.accept_changed_images:
            raise ValueError(
                "these are not the images that the run was started with, so it would draw other samples: "
                f"{found}; put the images back, or continue with these by data.accept_changed_images=true"
            )
        if found:
            log.warning("continuing with other images than before: %s", found)

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
        return self._loader(self.training_crops.batch, sampler, self.num_workers)

    def on_after_batch_transfer(
        self,
        batch: dict[str, Any],
        dataloader_idx: int,  # noqa: ARG002  (Lightning's signature)
    ) -> dict[str, Any]:
        """With ``degrade_on="device"``: make pairs of training batches there."""
        return self.training_crops.finish(batch) if "hr_window" in batch else batch

    def val_dataloader(self) -> Loader:
        """This rank's share of the images of all sets, one by one."""
        trainer = self._trainer()
        share = RankShare(
            sets=self._evaluation_sets.sets, num_replicas=trainer.world_size, rank=trainer.global_rank
        )
        return self._loader(share.batch, [[index] for index in range(len(share))], min(self.num_workers, 1))

    def _loader(self, make: Make, batches: Iterable[Sequence[int]], num_workers: int) -> Loader:
        on_cuda = self._trainer().strategy.root_device.type == "cuda" and torch.cuda.is_available()
        return Loader(make, batches=batches, num_workers=num_workers, pin_memory=on_cuda)

    def _trainer(self) -> Any:
        if self.trainer is None:
            raise ValueError(
                "loaders need a trainer, for devices and steps; use evaluation_sets() without one"
            )
        return self.trainer


def _difference(use: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """How the images of a use (``training``, …) differ, by name and hash; empty if they do not."""
    kinds = {
        "missing": [name for name in before if name not in now],
        "new": [name for name in now if name not in before],
        "changed": [name for name in now if name in before and now[name] != before[name]],
    }
    found = [f"{len(names)} {kind} ({some(names, most=3)})" for kind, names in kinds.items() if names]
    if not found and list(before) != list(now):
        found = ["in another order"]
    return f"{use}: {', '.join(found)}" if found else ""
