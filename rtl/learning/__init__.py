# SPDX-License-Identifier: Apache-2.0
"""The core that learns, as a circuit; ``behavioral/learning`` says what it computes."""
