"""Evaluations made by hand: what a network costs and how it scored, without a network."""

from protocols import basicsr
from srlab.tasks.columns import Reading
from srlab.tasks.costs import Costs
from srlab.tasks.evaluation import EvaluationReport, ImageRecord, SetMean


def costs_of(*, params="601.0", latency="12.3 (11.0 to 15.0)", remark=""):
    counts = Reading(
        record={"output_size": (720, 1280), "parameters": {"all": 601_000}},
        fields={"parameters": 601_000, "multiply_adds": 43_200_000_000},
        cells={"params (K)": params, "trainable (K)": "600.0", "mult-adds (G)": "1243.20"},
        summary={"params/all": 601_000},
        lines=["multiply-adds: not counted: soft-max"],
    )
    measured = Reading(
        record={"latency": {"median_ms": 12.34, "input_shape": (1, 3, 180, 320)}},
        fields={"latency_median_ms": 12.34},
        cells={"latency ms (p10 to p90)": latency},
        summary={"latency_ms/720x1280": 12.34},
        lines=["latency of one restored image: median_ms=12.34"],
        remark=remark,
        value=12.34,
    )
    return Costs((720, 1280), (counts, measured))


def report_of(*images, gray_rule="replicate", protocol=None, **changes):
    """One set whose mean is written by hand; ``images`` are (name, psnr, ssim, gray)."""
    label = "basicsr"
    records = tuple(
        ImageRecord("Set14", name, label, {"psnr": psnr, "ssim": ssim}, 64, 64, gray, gray_rule, "file")
        for name, psnr, ssim, gray in images
    )
    scores = {
        "psnr": sum(each.scores["psnr"] for each in records) / len(records),
        "ssim": sum(each.scores["ssim"] for each in records) / len(records),
    }
    gray_images = tuple(each.name for each in records if each.gray)
    mean = SetMean("Set14", label, len(records), scores, gray_images, gray_rule, "file and made")
    settings = {
        "scale": 4, "device": "Some CPU", "dtype": "float32", "protocols": (protocol or basicsr(4),),
        "means": (mean,), "images": records, "skipped_protocols": (), "absent_sets": (), **changes,
    }  # fmt: skip
    return EvaluationReport(**settings)
