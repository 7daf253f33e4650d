# SPDX-License-Identifier: Apache-2.0
"""The subcommands of the command line, one module each."""
