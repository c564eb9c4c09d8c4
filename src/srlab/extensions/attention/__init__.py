"""Analysis of trained attention: maps, their reach and similarity, and the input that a pixel depends on."""
