"""Imported once by the server that loader processes are forked from, so that they start at once.

What runs here must not start threads. Nobody else imports this: it changes how the process takes signals.
"""

import srlab.data.evaluation
import srlab.data.training_crops  # noqa: F401
from srlab.data.loader import leave_signals_to_the_parent

leave_signals_to_the_parent()
