"""Which subjects are measured: the cross product of what was chosen, less what does not exist."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from srlab.models.network import AttentionNetwork, Network

__all__ = ["COMPILE_MODES", "GRAPH", "Choices", "Plan", "Skipped", "Subject", "plan_subjects"]

#: CUDA graphs; every other name but ``eager`` is a mode of torch.compile.
GRAPH = "graph"
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
_COMPILES = ("eager", *COMPILE_MODES, GRAPH)
_DTYPES = ("float32", "bfloat16", "float16", "float64")
_MASKS = ("cached", "rebuilt")
_SUBNORMALS = ("flushed", "kept")
_STEPS = ("inference", "training")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What is crossed. Names are as on the command line.

    Attributes:
        backends: of attention, ``auto`` among them if wanted.
        dtypes: of weights and activations; in training 16 bits mean autocast.
        compiles: ``eager``, modes of torch.compile, or ``graph``.
        masks: of shifted windows: ``cached``, kept between passes, or ``rebuilt`` in each block.
        checkpointing: whether activations are recomputed in the backward pass; for training alone.
        subnormals: whether the CPU takes subnormal numbers for zero (``flushed``) or computes with them
            (``kept``).
        step: ``inference``, a forward pass, or ``training``, an optimizer step.
        device_type: ``cpu`` or ``cuda``.
    """

    backends: Sequence[str] = ("auto",)
    dtypes: Sequence[str] = ("float32",)
    compiles: Sequence[str] = ("eager",)
    masks: Sequence[str] = ("cached",)
    checkpointing: Sequence[bool] = (False,)
    subnormals: Sequence[str] = ("flushed",)
    step: str = "inference"
    device_type: str = "cpu"

    def __post_init__(self) -> None:
        _check_known("step", [self.step], _STEPS)
        _check_known("dtype", self.dtypes, _DTYPES)
        _check_known("compile", self.compiles, _COMPILES)
        _check_known("mask", self.masks, _MASKS)
        _check_known("checkpointing", self.checkpointing, (False, True))
        _check_known("subnormals", self.subnormals, _SUBNORMALS)
        _check_known("backend", self.backends, None)
        if self.step == "inference" and True in self.checkpointing:
            raise ValueError("checkpointing=true belongs to step=training; inference keeps no activations")
        if self.step == "training" and (GRAPH in self.compiles or "rebuilt" in self.masks):
            raise ValueError(
                "step=training is measured eager or compiled, with masks cached: "
                "leave compile=graph and mask=rebuilt out"
            )
        if self.step == "training" and "float64" in self.dtypes:
            raise ValueError("step=training takes dtype=float32, bfloat16 or float16 (autocast), not float64")
        if GRAPH in self.compiles and self.device_type != "cuda":
            raise ValueError(
                f"compile=graph captures CUDA graphs, which device={self.device_type} has none of; "
                "use compile=eager or compile=default"
            )


@dataclass(frozen=True)
class Subject:
    """One thing to measure. ``backend`` is None for a network that has no choice."""

    model: str
    backend: str | None
    dtype: str
    compile: str
    mask: str = "cached"
    checkpointing: bool = False
    subnormals: str = "flushed"

    @property
    def label(self) -> str:
        """``elan_light/reference/float32/eager``: unique within a run, what ``baseline=`` takes."""
        parts = [self.model, self.backend, self.dtype, self.compile]
        parts += ["rebuilt"] if self.mask == "rebuilt" else []
        parts += ["checkpointing"] if self.checkpointing else []
        parts += ["kept"] if self.subnormals == "kept" else []
        return "/".join(part for part in parts if part)


@dataclass(frozen=True)
class Skipped:
    """What was asked for and is not measured, and why."""

    subject: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """Subjects in the order of the tables, the baseline's label, and what is left out."""

    subjects: tuple[Subject, ...]
    baseline: str
    skipped: tuple[Skipped, ...]


def plan_subjects(networks: Mapping[str, Network], choices: Choices, *, baseline: str | None = None) -> Plan:
    """Cross networks, by name, with the choices.

    Args:
        networks: what is measured.
        choices: what each is measured with.
        baseline: label of a subject, or as many of its parts as tell it from the others; None: the first.

    Raises:
        ValueError: a back end that no network has, or a baseline that is not one subject.
    """
    _check_backends(networks, choices.backends)
    subjects, skipped = [], []
    for model, network in networks.items():
        backends, absent = _backends_of(network, choices.backends)
        skipped += [
            Skipped(f"{model}/{name}", f"{type(network).__name__} has no such back end") for name in absent
        ]
        dials = (choices.dtypes, choices.compiles, choices.masks, choices.checkpointing, choices.subnormals)
        for found in (Subject(model, *one) for one in product(backends, *dials)):
            reason = _reason_against(found, network)
            if reason is None:
                subjects.append(found)
            else:
                skipped.append(Skipped(found.label, reason))
    if not subjects:
        reasons = "; ".join(f"{each.subject}: {each.reason}" for each in skipped)
        raise ValueError(f"nothing is left to measure ({reasons})")
    return Plan(tuple(subjects), _find_baseline(subjects, baseline), tuple(skipped))


def _backends_of(network: Network, wanted: Sequence[str]) -> tuple[Sequence[str | None], Sequence[str]]:
    """What to measure of a network, and what it lacks; one without back ends is measured once."""
    if not isinstance(network, AttentionNetwork):
        return (None,), ()
    has = [name for name in wanted if name in (*network.backends, "auto")]
    return has, [name for name in wanted if name not in has]


def _reason_against(subject: Subject, network: Network) -> str | None:
    if subject.mask != "rebuilt":
        return None
    if not isinstance(network, AttentionNetwork):
        return f"{type(network).__name__} has no masks"
    if subject.compile != "eager":
        return "compiled or captured, a network makes or keeps its masks by itself"
    return None


def _check_known(name: str, chosen: Sequence[object], known: Sequence[object] | None) -> None:
    if not chosen:
        raise ValueError(f"{name}= needs at least one value")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{name}={_listed(chosen)} names one value twice")
    unknown = [value for value in chosen if known is not None and value not in known]
    if known is not None and unknown:
        raise ValueError(f"unknown {name} {_listed(unknown)}; choose from {_listed(known)}")


def _listed(values: Sequence[object]) -> str:
    return ", ".join(str(value).lower() if isinstance(value, bool) else str(value) for value in values)


def _check_backends(networks: Mapping[str, Network], backends: Sequence[str]) -> None:
    """A name that no chosen network has is an error; ``auto`` needs no network that has a choice."""
    chosen = {model: each for model, each in networks.items() if isinstance(each, AttentionNetwork)}
    known = {name for network in chosen.values() for name in (*network.backends, "auto")} | {"auto"}
    unknown = [name for name in backends if name not in known]
    if not unknown:
        return
    offers = [f"{model} has {_listed((*each.backends, 'auto'))}" for model, each in chosen.items()]
    raise ValueError(
        f"no chosen network has back end {_listed(unknown)}: "
        + ("; ".join(offers) or f"{_listed(list(networks))} have no attention, leave backend= out")
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
        raise ValueError(f"baseline={wanted} {which} the subjects: {', '.join(found or labels)}")
    return found[0]
