# SPDX-License-Identifier: Apache-2.0
"""What ``ohmtwin bench`` measures: a module a subject."""
