"""``srlab VERB …``: finds the verb, parses its flags, and reports a user's error in one line."""

import argparse
import importlib
import logging
import pkgutil
import shlex
import sys
from collections.abc import Mapping, Sequence

import srlab.extensions.console
from srlab import __version__
from srlab.extensions.console.flags import Parser, refuse_old_spelling
from srlab.terminal.log_lines import is_for_users
from srlab.terminal.output import lasting_output

_NO_VERBS = ("main", "flags")
#: Hydra applications, which read the rest of the command line themselves.
_APPLICATIONS = {
    "train": "Train a network: train.py with the same KEY=VALUE overrides.",
    "evaluate": "Score networks on test sets: evaluate.py with the same KEY=VALUE overrides.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the exit status is 2 for a user's error and 130 after Ctrl-C.

    Raises:
        SystemExit: wrong flags, or standard output was closed or full (:mod:`srlab.terminal.output`).
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] in _APPLICATIONS:  # signals, log and exit status are the application's own
        getattr(importlib.import_module("srlab.app.application"), words[0])(words[1:])
        return 0
    with lasting_output():
        return _run_verb(words)


def _run_verb(words: Sequence[str]) -> int:
    parser, verbs = _parsers()
    try:
        if words and words[0] in verbs:
            refuse_old_spelling(verbs[words[0]], words[1:])
        parsed = parser.parse_args(words)
        parsed.command = shlex.join(["srlab", *words])
        _log_to_stderr(details=parsed.verbose)
        parsed.run(parsed)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130
    return 0


def _log_to_stderr(*, details: bool) -> None:
    handler = logging.StreamHandler()
    if not details:
        handler.addFilter(is_for_users)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])


def _parsers() -> tuple[Parser, Mapping[str, argparse.ArgumentParser]]:
    """That of ``srlab``, and those of its verbs, whose modules import what is slow only when they run."""
    parser = Parser(prog="srlab", description="A laboratory for efficient super-resolution transformers.")
    parser.add_argument("--version", action="version", version=f"srlab {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, summary in _APPLICATIONS.items():
        verbs.add_parser(name, help=summary)
    package = srlab.extensions.console
    for name in (module.name for module in pkgutil.iter_modules(package.__path__)):
        if name not in _NO_VERBS:
            module = importlib.import_module(f"{package.__name__}.{name}")
            verb = verbs.add_parser(
                name.removesuffix("_"),  # import_: a verb that is a word of Python
                help=(module.__doc__ or "").strip().splitlines()[0],
                description=module.__doc__,
                formatter_class=argparse.RawDescriptionHelpFormatter,
                allow_abbrev=False,
            )
            module.add_arguments(verb)
            verb.add_argument("--verbose", action="store_true", help="also log files, back ends and tiles")
            verb.set_defaults(run=module.run)
    return parser, verbs.choices


if __name__ == "__main__":
    raise SystemExit(main())
