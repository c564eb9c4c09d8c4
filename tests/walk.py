"""A program that runs train.py or evaluate.py and prints the files of srlab in which functions run.

It stops at the first optimizer step or the first score. Usage: walk.py SCRIPT KEY=VALUE …
"""

import inspect
import json
import runpy
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch  # noqa: F401  (thrice as slow to import while calls are noted)
import torch

import srlab
from srlab.metrics import psnr

PACKAGE = Path(srlab.__file__).parent


class Arrived(BaseException):
    """The end of the walk."""


def arrive(*_arguments: Any, **_options: Any) -> None:
    raise Arrived


def main() -> None:
    """Trace the main thread; bodies of modules and classes are no functions."""
    files: set[str] = set()

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        is_function = code.co_flags & inspect.CO_OPTIMIZED and not code.co_name.startswith("<")
        if event == "call" and is_function and code.co_filename.startswith(str(PACKAGE)):
            files.add(Path(code.co_filename).relative_to(PACKAGE).as_posix())

    torch.optim.Adam.step = arrive  # type: ignore[method-assign]
    object.__setattr__(psnr.METRIC, "compute", arrive)
    sys.argv = sys.argv[1:]
    sys.setprofile(note)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except Arrived:
        sys.setprofile(None)
        sys.stdout.write(f"\nwalked {json.dumps(sorted(files))}\n")


if __name__ == "__main__":
    main()
