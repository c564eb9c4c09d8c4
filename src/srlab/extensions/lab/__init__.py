"""The latency lab: networks, back ends, dtypes and compilers against one another in one interleaved run."""
