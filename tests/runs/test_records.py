from srlab.runs.records import read_scores


def test_scores_are_read_from_todays_records_and_from_those_of_0_1_0():
    today = {"set_name": "Set5", "scores": {"psnr": 30.5, "lpips": 0.2}}
    earlier = {"set_name": "Set5", "psnr": 30.5, "ssim": 0.9, "bicubic_psnr": 28.0, "bicubic_ssim": None}
    assert read_scores(today) == {"psnr": 30.5, "lpips": 0.2}
    assert read_scores(earlier) == {"psnr": 30.5, "ssim": 0.9}
    assert read_scores({"set_name": "Set5"}) == {}


def test_infinite_scores_are_numbers_again():
    assert read_scores({"scores": {"psnr": "inf"}}) == {"psnr": float("inf")}
