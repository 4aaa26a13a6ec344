"""What must happen before torch is imported, and imports of big modules that do not slow the process down afterwards.

OpenMP's threads read how long they spin before they sleep when torch is first imported. Without spinning, waking a
thread takes longer than a small layer. Endless spinning competes for the cores with every other program. A little
spinning is nearly as good as the best of both. GNU's OpenMP, which torch has on Linux, reads `GOMP_SPINCOUNT`; others
read the policy only.

Importing this module sets both, unless they are set. Every package that imports torch imports it first.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "6000")


def import_lasting(name: str) -> None:
    """Import a module that stays for as long as the process, unless it was imported before.

    The garbage collector does not run meanwhile, and never looks at what there is afterwards, even if some of it is
    garbage. With torch there are 250,000 objects; a full collection of them takes a tenth of a second in the midst of
    typing, and without them a millisecond.
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
