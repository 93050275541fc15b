"""The tests of this folder share `misbehaving_server`, which is no test itself."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
