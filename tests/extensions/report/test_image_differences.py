"""Where is the second better: image by image, against hand-written numbers."""

from extensions.report.synthetic_runs import write_run
from srlab.extensions.report import compare, read_runs
from srlab.extensions.report.comparison import compare_with_baseline


def image(name, psnr):
    return {"set_name": "Set5", "name": name, "psnr": psnr, "ssim": 0.9, "hr_file": None, "restored": None}


def test_gains_are_sorted_and_means_over_seeds(tmp_path):
    before = [
        write_run(tmp_path / "a", psnr=30.0, images=[image("x", 30.0), image("y", 31.0), image("z", 5.0)])
    ]
    after = [
        write_run(tmp_path / "b1", psnr=31.0, n_share=3, seed=1, images=[image("x", 29.0), image("y", 33.0)]),
        write_run(tmp_path / "b2", psnr=31.0, n_share=3, seed=2, images=[image("x", 29.5), image("y", 34.0)]),
    ]
    [pair] = compare_with_baseline(compare(read_runs(before + after)))
    assert [(each.image, each.difference) for each in pair.images] == [("Set5/y", 2.5), ("Set5/x", -0.75)]
    assert (pair.wins, pair.losses, pair.mean_difference) == (1, 1, 0.875)
    assert pair.differing == (("seed", "0", "1"), ("model.n_share", "1", "3"))


def test_two_seeds_of_one_configuration_are_compared_with_one_another(tmp_path):
    runs = [
        write_run(tmp_path / str(seed), psnr=30.0, seed=seed, images=[image("x", 30.0 + seed)])
        for seed in (1, 2)
    ]
    [pair] = compare_with_baseline(compare(read_runs(runs)))
    assert (pair.first.label, pair.second.label, pair.mean_difference) == ("1", "2", 1.0)


def test_exact_restorations_differ_by_nothing(tmp_path):
    """Infinity less infinity would be no number."""
    runs = [
        write_run(tmp_path / str(share), psnr=30.0, n_share=share, images=[image("x", float("inf"))])
        for share in (1, 3)
    ]
    [pair] = compare_with_baseline(compare(read_runs(runs)))
    assert (pair.wins, pair.losses, pair.mean_difference) == (0, 0, 0.0)


def test_a_gain_and_a_loss_without_bounds_have_no_mean(tmp_path):
    """Each restores one image exactly that the other does not."""
    exact = float("inf")
    runs = [
        write_run(tmp_path / "a", psnr=30.0, images=[image("x", exact), image("y", 30.0)]),
        write_run(tmp_path / "b", psnr=30.0, n_share=3, images=[image("x", 30.0), image("y", exact)]),
    ]
    [pair] = compare_with_baseline(compare(read_runs(runs)))
    assert (pair.wins, pair.losses, pair.mean_difference) == (1, 1, None)


def test_without_scores_of_images_only_configurations_are_compared(tmp_path):
    runs = [write_run(tmp_path / str(share), psnr=30.0, n_share=share) for share in (1, 3)]
    [pair] = compare_with_baseline(compare(read_runs(runs)))
    assert (pair.images, pair.mean_difference) == ((), None)
