"""Text for terminals: names, commands to paste, tables, progress, log lines, output that may be closed."""
