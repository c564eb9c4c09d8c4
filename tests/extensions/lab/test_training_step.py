"""The step that is measured is the step that trains."""

import copy

import pytest
import torch

import srlab
from srlab.extensions.lab.training_step import prepare_training_step

CPU = torch.device("cpu")
PLAIN = {
    "batch": 2,
    "patch": 8,
    "device": CPU,
    "dtype": torch.float32,
    "compile": "eager",
    "checkpointing": False,
    "fused_optimizer": False,
}


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


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_two_calls_are_two_steps_of_adam_on_the_mean_absolute_error(elan, fused, checkpointing):
    expected = copy.deepcopy(elan)
    reference_steps(expected, 2)
    step = prepare_training_step(elan, **{**PLAIN, "fused_optimizer": fused, "checkpointing": checkpointing})
    step()
    step()
    for key, value in expected.state_dict().items():
        torch.testing.assert_close(elan.state_dict()[key], value, rtol=1e-4, atol=2e-6)
    assert int(elan.state_dict()["body.0.attention.0.norm.num_batches_tracked"]) == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_are_those_of_activations_and_every_weight_moves(dtype):
    torch.manual_seed(0)
    network = srlab.create_model("edsr_baseline", scale=2, dim=8, depth=1)
    before = copy.deepcopy(network.state_dict())
    seen = []
    network.body.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    step = prepare_training_step(network, **{**PLAIN, "dtype": dtype})
    step()
    step()
    assert seen == [dtype, dtype]
    for key, parameter in network.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.isfinite().all()
        assert not torch.equal(parameter, before[key]), key


def test_a_step_runs_where_gradients_were_switched_off(elan):
    before = elan.tail.weight.clone()
    step = prepare_training_step(elan, **PLAIN)
    with torch.no_grad():
        step()
    assert not torch.equal(elan.tail.weight, before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": torch.float64}, "measured in float32, bfloat16, float16, got float64"),
        ({"compile": "graph"}, "one of eager, default, .*got 'graph'"),
        ({"compile": "reduce-overhead"}, "replays CUDA graphs, and cpu has none"),
        ({"batch": 0}, "batch must be an integer of at least 1"),
        ({"patch": 0}, "patch must be an integer of at least 1"),
    ],
)
def test_what_cannot_be_run_is_refused(elan, changes, message):
    with pytest.raises(ValueError, match=message):
        prepare_training_step(elan, **{**PLAIN, **changes})


def test_a_network_without_weights_is_refused():
    with pytest.raises(ValueError, match="Bicubic has nothing to train"):
        prepare_training_step(srlab.create_model("bicubic", scale=2), **PLAIN)


@pytest.mark.slow  # compiles
def test_a_compiled_step_follows_the_eager_one(elan):
    torch.compiler.reset()
    expected = copy.deepcopy(elan)
    for network, compiled in ((expected, "eager"), (elan, "default")):
        prepare_training_step(network, **{**PLAIN, "compile": compiled, "checkpointing": True})()
    for key, value in expected.state_dict().items():
        torch.testing.assert_close(elan.state_dict()[key], value, rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("compiled", ["eager", "default", "reduce-overhead"])
def test_a_step_on_cuda_moves_weights(elan, dtype, checkpointing, compiled):
    settings = {**PLAIN, "device": torch.device("cuda"), "dtype": dtype, "fused_optimizer": True}
    before = elan.tail.weight.detach().clone()
    step = prepare_training_step(elan, **{**settings, "checkpointing": checkpointing, "compile": compiled})
    for _ in range(4):
        step()
    torch.cuda.synchronize()
    after = elan.tail.weight.detach().cpu()
    assert after.isfinite().all()
    assert not torch.equal(after, before)


@pytest.mark.gpu
def test_checkpointing_takes_less_memory_on_cuda():
    peaks = []
    for checkpointing in (False, True):
        network = srlab.create_model("elan_light", scale=2)
        settings = {**PLAIN, "patch": 64, "device": torch.device("cuda"), "checkpointing": checkpointing}
        step = prepare_training_step(network, **settings)
        step()
        torch.cuda.reset_peak_memory_stats()
        step()
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < 0.7 * peaks[0]
