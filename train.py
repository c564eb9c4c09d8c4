"""Train a super-resolver: python train.py model=elan_light data=div2k trainer.devices=4."""

from omegaconf import DictConfig

from srlab.app.application import application


@application("train")
def main(cfg: DictConfig) -> float | None:
    """Fit, then score the best checkpoint; returns the validation PSNR that sweeps maximise."""
    from srlab.app.training import train  # here, so that --help and misspelt keys answer without torch

    return train(cfg)


if __name__ == "__main__":
    main()
