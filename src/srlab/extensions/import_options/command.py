"""The command line that an option file corresponds to, and the keys without counterpart."""

from pathlib import Path

from srlab.extensions.import_options.basicsr import import_basicsr
from srlab.extensions.import_options.kair import import_kair
from srlab.extensions.import_options.reading import Options, read_options
from srlab.terminal.command_lines import command

# Groups come first: their values are overridden by the keys that follow.
_GROUPS = ("model", "data", "loss", "optimizer", "scheduler", "callbacks", "logger", "protocol")


def import_file(path: Path) -> Options:
    """The overrides of an option file, with notes and the keys that have no counterpart.

    Raises:
        ValueError: it is no option file, or what it trains has no counterpart.
        OSError: it cannot be read.
    """
    options = read_options(path)
    if any(key.startswith("netG") for key in options.values):
        import_kair(options)
    else:
        import_basicsr(options)
    chosen = options.overrides
    options.overrides = {key: chosen[key] for key in (*_GROUPS, *chosen) if key in chosen}
    return options


def command_of(options: Options) -> str:
    """A shell command; values are quoted for Hydra and for the shell."""
    return command(("python", "train.py"), options.overrides)


def report(options: Options) -> str:
    """The command, notes, and every key without counterpart."""
    lines = [command_of(options)]
    if options.notes:
        lines += ["", "changed or decided:", *(f"  {note}" for note in options.notes)]
    if options.unmatched:
        lines += ["", "without counterpart:"]
        lines += [f"  {key}: {value}" for key, value in options.unmatched.items()]
    return "\n".join(lines)
