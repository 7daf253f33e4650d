# SPDX-License-Identifier: Apache-2.0
"""Arrays that learn, and the core that trains them: NumPy as the reference, C as the fast path."""
