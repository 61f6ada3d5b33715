"""The Helm chart: what it makes is the RayService that deploy/kuberay.yaml spells out."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from alpharay.serve import config as configuration

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm"
HELM, KUBECONFORM = shutil.which("helm"), shutil.which("kubeconform")

needs_helm = pytest.mark.skipif(HELM is None, reason="helm is not installed")


def rendered(*settings):
    done = subprocess.run(
        [HELM, "template", "frontier", CHART, *settings], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(kind, documents):
    (document,) = [document for document in documents if document["kind"] == kind]
    return document


def pods(service):
    cluster = service["spec"]["rayClusterConfig"]
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def values():
    return yaml.safe_load((CHART / "values.yaml").read_text())


def test_the_values_frontier_is_a_configuration_and_has_the_gpus_that_it_needs(tmp_path):
    path = tmp_path / "frontier.yaml"
    path.write_text(yaml.safe_dump(values()["config"]))
    config = configuration.load(path)
    gpus, workers = values()["gpus"]["perWorker"], values()["workers"]
    assert gpus * workers["min"] >= config.replica_count * config.engine.tensor_parallel_size
    most = config.replica_count // config.engine.replicas * config.engine.most_replicas
    assert gpus * workers["max"] >= most


def test_the_charts_ray_is_the_one_that_was_tried():
    (pinned,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert values()["rayVersion"] == pinned


def test_every_value_that_a_template_names_is_there():
    text = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    for name in set(re.findall(r"(?:\.Values|\$values)((?:\.\w+)+)", text)):
        value = values()
        for part in name.strip(".").split("."):
            assert part in value, name
            value = value[part]


@needs_helm
def test_the_default_release_is_the_manifest():
    documents = rendered()
    written = list(yaml.safe_load_all((ROOT / "deploy" / "kuberay.yaml").read_text()))
    service, other = of_kind("RayService", documents), of_kind("RayService", written)
    for pod in pods(service):  # the manifest's claim has a name of its own, and pulls by default
        pod["containers"][0].pop("imagePullPolicy")
        pod["volumes"][0]["persistentVolumeClaim"]["claimName"] = "models"
    assert service == other
    read = [
        yaml.safe_load(of_kind("ConfigMap", each)["data"]["frontier.yaml"]) for each in (documents, written)
    ]
    assert read[0] == read[1]


@needs_helm
def test_secrets_for_keys_and_store_and_a_claim_of_ones_own_reach_every_pod():
    settings = ("keysSecret=keys", "storeSecret=store", "models.claim=mine", "image.tag=1")
    documents = rendered(*(part for each in settings for part in ("--set", each)))
    assert "PersistentVolumeClaim" not in {document["kind"] for document in documents}
    config = yaml.safe_load(of_kind("ConfigMap", documents)["data"]["frontier.yaml"])
    for pod in pods(of_kind("RayService", documents)):
        (container,) = pod["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
        assert config["server"]["api_keys_file"] == f"{mounts['keys']}/keys.yaml"
        assert container["image"] == "alpharay:1"
        secrets = {
            variable["name"]: variable["valueFrom"]["secretKeyRef"]["name"]
            for variable in container["env"]
            if "valueFrom" in variable
        }
        assert secrets == {"ALPHARAY_STORE": "store"}


@needs_helm
@pytest.mark.skipif(KUBECONFORM is None, reason="kubeconform is not installed")
def test_kubeconform_finds_nothing_in_the_release():
    text = yaml.safe_dump_all(rendered())
    done = subprocess.run(
        [KUBECONFORM, "-strict", "-skip", "RayService", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
