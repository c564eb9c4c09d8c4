"""Option files of BasicSR, traiNNer-redux and KAIR as command lines of srlab."""
