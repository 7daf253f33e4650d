# SPDX-License-Identifier: Apache-2.0
"""ohmtwin: a digital twin of crossbar compute-in-memory accelerators."""
