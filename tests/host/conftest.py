# SPDX-License-Identifier: Apache-2.0
"""The device with every effect on is shared with the tests of arrays."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "behavioral"))
