"""``srlab VERB …``: finds the verb, parses its arguments, and turns what a user can mend into one line."""

import argparse
import importlib
import logging
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType

import srlab.extensions.console
from srlab import __version__
from srlab.extensions.console.arguments import is_assignment, parse_assignments
from srlab.terminal.output import lasting_output

__all__ = ["main"]

_NO_VERBS = ("main", "arguments", "progress")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the exit status is 2 for a user's error and 130 after Ctrl-C.

    Raises:
        SystemExit: standard output was closed or full; the verb did its work (:mod:`srlab.terminal.output`).
    """
    with lasting_output():
        return _run_verb(sys.argv[1:] if arguments is None else list(arguments))


def _run_verb(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="srlab", description="A laboratory for efficient super-resolution transformers."
    )
    parser.add_argument("--version", action="version", version=f"srlab {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, module in _verbs().items():
        summary = (module.__doc__ or "").strip().splitlines()[0]
        verb = verbs.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)
    parsed = parser.parse_args([word for word in words if not is_assignment(word)])
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from srlab.ops.subnormals import flush_subnormals  # here: it needs torch, and --help does not

    try:
        with flush_subnormals():
            parsed.run(parsed, parse_assignments([word for word in words if is_assignment(word)]))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130
    return 0


def _verbs() -> dict[str, ModuleType]:
    """Every verb by name; the modules import what is slow only when they run."""
    package = srlab.extensions.console
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return {
        name: importlib.import_module(f"{package.__name__}.{name}") for name in names if name not in _NO_VERBS
    }
