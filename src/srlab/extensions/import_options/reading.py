"""Option files as flat keys; keys that are not used are reported."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_MISSING = object()
# KAIR's JSON has comments: from // to the end of the line, outside of strings.
_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*')


class _Loader(yaml.SafeLoader):
    """Reads 2e-4 as a number, as YAML 1.2 does."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+"), list("-+0123456789")
)


@dataclass
class Options:
    """The options of a file by dotted keys (``train.optim_g.lr``), and what became of them.

    Attributes:
        values: those that were not taken yet.
        overrides: keys and values of our command line.
        notes: what changed on the way, or was decided here.
        unmatched: keys and values without counterpart.
    """

    values: dict[str, Any]
    overrides: dict[str, object] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unmatched: dict[str, Any] = field(default_factory=dict)

    def take(self, *keys: str, default: Any = None) -> Any:
        """Remove these keys; the value of the first that is there."""
        found = [value for key in keys if (value := self.values.pop(key, _MISSING)) is not _MISSING]
        return found[0] if found else default

    def below(self, prefix: str) -> dict[str, Any]:
        """The keys that start with ``prefix.``, without it; they stay."""
        start = f"{prefix}."
        return {key.removeprefix(start): value for key, value in self.values.items() if key.startswith(start)}

    def leave(self, key: str, value: Any) -> None:
        """Report an option that was looked at and has no counterpart."""
        self.unmatched[key] = value

    def finish(self) -> None:
        """Everything that is left has no counterpart."""
        self.unmatched |= self.values
        self.values = {}


def read_options(path: Path) -> Options:
    """Read a YAML file, or KAIR's JSON with comments.

    Raises:
        ValueError: the file is neither, or holds no options of a network.
        OSError: it cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix.lower() == ".json":
            content = json.loads(_COMMENT.sub(lambda match: match[1] or "", text))
        else:
            content = yaml.load(text, _Loader)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is neither YAML nor JSON: {error}") from error
    if not isinstance(content, dict) or not {"network_g", "netG"} & content.keys():
        raise ValueError(
            f"{path} has no network_g (BasicSR, traiNNer-redux) or netG (KAIR): is it an option file?"
        )
    return Options(dict(_flat(content)))


def _flat(node: Mapping[Any, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in node.items():
        name = f"{prefix}{key}"
        pairs += _flat(value, f"{name}.") if isinstance(value, Mapping) and value else [(name, value)]
    return pairs
