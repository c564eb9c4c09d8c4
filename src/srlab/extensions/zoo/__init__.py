"""What networks there are, what they cost, and what was published for them."""

from srlab.extensions.zoo.networks import ZooRow, find_card, to_markdown, update_readme, zoo_rows, zoo_table
from srlab.extensions.zoo.papers import convention_table, literature_table

__all__ = [
    "ZooRow",
    "convention_table",
    "find_card",
    "literature_table",
    "to_markdown",
    "update_readme",
    "zoo_rows",
    "zoo_table",
]
