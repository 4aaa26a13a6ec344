"""Imports of big modules, whose objects the garbage collector need not look at: they live as long as the process."""

from __future__ import annotations

import gc
import importlib
import sys


def import_lasting(name: str) -> None:
    """Import a module, unless it was imported, without collections; what there is then is never looked at again, be it
    garbage.

    With torch there are 250,000 objects; a full collection takes a tenth of a second with them and a millisecond
    without, in whichever thread it comes.
    """
    if name in sys.modules:
        return
    collects = gc.isenabled()
    gc.disable()
    try:
        importlib.import_module(name)
    finally:
        gc.freeze()
        if collects:
            gc.enable()
