"""Score a network as the papers do: ``python evaluate.py`` in a clone, ``srlab evaluate`` anywhere."""

from omegaconf import DictConfig

from srlab.app.application import application

__all__ = ["main"]


@application("evaluate")
def main(cfg: DictConfig) -> None:
    """Restore every image of the sets, score it under every protocol, write the table."""
    from srlab.app.scoring import score_sets

    score_sets(cfg)
