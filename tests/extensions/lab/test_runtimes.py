"""Other run times are measured in the same rounds, with the results of the network."""

import pytest
import torch

from narrow_networks import narrow, require
from srlab.extensions.export.measuring import loaded
from srlab.extensions.lab.preparation import Workload, prepare
from srlab.extensions.lab.session import Session
from srlab.extensions.lab.subjects import Subject, plan_subjects

CPU = torch.device("cpu")
WORKLOAD = Workload(lr_size=(9, 7), batch=1, device=CPU)


def test_every_network_can_be_a_subject_of_a_run_time():
    networks = {"elan": narrow("elan_light"), "edsr": narrow("edsr_baseline")}
    plan = plan_subjects(networks, ["reference", "onnxruntime"], {"dtype": ["float32"]})
    labels = [each.label for each in plan.subjects]
    assert labels == [
        "elan/reference/float32/eager",
        "elan/onnxruntime/float32/eager",
        "edsr/float32/eager",
        "edsr/onnxruntime/float32/eager",
    ]


def test_an_unknown_back_end_is_still_an_error():
    with pytest.raises(ValueError, match="no chosen network has back end tensorrt"):
        plan_subjects({"elan": narrow("elan_light")}, ["tensorrt"], {"dtype": ["float32"]})


@pytest.mark.parametrize("name", ["onnxruntime", pytest.param("openvino", marks=pytest.mark.slow)])
def test_what_is_measured_is_the_network(name):
    form = {"onnxruntime": "onnx"}.get(name, name)
    require(form)
    network = narrow("edsr_baseline")
    lr_image = torch.rand(2, 3, 9, 7)
    with torch.no_grad():
        expected = network(lr_image)
    found = torch.as_tensor(loaded(form, network, 1)(lr_image))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    prepared = prepare(network, Subject("edsr", name), WORKLOAD)
    assert prepared.backend == name
    assert torch.as_tensor(prepared.run()).shape == (1, 3, 18, 14)


@pytest.mark.parametrize("changes", [{"dtype": "float16"}, {"compile": "default"}], ids=["dtype", "compiled"])
def test_what_a_run_time_cannot_do_is_listed_with_the_reason(changes):
    session = Session({"edsr": narrow("edsr_baseline")}, WORKLOAD, lambda _text: None)
    session.prepare([Subject("edsr", "onnxruntime", **changes)])
    assert session.failed[0].reason == "onnxruntime is measured on the CPU: inference, float32, eager"


def test_a_session_times_both():
    require("onnx")
    session = Session({"edsr": narrow("edsr_baseline")}, WORKLOAD, lambda _text: None)
    session.prepare([Subject("edsr", None), Subject("edsr", "onnxruntime")])
    session.time(warmup=0, repeats=2)
    assert [len(session.times(label)) for label in session.timed] == [2, 2]
    ours, other = session.timed.values()
    assert ours.memory.live_mib is not None
    assert other.memory.live_mib is None  # its tensors are not PyTorch's
