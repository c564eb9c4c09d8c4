"""How long an idle OpenMP thread spins before it sleeps; read by the runtime when torch is loaded."""

import os
import sys

# libgomp's default of 30 billion rounds keeps an idle thread on its core for seconds. Beside another busy
# program the two then starve each other: a forward pass of elan_light took 9.7 s instead of 1.0 s. 10,000
# rounds (some 10 us) cost nothing on a quiet machine (docs/LOG.md).
_SPIN_COUNT = "10000"


def shorten_thread_spin() -> None:
    """Set ``GOMP_SPINCOUNT`` for this process and those that it starts, unless one of these variables is set.

    Does nothing where ``GOMP_SPINCOUNT`` or ``OMP_WAIT_POLICY`` is set, where torch is loaded (it would come
    too late), or where ``SRLAB_THREADS_SPIN`` is ``keep``.
    """
    decided = any(name in os.environ for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"))
    if not decided and "torch" not in sys.modules and os.environ.get("SRLAB_THREADS_SPIN") != "keep":
        os.environ["GOMP_SPINCOUNT"] = _SPIN_COUNT
