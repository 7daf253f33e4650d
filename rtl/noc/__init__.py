# SPDX-License-Identifier: Apache-2.0
"""The network on chip: routers and meshes of them."""
