"""What a user reads and pastes: names as they are, commands that run, output that may end at any time."""
