"""data=NAME on the command line of a run without a run."""

import pytest
import torch
from PIL import Image

from srlab.extensions.lab.chosen_data import chosen_data

SIZES = {"scale": 2, "patch_size": 4, "batch_size": 1}


def test_crops_come_from_the_given_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("SRLAB_CACHE", str(tmp_path / "cache"))
    roots = [tmp_path / "a", tmp_path / "b"]
    for level, root in enumerate(roots):
        root.mkdir()
        for number in range(2):
            Image.new("RGB", (16, 16), (100 * level + number, 0, 0)).save(root / f"{level}{number}.png")
    for chosen, reds in ((roots[1:], {100, 101}), (roots, {0, 1, 100, 101})):
        data = chosen_data("folder", **SIZES, roots=[str(root) for root in chosen])
        assert (data.scale, data.patch_size, data.batch_size) == (2, 4, 1)
        crops = data.training_crops
        seen = set(
            torch.cat([crops.batch([index])["hr_image"][:, 0].flatten() for index in range(40)]).tolist()
        )
        assert seen
        assert seen <= reds


@pytest.mark.parametrize(
    ("name", "roots", "message"),
    [
        ("demo", ["x"], "data=demo has no root= to set; data=folder has"),
        ("folder", [], "data=folder needs root="),
        ("foo", [], "unknown data 'foo'; choose one of benchmark"),
    ],
)
def test_what_does_not_fit_is_named(name, roots, message):
    with pytest.raises(ValueError, match=message):
        chosen_data(name, **SIZES, roots=roots)
