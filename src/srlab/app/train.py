"""Train a super-resolver: ``python train.py`` in a clone, ``srlab train`` anywhere."""

from srlab.app.application import application

main = application("train")("srlab.app.training:train")
