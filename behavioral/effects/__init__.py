# SPDX-License-Identifier: Apache-2.0
"""The physics of an array, one effect a file: formula, source, and the fields it reads.

``docs/devices.md` shows the chain. All are plain float64 functions of [rows, cols + 1] arrays whose
last column is the reference column; only :mod:`..state` calls them.
"""
