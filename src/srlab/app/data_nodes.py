"""Builds the data that a configuration describes."""

from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from srlab.data.datamodule import SuperResolutionData


def build_data(node: DictConfig | Mapping[str, Any]) -> SuperResolutionData:
    """The data of a composed ``data`` node, or of a plain dictionary like it.

    Raises:
        ValueError: the node lacks arguments, as one whose file does not include ``loading@_here_: shared``.
    """
    try:
        return instantiate(node)
    except InstantiationException as error:
        fault = error.__cause__
        if not isinstance(fault, TypeError) or " missing " not in str(fault):
            raise
        raise ValueError(
            f"{fault}; the file in conf/data with _target_: {node['_target_']} must set these. Those of "
            'every data set it gets by "defaults: [loading@_here_: shared, _self_]"; add "num_workers: 0"'
        ) from error
