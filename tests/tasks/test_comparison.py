"""The picture that compares restorations."""

import torch

from srlab.tasks.comparison import Example, comparison_picture


def example(height=48, width=64, scale=2):
    torch.manual_seed(0)
    hr_image = torch.rand(3, height, width)
    bicubic = hr_image.clone()
    bicubic[:, 20:28, 40:48] = 0  # bicubic errs here and nowhere else
    return Example(
        "photo", hr_image[:, ::scale, ::scale], hr_image, [("bicubic", bicubic), ("net", hr_image)]
    )


def test_picture_has_a_panel_for_each_image_and_a_row_for_each_example():
    one = comparison_picture([example()])
    two = comparison_picture([example(), example()])
    assert two.width == one.width
    assert one.height < two.height < 2 * one.height + 1
    assert one.width == 64 + 4 * 256 + 6 * 8  # the photograph, LR, bicubic, the network, HR and the margins


def test_enlarged_square_lies_where_bicubic_errs():
    """Oracle: with an 8-pixel crop the only wrong square is the black one, so bicubic's panel is black."""
    picture = comparison_picture([example()], crop=8)
    panel_width, margin = 256, 8
    from_right = 3 * (panel_width + margin)  # bicubic is the third panel from the right
    middle = picture.getpixel((picture.width - from_right + panel_width // 2, picture.height // 2))
    assert middle == (0, 0, 0)


def test_images_smaller_than_the_square_are_shown_whole():
    assert comparison_picture([example(height=6, width=6)]).height > 256
