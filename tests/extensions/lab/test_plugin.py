import torch

import srlab
from srlab.counts.complexity import activations, executed_multiply_adds, multiply_adds
from srlab.extensions.kernels.cpu.compiled import why_unavailable
from srlab.tasks.columns import MeterSettings
from srlab.tasks.costs import measure_costs


def test_costs_hold_the_counts_and_what_the_lab_measured():
    network = srlab.create_model("elan_demo", scale=4, backend="auto")
    settings = MeterSettings(output_size=(30, 40), device=torch.device("cpu"), warmup=0, repeats=1)
    costs = measure_costs(network, settings)
    record, summary, fields = map(costs.merged, ("record", "summary", "fields"))
    assert record["multiply_adds"] == summary["multiply_adds/720x1280"] == multiply_adds(network)
    assert record["activations"] == summary["activations/720x1280"] == activations(network)
    assert record["latency"]["backend"] == ("sdpa" if why_unavailable() else "fused")
    assert record["latency"]["input_shape"] == (1, 3, 8, 10)
    assert record["latency"]["median_ms"] == summary["latency_ms/30x40"] == fields["latency_median_ms"] > 0
    assert record["memory"]["peak_mib"] == summary["peak_memory_mib/30x40"] == fields["peak_memory_mib"]
    assert {"latency ms (p10 to p90)", "peak memory (MiB)"} < costs.merged("cells").keys()
    network.use_backend("sdpa")
    assert record["executed_multiply_adds"] == executed_multiply_adds(network) != record["multiply_adds"]
