import pytest
import torch

from srlab.metrics.registry import find_metric, list_metrics, ready_metrics


def test_every_file_with_a_metric_is_found_under_its_own_name():
    assert {"lpips", "ms_ssim", "niqe", "psnr", "ssim"} <= set(list_metrics())
    assert all(find_metric(name).name == name for name in list_metrics())


def test_directions_are_those_of_better_images():
    """Oracle: more noise is worse."""
    image = torch.rand(1, 1, 176, 176, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    for name in set(list_metrics()) - {"lpips", "niqe"}:  # need their files, see their own tests
        metric = find_metric(name)
        near, far = (metric(image + amount * noise, image, peak=1.0).item() for amount in (0.01, 0.1))
        assert (near > far) == metric.higher_is_better, name


def test_unknown_repeated_and_no_metrics_are_refused():
    with pytest.raises(ValueError, match=r"there is no metric 'psrn'; choose from .*psnr"):
        find_metric("psrn")
    for names in ([], ["psnr", "psnr"]):
        with pytest.raises(ValueError, match="metrics must name at least one metric, each once, got"):
            ready_metrics(names)
