# SPDX-License-Identifier: Apache-2.0
"""Damaged model files: one sentence, no crash, no hang, bounded memory.

The ordinary run imports 300 files; ``python fuzz_import.py 0 2000 2 10`` in this folder, with the
folder on the path, imports 2000 in about 20 seconds.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
GIBIBYTES, SECONDS = 2, 20


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
def test_damaged_files_end_in_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "fuzz_import.py"), "0", "300", str(GIBIBYTES), str(SECONDS)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout)
    assert counts["refused"] + counts["imported"] == 300
    assert counts["refused"] > 200  # the damage is real
    assert counts["imported"] > 10  # and not such that nothing parses
