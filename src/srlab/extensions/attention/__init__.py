"""Analysis of trained attention: maps, their reach and similarity, what a pixel depends on."""
