"""Tokens, the KV cache, the engines, and how the default model is made. Knows no LSP.

Threads that wait by spinning fight over the cores with whatever else runs: beside one busy process a decode step took
200 ms instead of 5. OpenMP reads this when torch is first imported, and torch is imported by this floor only.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
