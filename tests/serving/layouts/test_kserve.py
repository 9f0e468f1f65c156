"""KServe's objects: those of Kubernetes by its published schemas, those of KServe by what its own definitions say."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest

from swift_export.serving.layouts.kserve import _service

pytestmark = pytest.mark.requires("kubernetes")

STRING, COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}


def closed(required: str = "", **properties: Any) -> dict[str, Any]:
    """An object of these properties and no others."""
    kind = {"type": "object", "properties": properties, "additionalProperties": False}
    return kind | {"required": required.split()} if required else kind


FORMAT = closed("name", name=STRING, version=STRING, autoSelect={"type": "boolean"}, priority=COUNT)
METADATA = closed("name", name={"pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"}, annotations={"type": "object"})
#: After the definitions serving.kserve.io_servingruntimes.yaml and serving.kserve.io_inferenceservices.yaml, as far as
#: layouts use them. A container and resources are Kubernetes's own.
RUNTIME = closed(
    "apiVersion kind metadata spec",
    apiVersion={"const": "serving.kserve.io/v1alpha1"},
    kind={"const": "ServingRuntime"},
    metadata=METADATA,
    spec=closed(
        "containers",
        supportedModelFormats={"type": "array", "items": FORMAT},
        protocolVersions={"type": "array", "items": {"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}},
        multiModel={"type": "boolean"},
        containers={"type": "array", "minItems": 1},
    ),
)
SERVICE = closed(
    "apiVersion kind metadata spec",
    apiVersion={"const": "serving.kserve.io/v1beta1"},
    kind={"const": "InferenceService"},
    metadata=METADATA,
    spec=closed(
        "predictor",
        predictor=closed(
            "model",
            minReplicas=COUNT,
            maxReplicas=COUNT,
            model=closed(
                "modelFormat",
                modelFormat=closed("name", name=STRING, version=STRING),
                runtime=STRING,
                protocolVersion=STRING,
                storageUri={"pattern": "^(pvc|s3|gs|https?)://"},
                resources={"type": "object"},
            ),
        ),
    ),
)


@pytest.fixture
def objects(laid_out):
    """All objects of the layout by file."""
    import yaml

    return {path.name: [*yaml.safe_load_all(path.read_text())] for path in laid_out("kserve").glob("*.yaml")}


def validate(given: dict[str, Any]) -> None:
    import kubernetes_validate

    kubernetes_validate.validate(given, kubernetes_validate.latest_version(), strict=True)


def test_the_objects_are_valid(objects) -> None:
    for given in objects["storage.yaml"]:
        validate(given)
    (runtime,), (service,) = objects["serving-runtime.yaml"], objects["inference-service.yaml"]
    jsonschema.validate(runtime, RUNTIME)
    jsonschema.validate(service, SERVICE)
    model = service["spec"]["predictor"]["model"]
    (container,) = runtime["spec"]["containers"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "served"}}
    validate(pod | {"spec": {"containers": [container | {"resources": model["resources"]}]}})


def test_a_mistake_would_be_seen(objects) -> None:
    (runtime,) = objects["serving-runtime.yaml"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(runtime | {"spec": runtime["spec"] | {"container": []}}, RUNTIME)
    claim, _ = objects["storage.yaml"]
    import kubernetes_validate

    with pytest.raises(kubernetes_validate.ValidationError):
        validate(claim | {"spec": claim["spec"] | {"accessMode": "ReadWriteOnce"}})


def test_the_objects_name_each_other_and_the_model(objects, laid_out) -> None:
    claim, loader = objects["storage.yaml"]
    (runtime,), (service,) = objects["serving-runtime.yaml"], objects["inference-service.yaml"]
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["storageUri"] == f"pvc://{claim['metadata']['name']}/"
    assert loader["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    (served,) = runtime["spec"]["supportedModelFormats"]
    assert served == model["modelFormat"]
    (container,) = runtime["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/models/pooled/ready"
    # The files that the commands copy.
    readme, folder = (laid_out("kserve") / "README.md").read_text(), laid_out("kserve")
    (copied,) = re.findall(r"kubectl cp (\S+)", readme)
    assert (folder / copied / "config.pbtxt").is_file()
    for files in re.findall(r"kubectl apply (-f .*)", readme):
        assert all((folder / file).is_file() for file in files.replace("-f", "").split())


@pytest.mark.parametrize(
    ("name", "service"),
    [("hcp-sex", "hcp-sex"), ("My_Model.v2", "my-model-v2"), ("3D", "model-3d"), ("x" * 90, "x" * 40), ("--", "model")],
)
def test_names_for_kubernetes(name: str, service: str) -> None:
    assert _service(name) == service
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", service)
