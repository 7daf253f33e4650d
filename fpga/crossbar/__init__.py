# SPDX-License-Identifier: Apache-2.0
"""The synthesizable crossbar: the arithmetic of an array image in gates, bit for bit."""
