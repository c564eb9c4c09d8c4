"""What networks there are, what they cost, and what was published for them."""
