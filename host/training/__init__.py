# SPDX-License-Identifier: Apache-2.0
"""Networks that train in arrays that learn: programs of the algorithms, runs, checkpoints."""
