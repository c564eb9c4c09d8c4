"""Model cards: README.md with the metadata that the Hub reads, from the records of a network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from srlab.app.presets import match_preset
from srlab.checkpoints import LoadedCheckpoint
from srlab.counts.complexity import count_parameters, multiply_adds
from srlab.models.network import Network
from srlab.models.registry import model_of
from srlab.runs.folder import RunFolder
from srlab.runs.records import read_scores
from srlab.tasks.conditions import training_data

_UNKNOWN = "not recorded"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Contents of a card beyond the network itself.

    Attributes:
        training_data: and under which terms it may be used; None: not recorded.
        recipe: how it was trained, one line each.
        scores: {(test set, protocol): {metric: mean over its images}}.
        notes: paragraphs of Markdown, such as intended use and limits.
    """

    training_data: str | None = None
    recipe: tuple[str, ...] = ()
    scores: Mapping[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)
    notes: str = ""


def recorded_facts(source: Path | None, checkpoint: LoadedCheckpoint) -> Facts:
    """What a checkpoint of ours and the summary of its run folder record; nothing is guessed.

    Args:
        source: the run folder; None, a file or a name: the checkpoint alone is read.
        checkpoint: as it was loaded.
    """
    config = checkpoint.description.get("config") or {}
    summary = (RunFolder(source).summary() if source is not None and source.is_dir() else None) or {}
    return Facts(
        training_data=training_data(config or None),
        recipe=tuple(_recipe(checkpoint.description, config)),
        scores={
            (each["set_name"], each["protocol"]): read_scores(each) for each in summary.get("scores", ())
        },
    )


def model_card(network: Network, *, repository: str, licence: str, facts: Facts) -> str:
    """The text of ``README.md``: YAML metadata, use, costs, scores, training.

    Args:
        network: of which parameters and multiply-adds are counted, as papers count them.
        repository: ``user/repo``, for the example.
        licence: as the Hub writes it, such as ``apache-2.0``.
        facts: the rest.
    """
    kind, scale = type(network).__name__, network.scale
    preset = match_preset(model_of(network))
    metadata = {
        "license": licence,
        "library_name": "srlab",
        "pipeline_tag": "image-to-image",
        "tags": ["super-resolution", "image-super-resolution", kind.lower(), f"x{scale}"],
        "metrics": sorted({metric for scores in facts.scores.values() for metric in scores}),
    }
    header = yaml.safe_dump({key: value for key, value in metadata.items() if value}, sort_keys=False)
    sections = [
        f"---\n{header}---\n\n# {preset or kind} x{scale}",
        f"A super-resolution network, {kind}, that enlarges RGB images {scale} times in width and height.",
        _use(repository),
        _costs(network),
        _scores(facts.scores),
        _training(facts),
        facts.notes,
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _use(repository: str) -> str:
    return f"""## Use

```bash
pip install -e ".[hub]"  # in a clone of srlab
```

```python
import srlab

network = srlab.load_model("{repository}")  # RGB in [0, 1], (B, 3, H, W)
enlarged = srlab.upscale(image, network)  # a Pillow image, an array or a tensor
```"""


def _costs(network: Network) -> str:
    parameters, operations = count_parameters(network), multiply_adds(network)
    return f"""## Costs

{parameters.all:,} parameters, {parameters.trainable:,} of them trainable, and {operations / 1e9:.2f} G
multiply-adds for an image enlarged to 1280x720, as papers count."""


def _scores(scores: Mapping[tuple[str, str], Mapping[str, float]]) -> str:
    if not scores:
        return f"## Scores\n\nScores were {_UNKNOWN}."
    rows = [
        f"| {name} | {protocol} | {metric} | {value:.4f} |"
        for (name, protocol), found in scores.items()
        for metric, value in found.items()
    ]
    return "\n".join(
        ["## Scores\n", "| images | protocol | metric | mean |", "| :-- | :-- | :-- | --: |", *rows]
    )


def _training(facts: Facts) -> str:
    lines = [f"- training data: {facts.training_data or _UNKNOWN}", *(f"- {line}" for line in facts.recipe)]
    return "\n".join(["## Training\n", *lines])


def _recipe(description: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Loss, optimizer and length of a run of ours."""
    named = {part: str((config.get(part) or {}).get("_target_", "")) for part in ("loss", "optimizer")}
    lines = [f"{part}: {target.rpartition('.')[-1]}" for part, target in named.items() if target]
    if "step" in description:
        lines.append(f"optimizer steps: {description['step']}")
    if "seed" in config:
        lines.append(f"seed: {config['seed']}")
    return lines
