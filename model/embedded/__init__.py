"""The embedded engine: torch in this process.

Threads that wait by spinning fight over the cores with whatever else runs: beside one busy process a decode step took
200 ms instead of 5. OpenMP reads this when torch is first imported, so this package is imported before torch.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
