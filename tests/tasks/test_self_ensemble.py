import torch

import srlab
from srlab.models.bicubic import Bicubic
from srlab.tasks.restoration import restore
from srlab.tasks.self_ensemble import self_ensemble


def test_the_ensemble_is_the_mean_of_a_loop_over_eight_turned_images():
    torch.manual_seed(0)
    network = (
        srlab.create_model("elan_demo", scale=2, dim=6, depth=2, n_share=0, window_sizes=[2, 4, 8])
        .double()
        .eval()
    )
    image = torch.rand(2, 3, 20, 33, dtype=torch.float64)
    total = torch.zeros(2, 3, 40, 66, dtype=torch.float64)
    with torch.inference_mode():
        for turns in range(4):
            turned = image.rot90(turns, (2, 3))
            total += network(turned).rot90(-turns, (2, 3))
            total += network(turned.flip(3)).flip(3).rot90(-turns, (2, 3))
    ensemble = restore(network, image, ensemble=True)
    assert (ensemble - total / 8).abs().max() < 1e-12
    assert (ensemble - restore(network, image)).abs().max() > 1e-6
    tiled = restore(network, image.repeat(1, 1, 1, 3), ensemble=True, tile=16, exact=True)
    assert (tiled - restore(network, image.repeat(1, 1, 1, 3), ensemble=True)).abs().max() < 1e-12


def test_a_network_that_treats_all_directions_alike_gains_nothing():
    image = torch.rand(1, 3, 11, 17, dtype=torch.float64)
    network = Bicubic(scale=3)
    assert (restore(network, image, ensemble=True) - restore(network, image)).abs().max() < 1e-12


def test_the_mean_of_half_precision_results_is_taken_in_float32():
    results = iter([1.0] + 7 * [1 + 2**-10])
    mean = self_ensemble(lambda part, _: torch.full_like(part, next(results)), torch.rand(1, 3, 2, 2).half())
    assert mean.dtype == torch.float16
    assert torch.equal(mean, torch.full_like(mean, 1 + 2**-10))  # a sum in float16 rounds to 1
