"""Score a network as the papers do: python evaluate.py checkpoint=RUN_OR_FILE data=benchmark."""

from omegaconf import DictConfig

from srlab.app.application import application


@application("evaluate")
def main(cfg: DictConfig) -> None:
    """Restore every image of the sets, score it under every protocol, write the table."""
    from srlab.app.scoring import score_sets

    score_sets(cfg)


if __name__ == "__main__":
    main()
