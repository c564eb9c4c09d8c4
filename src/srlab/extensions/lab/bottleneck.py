"""Whether a training run waits for its data or for its network."""

from collections.abc import Mapping, Sequence

from srlab.extensions.lab.record import Figures

__all__ = ["bottlenecks"]


def bottlenecks(samples_per_second: Mapping[int, float], subjects: Sequence[Figures]) -> list[str]:
    """One sentence for each subject that was timed: which of the two is slower, and by how much.

    Args:
        samples_per_second: of the loader, by its number of workers; the fastest counts.
        subjects: training steps; a sample is one crop of the batch.
    """
    workers = max(samples_per_second, key=lambda number: samples_per_second[number])
    loader = samples_per_second[workers]
    return [
        _sentence(loader, workers, each.label, each.images_per_second)
        for each in subjects
        if each.images_per_second is not None
    ]


def _sentence(loader: float, workers: int, label: str, network: float) -> str:
    slower, ratio = ("network", loader / network) if loader >= network else ("loader", network / loader)
    where = f"{workers} worker{'s' if workers > 1 else ''}" if workers else "main process"
    return (
        f"loader {_rate(loader)} crops/s ({where}), network {_rate(network)} crops/s ({label}): "
        f"the {slower} is the bottleneck ({_rate(ratio)} x)"
    )


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
