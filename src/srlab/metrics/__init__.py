"""Image quality metrics under named protocols; each metric is one file."""
