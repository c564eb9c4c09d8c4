import json
from dataclasses import asdict

import srlab
from srlab.counts.complexity import activations, executed_multiply_adds, multiply_adds
from srlab.extensions.kernels.cpu.compiled import why_unavailable
from srlab.extensions.lab.costs import measure_costs


def test_costs_hold_both_counts_and_summarise_under_names_with_units():
    network = srlab.create_model("elan_demo", scale=4, backend="sdpa")
    costs = measure_costs(network, output_size=(30, 40), device="cpu", warmup=0, repeats=1)
    assert costs.multiply_adds == multiply_adds(network)
    assert costs.executed_multiply_adds == executed_multiply_adds(network) != costs.multiply_adds
    assert costs.activations == activations(network)
    summary = costs.summary()
    assert summary["multiply_adds/720x1280"] == costs.multiply_adds
    assert summary["executed_multiply_adds/720x1280"] == costs.executed_multiply_adds
    assert summary["activations/720x1280"] == costs.activations
    assert summary["latency_ms/30x40"] == costs.latency.median_ms
    assert json.loads(json.dumps(asdict(costs)))["activations"] == costs.activations


def test_executed_multiply_adds_are_those_of_the_device_measured():
    network = srlab.create_model("elan_demo", scale=4, backend="auto")
    costs = measure_costs(network, output_size=(30, 40), device="cpu", warmup=0, repeats=1)
    assert costs.latency.backend == ("sdpa" if why_unavailable() else "fused")
    network.use_backend("sdpa")
    assert costs.executed_multiply_adds == executed_multiply_adds(network)
