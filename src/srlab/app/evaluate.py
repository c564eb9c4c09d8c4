"""Score a network as the papers do: ``python evaluate.py`` in a clone, ``srlab evaluate`` anywhere."""

from srlab.app.application import application

main = application("evaluate")("srlab.app.scoring:score_sets")
