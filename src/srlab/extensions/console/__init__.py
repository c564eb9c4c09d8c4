"""The console command ``srlab``: each module but ``main``, ``flags`` and ``progress`` is one verb."""
