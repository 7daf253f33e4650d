# SPDX-License-Identifier: Apache-2.0
"""Pictures: waves, spectra, devices and figures."""
