"""Formats of trained models, by what opening a file of that format does."""

from __future__ import annotations

CODE = "code"
"""Python modules beside the model; the loader puts them on the path and imports them."""

DATA_FORMATS = ("skops", "xgboost", "lightgbm", "catboost", "onnx", "keras")
"""Formats of data: a parser reads numbers and names that it knows, and runs nothing of the file."""

CODE_FORMATS = ("pickle", "cloudpickle", "torch", CODE)
"""Formats that run whatever the file says, with all rights of the process that opens it."""

FORMATS = (*DATA_FORMATS, *CODE_FORMATS)
"""All that `artifact.formats` of model.yaml may list."""
