"""``python -m srlab.app KEY=VALUE …``: train.py where there is no checkout."""

from omegaconf import DictConfig

from srlab.app.application import application


@application("train")
def main(cfg: DictConfig) -> float | None:
    """Fit, then score the best checkpoint."""
    from srlab.app.training import train  # here, so that misspelt keys answer without torch

    return train(cfg)


if __name__ == "__main__":
    main()
