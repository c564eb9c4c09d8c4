import pytest
import torch

from srlab.ops.input_padding import InputPadding, pad_input


def row(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1).expand(1, 1, 8, -1)


def padded_row(side, padding, multiple=4):
    return pad_input(row(*range(side)), multiple, padding)[0, 0, 0].int().tolist()


def test_model_padding_leaves_the_image_alone():
    image = torch.rand(1, 3, 5, 7)
    assert pad_input(image, 8, InputPadding.model) is image


@pytest.mark.parametrize("padding", list(InputPadding))
def test_a_network_without_windows_gets_the_image_itself(padding):
    image = torch.rand(1, 3, 5, 7)
    assert pad_input(image, 1, padding) is image


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (3, [0, 1, 2, 2]),
        (4, [0, 1, 2, 3, 3, 2, 1, 0]),  # divisible, and yet a window more
        (5, [0, 1, 2, 3, 4, 4, 3, 2]),
        (1, [0, 0]),  # mirrored once only: the network pads the rest
    ],
)
def test_swinir_test_mirrors_with_the_edge_to_one_more_window(side, expected):
    assert padded_row(side, InputPadding.swinir_test) == expected


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (4, [0, 1, 2, 3]),
        (5, [0, 1, 2, 3, 4, 3, 2, 1]),
        (2, [0, 1, 0, 1]),  # the pad reaches the side: reflected again
        (1, [0, 0, 0, 0]),
    ],
)
def test_esc_validation_reflects_without_the_edge_to_the_next_multiple(side, expected):
    assert padded_row(side, InputPadding.esc_validation) == expected


@pytest.mark.parametrize("padding", [InputPadding.swinir_test, InputPadding.esc_validation])
def test_rows_and_columns_are_padded_alike(padding):
    image = torch.rand(2, 3, 9, 13)
    expected = pad_input(image.mT.contiguous(), 8, padding).mT
    assert torch.equal(pad_input(image, 8, padding), expected)
    assert pad_input(image, 8, padding).shape == (2, 3, 16, 16)
