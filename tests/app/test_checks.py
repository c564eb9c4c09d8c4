"""What a run refuses before it learns anything."""

import pytest
import torch

import srlab
from srlab.app.checks import check_kernels_train


@pytest.mark.parametrize("name", ["elan_demo", "swinir_light", "esc_light"])
def test_cpu_kernels_do_not_train_and_other_devices_and_back_ends_do(name):
    network = srlab.create_model(name, scale=2, backend="fused")
    with pytest.raises(ValueError, match=r"for inference on a CPU; train with model.backend=auto, sdpa"):
        check_kernels_train(network, torch.device("cpu"))
    check_kernels_train(network, torch.device("cuda"))
    network.use_backend("auto")
    check_kernels_train(network, torch.device("cpu"))


@pytest.mark.parametrize("name", ["elan_light_elsa", "edsr_baseline"])
def test_what_is_made_of_pytorchs_operators_trains_anywhere(name):
    check_kernels_train(srlab.create_model(name, scale=2), torch.device("cpu"))
