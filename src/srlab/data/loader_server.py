"""Imported once by the server that loader processes are forked from, so that they start fast.

It must not start threads, and must not be imported elsewhere: it changes how the process handles signals.
"""

import srlab.data.evaluation
import srlab.data.training_crops  # noqa: F401
from srlab.data.loader import leave_signals_to_the_parent

leave_signals_to_the_parent()
