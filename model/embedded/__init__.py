"""The embedded engine: torch in this process.

How long its threads spin before they sleep decides how fast small layers are. Without spinning, waking a thread takes
longer than a layer (a decoding step of the default model on two cores: 3.3 ms instead of 1.5); endless spinning fights
over the cores with whatever else runs (200 ms beside one busy process). A little of it is near the best of both (6 ms
beside one). GNU's OpenMP, torch's on Linux, reads `GOMP_SPINCOUNT`; the others know the policy only. All read
them when torch is first imported, so this package is imported before torch.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "6000")
