"""The list of networks, with their costs and published scores."""
