# SPDX-License-Identifier: Apache-2.0
"""Read ONNX files into networks of integer operators."""
