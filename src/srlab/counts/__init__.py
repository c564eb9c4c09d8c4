"""Parameters and multiply-adds."""
