"""The commands that README.md and docs/ print."""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ELLIPSIS = "…"  # stands for the rest of a command


def shell_blocks(page: Path) -> Iterator[str]:
    """Code blocks of a shell, with continued lines joined."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), flags=re.M | re.S):
        if language in ("", "bash"):
            yield block.replace("\\\n", "")


def commands(program: str, pages: Sequence[Path] = PAGES) -> list[list[str]]:
    """The words after ``program`` in every line of every code block, each command once."""
    found = {}
    pattern = rf"(?:^|(?<=&& )){re.escape(program)}(?: .*)?$"
    for block in (block for page in pages for block in shell_blocks(page)):
        for line in re.findall(pattern, block, flags=re.M):
            words = shlex.split(line, comments=True)
            if "&" not in words and ELLIPSIS not in line:
                found[tuple(words)] = words[len(program.split()) :]
    return list(found.values())
