"""What a network costs: parameters, multiply-adds, latency, peak memory."""
