import cv2
import numpy as np
import pytest
import torch

from srlab.ops.sharpen import unsharp_mask


def sharpened_by_opencv(image):
    """Blur, threshold, blur of the mask and blend, as the paper describes them; (H, W, 3) in [0, 1]."""
    blurred = cv2.GaussianBlur(image, (51, 51), 0, borderType=cv2.BORDER_REFLECT_101)
    mask = (np.abs(image - blurred) * 255 > 10).astype(image.dtype)
    mask = cv2.GaussianBlur(mask, (51, 51), 0, borderType=cv2.BORDER_REFLECT_101)
    return mask * np.clip(image + 0.5 * (image - blurred), 0, 1) + (1 - mask) * image


def test_it_equals_opencvs_blur_and_the_formula():
    # float64: an OpenCV of float32 may put a pixel on the other side of the threshold
    image = np.random.default_rng(0).random((40, 51, 3)) ** 2
    made = unsharp_mask(torch.from_numpy(image).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(made, sharpened_by_opencv(image), rtol=0, atol=1e-12)


def test_flat_regions_stay_and_edges_get_steeper():
    image = torch.full((1, 1, 120, 160), 0.4)
    image[..., 80:] = 0.6
    made = unsharp_mask(image)
    assert (made[..., :30] - 0.4).abs().max() < 1e-6
    assert made[..., 60, 79] < 0.39
    assert made[..., 60, 80] > 0.61


def test_images_smaller_than_the_blur_are_refused():
    unsharp_mask(torch.zeros(1, 3, 26, 26))
    with pytest.raises(ValueError, match=r"needs images of 26x26 pixels or more, got 25x30; .*patch_size"):
        unsharp_mask(torch.zeros(1, 3, 25, 30))
