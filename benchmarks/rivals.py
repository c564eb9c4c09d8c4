"""ELAN-light against its authors' code and against other runtimes, interleaved in one run on a CPU.

    git clone https://github.com/xindongzhang/ELAN
    pip install -e ".[export]"
    python benchmarks/rivals.py --official-elan ELAN --record rivals.json

Subjects at each size, x4, float32, all with the same weights: the authors' code, our reference and automatic
back ends, OpenVINO and ONNX Runtime on an ONNX file of the authors' network; and elan_demo x2 against its own
reference. Each subject of PyTorch runs with subnormal numbers flushed and kept; OpenVINO and ONNX Runtime are
told to flush them. Each round runs every subject once and starts with another one; a speed-up is a ratio
within a round, and its median and 10th and 90th percentile are printed. How far results lie from the authors'
is printed with trained weights alone: with fresh ones ELAN is chaotic (docs/networks.md). None of the
authors' code is part of srlab.
"""

import argparse
import copy
import json
import os
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import srlab
from srlab.atomic_files import atomic_write
from srlab.checkpoints import official_state
from srlab.checkpoints.layouts import official_layout
from srlab.counts.probe import random_lr_image
from srlab.extensions.lab.conditions import describe_machine
from srlab.extensions.lab.latency import Spread, interleaved, spread_of, time_ms
from srlab.extensions.lab.load import LoadMeter
from srlab.ops.subnormals import flush_subnormals

CPU = torch.device("cpu")
WARMUP = 2
# The authors' configs/elan_light_x4.yml; their images have the range 255.
_AUTHORS_ARGUMENTS = {
    "scale": 4, "colors": 3, "rgb_range": 255, "window_sizes": [4, 8, 16], "m_elan": 24, "c_elan": 60,
    "n_share": 1, "r_expand": 2, "act_type": "relu",
}  # fmt: skip

Run = Callable[[], Any]


def main() -> None:
    """Measure, record, print."""
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    conditions = describe_machine(CPU, command=" ".join(["python", *sys.argv]))
    official = _official_elan(arguments.official_elan)
    ours = srlab.create_model("elan_light", scale=4)
    if arguments.weights:
        ours = srlab.load_model(arguments.weights)
        official.load_state_dict(official_state(ours))
    layout = official_layout(type(ours))
    assert layout is not None
    ours.load_state_dict(layout.to_ours(official.state_dict()))
    sizes = []
    with torch.inference_mode():
        for size in arguments.sizes:
            height, width = map(int, size.split("x"))
            sizes.append(_measure(official.eval(), ours.eval(), (height, width), arguments))
    record = {
        "kind": "rivals",
        "weights": arguments.weights or "the authors' initialisation, seed 0",
        "conditions": conditions,
        "sizes": sizes,
    }
    if arguments.record:
        with atomic_write(arguments.record) as partial:
            partial.write_text(json.dumps(record, indent=1) + "\n")
    for each in sizes:
        print("\n".join(_table(each)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--official-elan", type=Path, required=True, metavar="CLONE")
    parser.add_argument(
        "--weights", help="a file of trained ELAN-light x4; default: the authors' initialisation"
    )
    parser.add_argument("--sizes", nargs="+", default=["128x128", "180x320"], metavar="HEIGHTxWIDTH")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--without", nargs="*", default=[], choices=["openvino", "onnxruntime"])
    parser.add_argument("--record", type=Path)
    return parser.parse_args()


def _official_elan(clone: Path) -> nn.Module:
    """The authors' network; its imports of timm, unused, are satisfied by an empty module."""
    if not (clone / "models" / "elan_network.py").is_file():
        raise SystemExit(
            f"{clone} is not a clone of github.com/xindongzhang/ELAN: it has no models/elan_network.py"
        )
    for name in ("timm", "timm.models", "timm.models.layers"):
        sys.modules.setdefault(name, types.ModuleType(name))
    layers = sys.modules["timm.models.layers"]
    for name in ("DropPath", "to_2tuple", "trunc_normal_"):
        layers.__dict__.setdefault(name, None)
    sys.path.insert(0, str(clone))
    from models.elan_network import ELAN  # type: ignore[import-not-found]

    torch.manual_seed(0)
    return ELAN(argparse.Namespace(**_AUTHORS_ARGUMENTS))


class _Unit(nn.Module):
    """The authors' network with images in [0, 1], as everything else here."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, lr_image: Tensor) -> Tensor:
        return self.network(lr_image * 255) / 255


def _measure(
    official: nn.Module, ours: Any, size: tuple[int, int], arguments: argparse.Namespace
) -> dict[str, Any]:
    """All subjects in one interleaved run, and how far their results lie from the authors'."""
    image = _photograph(size)
    subjects = dict(_subjects(_Unit(official).eval(), ours, image, arguments))
    expected = torch.as_tensor(subjects["official/flushed"][0]())
    compared = [name for name in subjects if arguments.weights and not name.startswith("demo")]
    differences = {
        name: float((torch.as_tensor(subjects[name][0]()) - expected).abs().max()) for name in compared
    }
    rounds: list[dict[str, float]] = []
    meter = LoadMeter(arguments.threads)
    for number, order in enumerate(interleaved(list(subjects), rounds=WARMUP + arguments.rounds)):
        times = {}
        for name in order:
            run, flushed = subjects[name]
            with flush_subnormals(flushed):
                times[name] = time_ms(run, CPU)
        if number >= WARMUP:
            rounds.append(times)
        print(f"{size[0]}x{size[1]}: round {number + 1 - WARMUP} of {arguments.rounds}", file=sys.stderr)
    load = meter.read()
    return {
        "size": list(size),
        "rounds": rounds,
        "differences": differences,
        "load": asdict(load) | {"busy": load.is_busy},
        "ms": {name: asdict(spread_of([times[name] for times in rounds])) for name in subjects},
        "speedups": {f"{a} over {b}": asdict(_ratio(rounds, a, b)) for a, b in _pairs(subjects)},
    }


def _subjects(
    official: nn.Module, ours: Any, image: Tensor, arguments: argparse.Namespace
) -> Iterator[tuple[str, tuple[Run, bool]]]:
    """Name, what runs it, and whether PyTorch's threads flush subnormals meanwhile."""
    demo = srlab.create_model("elan_demo", scale=2).eval()
    networks: dict[str, nn.Module] = {"official": official}
    for prefix, network in (("", ours), ("demo ", demo)):
        for backend in ("reference", "auto"):
            networks[prefix + backend] = _with_backend(network, backend)
    for name, network in networks.items():
        for mode in ("flushed", "kept"):
            yield f"{name}/{mode}", (lambda network=network: network(image), mode == "flushed")
    if "openvino" in arguments.without and "onnxruntime" in arguments.without:
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "official.onnx"
        torch.onnx.export(official, (image,), str(file), dynamo=False, opset_version=17)
        if "openvino" not in arguments.without:
            yield "openvino", (_openvino(file, image, arguments.threads), True)
        if "onnxruntime" not in arguments.without:
            yield "onnxruntime", (_onnxruntime(file, image, arguments.threads), True)


def _with_backend(network: Any, backend: str) -> nn.Module:
    network = copy.deepcopy(network)
    network.use_backend(backend)
    return network


def _openvino(file: Path, image: Tensor, threads: int) -> Run:
    import openvino  # type: ignore[import-not-found]

    compiled = openvino.Core().compile_model(
        str(file),
        "CPU",
        {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "CPU_DENORMALS_OPTIMIZATION": True,
        },
    )
    request, pixels = compiled.create_infer_request(), image.numpy()
    return lambda: request.infer([pixels])[0]


def _onnxruntime(file: Path, image: Tensor, threads: int) -> Run:
    import onnxruntime  # type: ignore[import-not-found]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    pixels = {session.get_inputs()[0].name: image.numpy()}
    return lambda: session.run(None, pixels)[0]


def _photograph(size: tuple[int, int]) -> Tensor:
    """A part of scikit-image's astronaut: trained ELAN is chaotic on noise."""
    import skimage.data

    pixels = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[None] / 255
    if pixels.shape[2] < size[0] or pixels.shape[3] < size[1]:
        return random_lr_image(size, CPU, torch.float32)
    return pixels[..., : size[0], : size[1]].contiguous()


def _pairs(subjects: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for mode in ("flushed", "kept"):
        yield f"auto/{mode}", f"official/{mode}"
        yield f"auto/{mode}", f"reference/{mode}"
        yield f"demo auto/{mode}", f"demo reference/{mode}"
        for name in ("openvino", "onnxruntime"):
            if name in subjects:
                yield f"auto/{mode}", name
    for name in ("auto", "reference", "official", "demo auto", "demo reference"):
        yield f"{name}/flushed", f"{name}/kept"


def _ratio(rounds: Sequence[dict[str, float]], faster: str, slower: str) -> Spread:
    return spread_of([times[slower] / times[faster] for times in rounds])


def _table(size: dict[str, Any]) -> Iterator[str]:
    height, width = size["size"]
    busy = ", beside other programs" if size["load"]["busy"] else ""
    yield f"\nLR {width}x{height}, {len(size['rounds'])} rounds{busy}"
    yield "| subject | ms (p10–p90) | largest difference from the authors' code |"
    yield "| :--- | ---: | ---: |"
    for name, ms in size["ms"].items():
        difference = size["differences"].get(name)
        shown = "" if difference is None else f"{difference:.1e}"
        yield f"| {name} | {ms['median']:.0f} ({ms['p10']:.0f}–{ms['p90']:.0f}) | {shown} |"
    yield "\n| speed-up within a round | median (p10–p90) |\n| :--- | ---: |"
    for name, ratio in size["speedups"].items():
        yield f"| {name} | {ratio['median']:.2f} ({ratio['p10']:.2f}–{ratio['p90']:.2f}) |"


if __name__ == "__main__":
    main()
