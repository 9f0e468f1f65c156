"""Send a clip over gRPC: ``python triton_grpc.py MODEL CLIP.npy FEATURES.npy``."""

import os
import sys

import numpy as np
import tritonclient.grpc as triton

model, source, target = sys.argv[1:]
client = triton.InferenceServerClient(os.environ.get("URL", "127.0.0.1:8001"))
token = os.environ.get("SWIFT_EXPORT_TOKEN")
headers = {"authorization": f"Bearer {token}"} if token else {}

described = client.get_model_metadata(model, headers=headers)
clip = np.load(source, allow_pickle=False)
sent = triton.InferInput(described.inputs[0].name, list(clip.shape), "FP32")
sent.set_data_from_numpy(clip)
features = client.infer(model, [sent], headers=headers, client_timeout=600).as_numpy(described.outputs[0].name)
np.save(target, features)
print(f"{target}: {features.shape}")
