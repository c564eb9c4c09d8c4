"""The console command ``srlab``: every module except ``main`` and ``flags`` is one verb."""
