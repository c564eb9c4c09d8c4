"""``srlab.upscale``: the same kind out as in."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.extensions.upscale.pictures import ALPHA, GRAY, RGB, bicubic, deep

import srlab
from preset_cases import narrowed
from srlab.checkpoints import shipped
from srlab.extensions.upscale.choosing import choose
from srlab.extensions.upscale.enlarging import Target, describe_steps
from srlab.models.bicubic import Bicubic

RGBA, LA = np.dstack([RGB, ALPHA]), np.dstack([GRAY, ALPHA])
KINDS = {"gray": GRAY, "gray, one channel": GRAY[..., None], "LA": LA, "RGB": RGB, "RGBA": RGBA}


@pytest.mark.parametrize("image", [*KINDS.values(), deep(RGB)], ids=[*KINDS, "16 bits"])
def test_arrays_keep_layout_and_dtype(image):
    result = srlab.upscale(image, "bicubic", scale=2)
    assert result.dtype == image.dtype
    assert result.shape == (2 * image.shape[0], 2 * image.shape[1], *image.shape[2:])
    if image.shape[-1] not in (2, 4):  # colours below transparency are others
        np.testing.assert_allclose(result.astype(int), bicubic(image).astype(int), atol=1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_is_in_0_to_1_and_clamped(dtype):
    edge = np.zeros((8, 8, 3), dtype)
    edge[:, 4:] = 1
    result = srlab.upscale(edge, "bicubic", scale=2)
    assert result.dtype == dtype
    assert (result.min(), result.max()) == (0, 1)


@pytest.mark.parametrize("shape", [(3, 6, 5), (2, 3, 6, 5), (1, 6, 5), (2, 4, 6, 5)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_tensors_keep_layout_and_dtype_and_are_the_arrays_results(shape, dtype):
    image = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = image if dtype == torch.uint8 else (image / 255).to(dtype)
    result = srlab.upscale(image, "bicubic", scale=2)
    assert result.dtype == dtype
    assert result.shape == (*shape[:-2], 12, 10)
    if dtype == torch.uint8:
        first = image if image.ndim == 3 else image[0]
        array = srlab.upscale(first.permute(1, 2, 0).numpy(), "bicubic", scale=2)
        of_first = result if image.ndim == 3 else result[0]
        np.testing.assert_array_equal(of_first.permute(1, 2, 0).numpy(), array)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_images_of_pillow_come_back_as_such(mode):
    source = Image.fromarray(deep(GRAY)) if mode == "I;16" else Image.fromarray(RGB).convert(mode)
    result = srlab.upscale(source, "bicubic", scale=1.5)
    assert result.mode == {"1": "L", "P": "RGB", "CMYK": "RGB"}.get(mode, mode)
    assert result.size == (30, 18)


def test_size_is_height_and_width_exactly():
    assert srlab.upscale(RGB, "bicubic", size=(31, 17)).shape == (31, 17, 3)


def test_a_network_of_ones_own_is_run_where_it_is():
    network = srlab.create_model("edsr_baseline", scale=2, depth=1, dim=4).double()
    result = srlab.upscale(RGB, network)
    assert result.shape == (24, 40, 3)
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(RGB).permute(2, 0, 1)[None] / 255.0)
    levels = (expected[0].permute(1, 2, 0).clamp(0, 1) * 255).round().numpy()
    np.testing.assert_allclose(result.astype(float), levels, atol=1)


def test_steps_are_the_networks_scale_then_bicubic():
    """Oracle: the two steps by hand."""
    from srlab.ops.resize import imresize

    network = srlab.create_model("edsr_baseline", scale=2, depth=1, dim=4)
    image = torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        larger = network.eval()(image)
    expected = imresize(larger, size=(12, 15), mode="float").clamp(0, 1)
    torch.testing.assert_close(srlab.upscale(image, network, scale=1.5), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("image", "options", "fault"),
    [
        (RGB.astype(np.float32), {}, r"floating-point images are in \[0, 1\], got .* divide by 255"),
        (RGB.astype(np.int32), {}, "expected uint8, uint16 or floating point"),
        (np.zeros((4, 4, 5), np.uint8), {}, r"1 to 4 channels .*, got \(4, 4, 5\)"),
        (np.zeros((0, 4, 3), np.uint8), {}, r"1 to 4 channels .*, got \(0, 4, 3\)"),
        (torch.zeros(4, 4), {}, r"expected a tensor \(C, H, W\) or \(B, C, H, W\)"),
        (RGB, {"scale": 2, "size": (4, 4)}, "give either a scale or a size"),
        (RGB, {"scale": -1}, "the scale must be a positive number"),
        (RGB, {"precision": "float8"}, "choose one of float32, bfloat16, float16"),
        (RGB, {"network": Bicubic(scale=2), "device": "cpu"}, "are for networks that are loaded here"),
    ],
)
def test_what_is_not_an_image_or_a_size_is_refused(image, options, fault):
    network = options.pop("network", "bicubic")
    with pytest.raises(ValueError, match=fault):
        srlab.upscale(image, network, **options)


def test_another_kind_of_object_is_a_type_error():
    with pytest.raises(TypeError, match="got list"):
        srlab.upscale([[1, 2]], "bicubic")  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("target", "size"),
    [
        (Target(2.5), (25, 50)),
        (Target(1.05), (11, 21)),  # half up: 10.5
        (Target(0.01), (1, 1)),
        (Target(box=(1920, 1080)), (960, 1920)),
        (Target(box=(7, 100)), (4, 7)),
    ],
)
def test_sizes_of_targets_for_an_image_of_10x20(target, size):
    assert target.size_for(10, 20) == size


def test_weights_that_come_with_srlab_are_found_by_name_and_the_next_larger_scale(tmp_path, monkeypatch):
    from srlab.checkpoints import save_official

    assert shipped.shipped_weights() == {} or all(shipped.shipped_weights().values())
    for scale in (2, 4):
        network = srlab.create_model("edsr_baseline", scale=scale, depth=1, dim=4)
        save_official(network, tmp_path / f"edsr_baseline_x{scale}.safetensors")
    monkeypatch.setattr(shipped, "_FOLDER", tmp_path)
    chosen = {scale: choose(None, scale=scale).network.scale for scale in (1.5, 2, 3, 8, None)}
    assert chosen == {1.5: 2, 2: 2, 3: 4, 8: 4, None: 2}
    assert choose("edsr_baseline", scale=2).label.endswith("x2 (edsr_baseline, comes with srlab)")


def test_digests_differ_with_weights_and_agree_for_equal_ones():
    def digest(seed):
        torch.manual_seed(seed)
        from srlab.extensions.upscale.choosing import digest_of

        return digest_of(srlab.create_model("edsr_baseline", scale=2, depth=1, dim=4), {"scale": 2})

    assert digest(0) == digest(0) != digest(1)


def test_a_network_of_any_scale_makes_the_size_itself(tmp_path):
    """Oracle: its own ``upsample``; a network of one scale would be resized."""
    torch.manual_seed(0)
    network = srlab.create_model("esc_lte", scale=2, **narrowed("esc_lte"))
    network.save_pretrained(tmp_path)
    image = torch.rand(3, 9, 11)
    result = srlab.upscale(image, str(tmp_path), scale=3.3, device="cpu")
    with torch.inference_mode():
        expected = network.eval().upsample(image[None], (30, 36))[0].clamp(0, 1)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)
    chosen = choose(str(tmp_path), scale=3.3, device="cpu")
    assert chosen.label.startswith("EscLTE of any scale (")
    assert describe_steps(chosen.network, Target(3.3)) == "x3.3, by the network itself, which has any scale"
