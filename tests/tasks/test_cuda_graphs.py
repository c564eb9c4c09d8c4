"""Buckets, eviction and invalidation, on the CPU with a stand-in for the recording; real graphs on a GPU."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import srlab
from preset_cases import preset_cases
from srlab.models.network import Network
from srlab.ops.attention import shifted_window_masks_by_row
from srlab.ops.padding import pad_to_multiple
from srlab.tasks.cuda_graphs import GraphedNetwork, Recording

BY_PRESET = pytest.mark.parametrize(("name", "scale"), preset_cases())


class Recorder:
    """Records as CUDA does: a replay reads the input's memory and writes the output's, and knows no other."""

    def __init__(self):
        self.recorded = []

    def __call__(self):
        return self.capture

    def capture(self, run, static_input):
        self.recorded.append(tuple(static_input.shape))
        output = run(static_input)
        output.fill_(torch.nan)  # a recording alone computes nothing
        return Recording(lambda: output.copy_(run(static_input)), output)


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def elan():
    torch.manual_seed(0)
    return srlab.create_model("elan_demo", scale=2).eval()


@BY_PRESET
def test_padding_outside_gives_the_same_image_where_networks_say_so(name, scale):
    """What a bucket of padded sizes rests on, to the last bit; for ESC, which says no, it would be wrong."""
    torch.manual_seed(0)
    network = srlab.create_model(name, scale=scale).eval()
    image = torch.rand(1, 3, 7, 5)
    with torch.inference_mode():
        expected, padded = network(image), network(pad_to_multiple(image, network.size_multiple))
    same = torch.equal(padded[..., : 7 * scale, : 5 * scale], expected)
    assert same == network.pads_image


def test_all_sizes_of_a_bucket_share_a_graph_and_equal_the_plain_call(elan, recorder):
    graphed = GraphedNetwork(elan, make_capture=recorder)
    for height, width in ((9, 16), (16, 16), (1, 2), (17, 3), (32, 16)):
        image = torch.rand(1, 3, height, width)
        with torch.no_grad():
            assert torch.equal(graphed(image), elan(image))
    assert recorder.recorded == [(1, 3, 16, 16), (1, 3, 32, 16)]


@pytest.mark.parametrize("name", ["esc_light", "edsr_baseline", "hit_sir"])
def test_networks_that_do_not_pad_the_image_first_get_a_graph_for_each_size(name, recorder):
    small = {"depth": 1} if name == "esc_light" else {}
    network = srlab.create_model(name, scale=2, **small).eval()
    graphed = GraphedNetwork(network, make_capture=recorder)
    for height, width in ((7, 5), (8, 5), (7, 5)):
        image = torch.rand(1, 3, height, width)
        with torch.no_grad():
            assert torch.equal(graphed(image), network(image))
    assert recorder.recorded == [(1, 3, 7, 5), (1, 3, 8, 5)]


def test_batches_and_dtypes_have_graphs_of_their_own(elan, recorder):
    graphed = GraphedNetwork(elan, make_capture=recorder)
    graphed(torch.rand(1, 3, 16, 16))
    graphed(torch.rand(2, 3, 16, 16))
    elan.double()
    assert graphed(torch.rand(1, 3, 16, 16, dtype=torch.float64)).dtype == torch.float64
    assert [shape[0] for shape in recorder.recorded] == [1, 2, 1]


def test_the_bucket_used_longest_ago_goes_first(elan, recorder):
    graphed = GraphedNetwork(elan, max_graphs=2, make_capture=recorder)
    for height in (16, 32, 16, 48, 16, 32):
        graphed(torch.rand(1, 3, height, 16))
        assert graphed.graphs <= 2
    assert [shape[2] for shape in recorder.recorded] == [16, 32, 48, 32]


def test_an_image_survives_the_next_one(elan, recorder):
    graphed = GraphedNetwork(elan, make_capture=recorder)
    first = graphed(torch.zeros(1, 3, 16, 16))
    kept = first.clone()
    graphed(torch.ones(1, 3, 16, 16))
    assert torch.equal(first, kept)


def written(network):
    with torch.no_grad():
        network.tail.weight.mul_(2)


def replaced(network):
    network.tail.weight = nn.Parameter(network.tail.weight.detach() * 2)


def loaded(network):
    network.load_state_dict({key: value * 2 for key, value in network.state_dict().items()})


@pytest.mark.parametrize("change", [written, replaced, loaded, lambda network: network.use_backend("sdpa")])
def test_a_changed_network_is_recorded_anew(elan, recorder, change):
    graphed, image = GraphedNetwork(elan, make_capture=recorder), torch.rand(1, 3, 16, 16)
    graphed(image)
    change(elan)
    with torch.no_grad():
        assert torch.equal(graphed(image), elan(image))
    assert len(recorder.recorded) == 2
    graphed(image)
    assert len(recorder.recorded) == 2


def test_what_is_recorded_in_inference_mode_serves_outside_of_it(elan, recorder):
    graphed, image = GraphedNetwork(elan, make_capture=recorder), torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        graphed(image.clone())
    with torch.no_grad():
        assert torch.equal(graphed(image), elan(image))
    assert len(recorder.recorded) == 1


class Masked(Network):
    """Reads a mask that it keeps outside of its parameters, and may forget."""

    def __init__(self):
        super().__init__(scale=1)
        self.weight = nn.Parameter(torch.ones(1))
        self.kept = [torch.full((1,), 3.0)]

    def restore(self, lr_image):
        return (lr_image * self.weight + 1.0) * self.kept[0]


def test_masks_that_a_graph_reads_are_held_as_long_as_it_and_passing_maps_are_not(recorder):
    network = Masked().eval()
    graphed = GraphedNetwork(network, make_capture=recorder)
    graphed(torch.rand(1, 3, 4, 4))
    (graph,) = graphed._graphs.values()
    addresses = {tensor.data_ptr() for tensor in graph.held}
    assert addresses == {
        tensor.data_ptr() for tensor in (network.weight, network.kept[0], graph.static_input)
    }
    mask = weakref.ref(network.kept.pop())
    del graph
    gc.collect()
    assert mask() is not None
    graphed.clear()
    gc.collect()
    assert mask() is None


def test_what_the_first_pass_makes_and_keeps_is_held_too(recorder):
    """Position biases and masks of a network that nobody has called before."""
    network = srlab.create_model(
        "swinir_light", scale=2, dim=8, depths=[2], num_heads=[2], backend="sdpa"
    ).eval()
    graphed = GraphedNetwork(network, make_capture=recorder)
    with torch.no_grad():
        graphed(torch.rand(1, 3, 16, 16))
    (graph,) = graphed._graphs.values()
    held = {tensor.untyped_storage().data_ptr() for tensor in graph.held}
    kept = [block.attention.position_bias.expanded._kept[1] for block in network.groups[0].blocks]
    masks = shifted_window_masks_by_row(16, 8, 4, torch.device("cpu"), torch.float32)
    assert all(tensor.untyped_storage().data_ptr() in held for tensor in (*kept, *masks))


def test_training_in_between_drops_graphs_that_read_what_was_kept(recorder):
    """Fused optimizers write without counting it; the change of modes is what tells."""
    network = srlab.create_model(
        "swinir_light", scale=2, dim=8, depths=[2], num_heads=[2], backend="sdpa"
    ).eval()
    graphed, image = GraphedNetwork(network, make_capture=recorder), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        graphed(image)
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1, fused=True)
    network(image).square().sum().backward()
    optimizer.step()
    network.eval()
    with torch.no_grad():
        assert_close(graphed(image), network(image))


def test_training_mode_is_refused_and_drops_the_graphs(elan, recorder):
    graphed = GraphedNetwork(elan, make_capture=recorder)
    graphed(torch.rand(1, 3, 16, 16))
    with pytest.raises(ValueError, match=r"call network.eval\(\) first"):
        elan.train() and graphed(torch.rand(1, 3, 16, 16))
    assert graphed.graphs == 0


def test_a_cpu_is_refused_with_the_remedy(elan):
    with pytest.raises(ValueError, match=r"need a CUDA device, got cpu; move network and images"):
        GraphedNetwork(elan)(torch.rand(1, 3, 16, 16))


def test_a_network_without_weights_is_refused(recorder):
    network = srlab.create_model("bicubic", scale=2).eval()
    with pytest.raises(ValueError, match="Bicubic has no weights"):
        GraphedNetwork(network, make_capture=recorder)(torch.rand(1, 3, 4, 4))


def test_devices_that_differ_are_named(elan, recorder):
    with pytest.raises(ValueError, match="network lies on cpu, the image on meta"):
        GraphedNetwork(elan, make_capture=recorder)(torch.rand(1, 3, 4, 4, device="meta"))


@pytest.mark.parametrize("max_graphs", [0, 1.5])
def test_a_number_of_graphs_must_be_positive(elan, max_graphs):
    with pytest.raises(ValueError, match="max_graphs must be an integer of at least 1"):
        GraphedNetwork(elan, max_graphs=max_graphs)


@pytest.mark.gpu
@BY_PRESET
def test_a_real_graph_gives_the_plain_image(name, scale):
    if name == "bicubic":
        pytest.skip("has no weights")
    network = srlab.create_model(name, scale=scale).cuda().eval()
    graphed = GraphedNetwork(network, max_graphs=2)
    for height, width in ((9, 16), (16, 13), (40, 33), (70, 10), (9, 16)):
        image = torch.rand(1, 3, height, width, device="cuda")
        with torch.inference_mode():
            torch.testing.assert_close(graphed(image), network(image), rtol=1e-4, atol=1e-5)
    assert graphed.graphs == 2


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_real_graph_in_16_bit_follows_weights_that_change(dtype):
    network = srlab.create_model("elan_light", scale=4).to("cuda", dtype).eval()
    graphed = GraphedNetwork(network)
    image = torch.rand(1, 3, 30, 50, device="cuda", dtype=dtype)
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        nn.init.normal_(parameter, std=0.02)
    for state in (network.state_dict(), other.state_dict()):
        network.load_state_dict(copy.deepcopy(state))
        with torch.inference_mode():
            torch.testing.assert_close(graphed(image), network(image))
