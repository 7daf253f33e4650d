# SPDX-License-Identifier: Apache-2.0
"""From a network to programmed arrays and tile programs."""
