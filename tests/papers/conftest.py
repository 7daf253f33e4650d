# SPDX-License-Identifier: Apache-2.0
"""What these tests run is what the example scripts show."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "papers"))
