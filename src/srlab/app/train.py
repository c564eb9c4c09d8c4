"""Train a super-resolver: ``python train.py`` in a clone, ``srlab train`` anywhere."""

from omegaconf import DictConfig

from srlab.app.application import application

__all__ = ["main"]


@application("train")
def main(cfg: DictConfig) -> float | None:
    """Fit, then score the best checkpoint; returns the validation PSNR that sweeps maximize."""
    from srlab.app.training import train  # here, so that --help and misspelt keys are answered without torch

    return train(cfg)
