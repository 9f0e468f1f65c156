"""Where a file's own facts lie in each format."""

from __future__ import annotations

__all__ = ["METADATA_ASSET", "METADATA_ATTRIBUTE", "SIGNATURE", "SIGNATURE_KEY", "TAG"]

#: Attribute of the StableHLO modules that holds the essentials as JSON.
METADATA_ATTRIBUTE = "swift_export.metadata"
#: Asset of the SavedModels that holds them.
METADATA_ASSET = "swift_export.json"
#: The tag and the signature that a SavedModel is served by.
TAG, SIGNATURE = "serve", "serving_default"
#: Among a file's facts, the signature of the model as JSON: StableHLO keeps no names of arguments and dimensions.
SIGNATURE_KEY = "swift_export.signature"
