"""What is measured: the cross product of the choices, without combinations that do not exist."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from srlab.extensions.lab.runtimes import find_run_time
from srlab.models.network import AttentionNetwork, Network


@dataclass(frozen=True)
class Subject:
    """One thing to measure.

    Attributes:
        model: which network.
        backend: of attention, perhaps ``auto``, or a run time; None for a network that has no choice.
        dtype: of weights and activations; in training 16 bits mean autocast.
        compile: ``eager`` or a mode of torch.compile.
        mask: of shifted windows: ``cached`` between passes, or ``rebuilt`` in each block.
        checkpointing: whether activations are recomputed in the backward pass (training only).
        subnormals: whether the CPU treats subnormal numbers as zero (``flushed``) or not (``kept``).
    """

    model: str
    backend: str | None
    dtype: str = "float32"
    compile: str = "eager"
    mask: str = "cached"
    checkpointing: bool = False
    subnormals: str = "flushed"

    @property
    def label(self) -> str:
        """``elan_light/reference/float32/eager``: unique within a run, what ``--baseline`` takes."""
        parts = [self.model, self.backend, self.dtype, self.compile]
        parts += ["rebuilt"] if self.mask == "rebuilt" else []
        parts += ["checkpointing"] if self.checkpointing else []
        parts += ["kept"] if self.subnormals == "kept" else []
        return "/".join(part for part in parts if part)


@dataclass(frozen=True)
class Skipped:
    """A subject that is not measured, and the reason."""

    subject: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """Subjects in the order of the tables, the baseline's label, and what is skipped."""

    subjects: tuple[Subject, ...]
    baseline: str
    skipped: tuple[Skipped, ...]


def plan_subjects(
    networks: Mapping[str, Network],
    backends: Sequence[str],
    dials: Mapping[str, Sequence[Any]],
    *,
    baseline: str | None = None,
) -> Plan:
    """Cross networks, by name, with back ends and other dials.

    Args:
        networks: what is measured.
        backends: of attention, ``auto`` included if wanted, and run times (:mod:`.runtimes`).
        dials: values of the other attributes of :class:`Subject`.
        baseline: label of a subject, or as many of its parts as identify it; None: the first.

    Raises:
        ValueError: a back end that no network has, or a baseline that is not exactly one subject.
    """
    _check_backends(networks, backends)
    subjects: list[Subject] = []
    skipped: dict[Skipped, None] = {}  # in order, without repetitions
    for model, network in networks.items():
        has_choice = isinstance(network, AttentionNetwork)
        choices = backends if has_choice else [None, *filter(find_run_time, backends)]
        for backend, values in product(choices, product(*dials.values())):
            found = Subject(model, backend, **dict(zip(dials, values, strict=True)))
            if not _offers(network, backend):
                skipped[Skipped(f"{model}/{backend}", f"{type(network).__name__} has no such back end")] = (
                    None
                )
            elif found.mask == "rebuilt" and (not has_choice or find_run_time(backend)):
                skipped[Skipped(found.label, f"{type(network).__name__} has no masks")] = None
            elif found.mask == "rebuilt" and found.compile != "eager":
                skipped[Skipped(found.label, "a compiled network keeps its masks")] = None
            else:
                subjects.append(found)
    if not subjects:
        reasons = "; ".join(f"{each.subject}: {each.reason}" for each in skipped)
        raise ValueError(f"nothing is left to measure ({reasons})")
    return Plan(tuple(subjects), _find_baseline(subjects, baseline), tuple(skipped))


def _offers(network: Network, backend: str | None) -> bool:
    """Whether the network has that back end, or it is a run time, which every network may have."""
    if backend is None or find_run_time(backend) is not None:
        return True
    return isinstance(network, AttentionNetwork) and backend in (*network.backends, "auto")


def _check_backends(networks: Mapping[str, Network], backends: Sequence[str]) -> None:
    """A name that no chosen network has is an error, except ``auto`` and run times."""
    offers = {
        model: (*network.backends, "auto")
        for model, network in networks.items()
        if isinstance(network, AttentionNetwork)
    }
    offered = {"auto"}.union(*offers.values())
    unknown = [name for name in backends if name not in offered and find_run_time(name) is None]
    if not unknown:
        return
    listed = "; ".join(f"{model} has {', '.join(names)}" for model, names in offers.items())
    raise ValueError(
        f"no chosen network has back end {', '.join(unknown)}: "
        + (listed or f"{', '.join(networks)} have no attention, omit --backend")
    )


def _find_baseline(subjects: Sequence[Subject], wanted: str | None) -> str:
    if wanted is None:
        return subjects[0].label
    labels = [subject.label for subject in subjects]
    if wanted in labels:
        return wanted
    parts = set(wanted.split("/"))
    found = [label for label in labels if parts <= set(label.split("/"))]
    if len(found) != 1:
        which = f"means {len(found)} of" if found else "is none of"
        raise ValueError(f"--baseline {wanted} {which} the subjects: {', '.join(found or labels)}")
    return found[0]
