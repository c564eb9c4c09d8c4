"""What papers printed, as data: one YAML file a source (``tables/``), one card a network (``networks/``)."""
