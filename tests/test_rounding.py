"""The tolerance that is measured lets rounding pass and nothing else."""

import copy

import pytest
import torch

import srlab
from rounding import assert_equal_up_to_rounding, outputs_and_gradients, outputs_of, settle_statistics


def test_one_bias_off_by_a_millionth_is_found():
    torch.manual_seed(0)
    network = srlab.create_model("elan_light_elsa", scale=2, depth=4, backend="reference").double()
    image = torch.rand(1, 3, 9, 6, dtype=torch.float64)
    settle_statistics(network, image)
    other = copy.deepcopy(network)
    other.use_backend("fused")
    assert_equal_up_to_rounding(outputs_of(other, image), outputs_of, network, image)
    with torch.no_grad():
        other.body[1].attention[1].project.bias[0] *= 1 + 1e-6
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_equal_up_to_rounding(outputs_of(other, image), outputs_of, network, image)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-12), (torch.float32, 1e-3)], ids=str)
@pytest.mark.parametrize("place", ["weight", "bias"])
def test_the_tolerance_is_of_the_dtype(dtype, error, place):
    """A convolution of 27 products and its gradients: 64 units are 1.4e-14 and 7.6e-6."""
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 8, 3).double()
    image, other = torch.rand(1, 3, 6, 6, dtype=torch.float64), copy.deepcopy(network).to(dtype)
    results = outputs_and_gradients(other, image.to(dtype))
    assert_equal_up_to_rounding(results, outputs_and_gradients, network, image)
    with torch.no_grad():
        getattr(other, place)[0] *= 1 + error
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_equal_up_to_rounding(outputs_of(other, image.to(dtype)), outputs_of, network, image)


def test_a_comparison_that_rounding_hides_is_refused():
    """The difference of two sums of the same numbers in another order is nothing but rounding."""

    def difference(_network, numbers):
        return [numbers.sum() - numbers.sort().values.sum()]

    numbers = torch.rand(1000, dtype=torch.float64)
    with pytest.raises(AssertionError, match="rounding alone moves"):
        assert_equal_up_to_rounding([torch.zeros(())], difference, torch.nn.Identity(), numbers)
