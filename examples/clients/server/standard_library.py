"""Send a clip with Python's own HTTP client: ``python standard_library.py MODEL CLIP.npy FEATURES.npy``.

The clip's bytes follow the JSON that describes them, and so do those of the answer: the protocol's binary extension.
"""

import json
import os
import sys
from http.client import HTTPConnection

import numpy as np

model, source, target = sys.argv[1:]
connection = HTTPConnection(os.environ.get("URL", "127.0.0.1:8000"), timeout=600)
token = os.environ.get("SWIFT_EXPORT_TOKEN")
headers = {"authorization": f"Bearer {token}"} if token else {}


def call(method, path, body=None, **more):
    """The headers and the body of an answer."""
    connection.request(method, path, body, headers | more)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        sys.exit(json.loads(content)["error"])
    return answer.headers, content


described = json.loads(call("GET", f"/v2/models/{model}")[1])
clip = np.ascontiguousarray(np.load(source, allow_pickle=False))
sent = {
    "name": described["inputs"][0]["name"],
    "datatype": "FP32",
    "shape": clip.shape,
    "parameters": {"binary_data_size": clip.nbytes},
}
wanted = {"name": described["outputs"][0]["name"], "parameters": {"binary_data": True}}
head = json.dumps({"inputs": [sent], "outputs": [wanted]}).encode()
received, content = call(
    "POST",
    f"/v2/models/{model}/infer",
    # In parts, so that the clip is not copied.
    (part for part in (head, clip.data.cast("B"))),
    **{"Inference-Header-Content-Length": str(len(head)), "Content-Length": str(len(head) + clip.nbytes)},
)
start = int(received["Inference-Header-Content-Length"])
(output,) = json.loads(content[:start])["outputs"]
features = np.frombuffer(content, np.float32, offset=start).reshape(output["shape"])
np.save(target, features)
print(f"{target}: {features.shape}")
