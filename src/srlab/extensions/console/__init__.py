"""The console command ``srlab``: each module but ``main`` and ``arguments`` is one verb."""
