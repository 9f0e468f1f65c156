"""Share a clip's memory with the server: ``python triton_shared_memory.py MODEL CLIP.npy FEATURES.npy``.

Only a few hundred bytes are sent. One region holds the clip and, behind it, room for the features.
"""

import os
import sys
import uuid

import numpy as np
import tritonclient.grpc as triton
import tritonclient.utils.shared_memory as memory

model, source, target = sys.argv[1:]
client = triton.InferenceServerClient(os.environ.get("URL", "127.0.0.1:8001"))
token = os.environ.get("SWIFT_EXPORT_TOKEN")
headers = {"authorization": f"Bearer {token}"} if token else {}

described = client.get_model_metadata(model, headers=headers)
clip = np.load(source, allow_pickle=False)
given, wanted = described.inputs[0], described.outputs[0]
shape = [len(clip), *wanted.shape[1:]]  # the batch is the only size that the server does not tell
room = 4 * int(np.prod(shape))

name = f"clip-{uuid.uuid4().hex}"
region = memory.create_shared_memory_region(name, f"/{name}", clip.nbytes + room)
try:
    memory.set_shared_memory_region(region, [clip])
    client.register_system_shared_memory(name, f"/{name}", clip.nbytes + room, headers=headers)
    try:
        sent = triton.InferInput(given.name, list(clip.shape), "FP32")
        sent.set_shared_memory(name, clip.nbytes)
        received = triton.InferRequestedOutput(wanted.name)
        received.set_shared_memory(name, room, offset=clip.nbytes)
        client.infer(model, [sent], outputs=[received], headers=headers, client_timeout=600)
        np.save(target, memory.get_contents_as_numpy(region, np.float32, shape, offset=clip.nbytes))
    finally:
        client.unregister_system_shared_memory(name, headers=headers)
finally:
    memory.destroy_shared_memory_region(region)
print(f"{target}: {tuple(shape)}")
