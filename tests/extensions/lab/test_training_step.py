"""The step that is measured is the step that trains."""

import copy

import pytest
import torch

import srlab
from srlab.extensions.lab.preparation import Workload, prepare, training_step
from srlab.extensions.lab.subjects import Subject

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


def steps_of(network, count, *, device=CPU, patch=8, **dials):
    """``count`` steps of ``network`` itself."""
    workload = Workload(lr_size=(patch, patch), batch=2, device=device, training=True)
    step = training_step(network.to(device), Subject("m", None, **dials), workload)
    with torch.enable_grad():
        for _ in range(count):
            step()


@pytest.fixture
def elan():
    torch.manual_seed(0)
    return srlab.create_model("elan_demo", scale=2)


def reference_steps(network, count):
    """Adam written out, on the batch that the generator of seed 0 gives."""
    generator = torch.Generator().manual_seed(0)
    lr_image = torch.rand(2, 3, 8, 8, generator=generator)
    hr_image = torch.rand(2, 3, 16, 16, generator=generator)
    parameters = list(network.parameters())
    means, squares = ([torch.zeros_like(parameter) for parameter in parameters] for _ in range(2))
    network.train()
    for number in range(1, count + 1):
        loss = (network(lr_image) - hr_image).abs().mean()
        gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient, mean, square in zip(parameters, gradients, means, squares, strict=True):
            mean.mul_(0.9).add_(0.1 * gradient)
            square.mul_(0.999).add_(0.001 * gradient**2)
            spread = (square / (1 - 0.999**number)).sqrt() + 1e-8
            parameter.data -= 1e-4 * mean / (1 - 0.9**number) / spread


@pytest.mark.parametrize("checkpointing", [False, True])
def test_two_calls_are_two_steps_of_adam_on_the_mean_absolute_error(elan, checkpointing):
    expected = copy.deepcopy(elan)
    reference_steps(expected, 2)
    steps_of(elan, 2, checkpointing=checkpointing)
    for key, value in expected.state_dict().items():
        torch.testing.assert_close(elan.state_dict()[key], value, rtol=1e-4, atol=2e-6)
    assert int(elan.state_dict()["body.0.attention.0.norm.num_batches_tracked"]) == 2


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bits_are_those_of_activations_and_every_weight_moves(dtype):
    torch.manual_seed(0)
    network = srlab.create_model("edsr_baseline", scale=2, dim=8, depth=1)
    before = copy.deepcopy(network.state_dict())
    seen = []
    network.body.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    steps_of(network, 2, dtype=dtype)
    assert seen == [getattr(torch, dtype)] * 2
    for key, parameter in network.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.isfinite().all()
        assert not torch.equal(parameter, before[key]), key


def test_a_step_runs_where_gradients_were_switched_off(elan):
    step = prepare(elan, Subject("m", None), Workload(lr_size=(8, 8), batch=1, device=CPU, training=True))
    with torch.no_grad():
        step.run()  # backward() would raise


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"dtype": "float64"}, "float32, bfloat16 or float16 .*not float64"),
        ({"compile": "reduce-overhead"}, "replays CUDA graphs, which cpu does not have"),
    ],
)
def test_what_cannot_be_run_is_refused(elan, dials, message):
    with pytest.raises(ValueError, match=message):
        steps_of(elan, 1, **dials)


def test_a_network_without_weights_is_refused():
    workload = Workload(lr_size=(8, 8), batch=1, device=CPU, training=True)
    with pytest.raises(ValueError, match="Bicubic has nothing to train"):
        prepare(srlab.create_model("bicubic", scale=2), Subject("m", None), workload)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("compiled", ["eager", "default", "reduce-overhead"])
def test_a_step_on_cuda_moves_weights(elan, dtype, checkpointing, compiled):
    before = elan.tail.weight.detach().clone()
    steps_of(elan, 4, device=CUDA, dtype=dtype, checkpointing=checkpointing, compile=compiled)
    torch.cuda.synchronize()
    after = elan.tail.weight.detach().cpu()
    assert after.isfinite().all()
    assert not torch.equal(after, before)


@pytest.mark.gpu
def test_checkpointing_takes_less_memory_on_cuda():
    peaks = []
    for checkpointing in (False, True):
        network = srlab.create_model("elan_light", scale=2)
        steps_of(network, 1, device=CUDA, patch=64, checkpointing=checkpointing)
        torch.cuda.reset_peak_memory_stats()
        steps_of(network, 1, device=CUDA, patch=64, checkpointing=checkpointing)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < 0.7 * peaks[0]
