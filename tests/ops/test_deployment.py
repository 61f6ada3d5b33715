"""The manifests: what they start can be started, and what they point at is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from alpharay.serve import config as configuration
from alpharay.serve.cli.main import _parser
from alpharay.serve.errors import ConfigError, StartFailed
from alpharay.serve.frontiers import embedded_config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHARAY_CACHE", str(tmp_path / "cache"))


def manifest(kind):
    text = (DEPLOY / "kuberay.yaml").read_text()
    return next(document for document in yaml.safe_load_all(text) if document["kind"] == kind)


def frontier_of_the_manifest(tmp_path):
    path = tmp_path / "frontier.yaml"
    path.write_text(manifest("ConfigMap")["data"]["frontier.yaml"])
    return configuration.load(path)


def deployments(app):
    """Name -> options, of the application and everything bound into it."""
    by_name, waiting = {}, [app]
    while waiting:
        bound = waiting.pop()
        deployment = bound._bound_deployment
        by_name[deployment.name] = deployment
        for argument in (*deployment.init_args, *deployment.init_kwargs.values()):
            inner = argument.values() if isinstance(argument, dict) else [argument]
            waiting += [part for part in inner if hasattr(part, "_bound_deployment")]
    return by_name


def test_ray_serve_reads_the_manifests_application_and_can_import_it():
    from ray.serve.schema import ServeDeploySchema

    text = manifest("RayService")["spec"]["serveConfigV2"]
    read = ServeDeploySchema.model_validate(yaml.safe_load(text))
    (application,) = read.applications
    module, _, name = application.import_path.partition(":")
    assert callable(getattr(__import__(module, fromlist=[name]), name))
    assert application.args.keys() == {"config"}


def test_the_manifests_frontier_is_a_configuration_and_has_the_gpus_that_it_needs(tmp_path):
    config = frontier_of_the_manifest(tmp_path)
    (workers,) = manifest("RayService")["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    gpus = int(limits["nvidia.com/gpu"]) * workers["minReplicas"]
    assert gpus >= config.replica_count * config.engine.tensor_parallel_size
    most = config.replica_count // config.engine.replicas * config.engine.most_replicas
    assert int(limits["nvidia.com/gpu"]) * workers["maxReplicas"] >= most


def test_every_pod_of_the_manifest_mounts_what_the_configuration_names(tmp_path):
    spec = manifest("RayService")["spec"]
    named = yaml.safe_load(spec["serveConfigV2"])["applications"][0]["args"]["config"]
    cluster = spec["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts.keys() <= {volume["name"] for volume in pod["volumes"]}
        assert named == f"{mounts['config']}/frontier.yaml"
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        assert environment["ALPHARAY_CACHE"].startswith(mounts["models"])
        assert str(frontier_of_the_manifest(tmp_path).endpoints.low).startswith(mounts["models"])
        for compiled in ("VLLM_CACHE_ROOT", "TRITON_CACHE_DIR"):
            assert environment[compiled].startswith(mounts["models"])


def test_ray_of_the_manifest_is_the_one_that_was_tried():
    (pinned,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert manifest("RayService")["spec"]["rayClusterConfig"]["rayVersion"] == pinned


def test_the_application_builds_from_a_configuration_alone(cache):
    from alpharay.serve.cluster.application import build

    by_name = deployments(build({}))
    (host,) = by_name.keys() - {"ingress", "cluster-state", "judge"}
    assert host.startswith("members-0-")


@pytest.mark.parametrize(
    ("store", "file"), [(None, "cache/store.db"), ("sqlite:///own.db", "own.db")], ids=["none", "relative"]
)
def test_the_application_has_a_store_that_is_ready(cache, tmp_path, monkeypatch, store, file):
    from alpharay.serve.cluster.application import build
    from alpharay.serve.learn.store import Store

    monkeypatch.chdir(tmp_path)
    folder = embedded_config().parent
    endpoints = {name: str(folder / name) for name in ("low", "high")}
    path = tmp_path / "frontier.yaml"
    path.write_text(
        yaml.safe_dump({"endpoints": endpoints, "members": [0, 1]} | ({"store": store} if store else {}))
    )
    config = deployments(build({"config": str(path)}))["ingress"].init_args[0]
    assert config.store == f"sqlite:///{tmp_path / file}"
    assert Store(config.store).log(0) == []


def test_the_stores_address_may_come_from_the_environment(cache, tmp_path, monkeypatch):
    from alpharay.serve.cluster.application import build

    monkeypatch.setenv("ALPHARAY_STORE", f"sqlite:///{tmp_path}/secret.db")
    assert deployments(build({}))["ingress"].init_args[0].store == f"sqlite:///{tmp_path}/secret.db"


def test_the_application_is_not_built_without_its_keys_or_store(cache, tmp_path):
    from alpharay.serve.cluster.application import build

    folder = embedded_config().parent
    path = tmp_path / "frontier.yaml"
    for wrong in ("server: {api_keys_file: none.yaml}", "store: sqlite:////nowhere/store.db"):
        path.write_text(f"endpoints: {{low: {folder}/low, high: {folder}/high}}\nmembers: [0, 1]\n{wrong}\n")
        with pytest.raises((ConfigError, StartFailed)):
            build({"config": str(path)})


def test_an_argument_that_is_none_is_refused(cache):
    from alpharay.serve.cluster.application import build

    with pytest.raises(ConfigError, match="conf is no argument"):
        build({"conf": "x"})
    with pytest.raises(ConfigError, match="did you mean 'parts'"):
        build({"embedded": "part"})
    with pytest.raises(ConfigError, match="name one of them"):
        build({"embedded": "parts", "config": "x.yaml"})


def test_the_application_builds_the_embedded_frontier_of_that_name(cache):
    from alpharay.serve.cluster.application import build

    config = deployments(build({"embedded": "parts"}))["ingress"].init_args[0]
    assert config.checkpoints["low"] == embedded_config("parts").with_name("low")


def test_replicas_are_scaled_and_placed_as_the_configuration_says(cache, tmp_path):
    from alpharay.serve.cluster.application import build

    embedded = embedded_config().parent
    path = tmp_path / "frontier.yaml"
    engine = {"replicas": 2, "autoscale": {"max": 5, "target": 8}, "resources": {"l40s": 0.5}}
    endpoints = {name: str(embedded / name) for name in ("low", "high")}
    path.write_text(yaml.safe_dump({"endpoints": endpoints, "members": [0, 1], "engine": engine}))
    by_name = deployments(build({"config": str(path)}))
    (member,) = [deployment for name, deployment in by_name.items() if name.startswith("member-0-")]
    scale = member._deployment_config.autoscaling_config
    assert (scale.min_replicas, scale.max_replicas, scale.target_ongoing_requests) == (2, 5, 8)
    assert member.ray_actor_options["resources"] == {"l40s": 0.5}
    assert by_name["cluster-state"].init_args == (["frontier@0", "frontier@1"],)


def test_a_scale_below_the_replicas_is_refused(tmp_path):
    path = tmp_path / "frontier.yaml"
    path.write_text("endpoints: {low: a, high: b}\nengine: {replicas: 3, autoscale: {max: 2}}\n")
    with pytest.raises(ConfigError, match=r"autoscale.max 2 is below replicas 3"):
        configuration.load(path)


def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_compose_mounts_what_is_there_and_names_its_own_services_and_volumes():
    whole = compose()
    for name, service in whole["services"].items():
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in whole["volumes"], mount
        assert set(service.get("depends_on", [])) <= whole["services"].keys()
        assert service.get("build") or ":" in service["image"], f"{name}: which version?"
    assert (DEPLOY / whole["services"]["alpharay"]["build"]["context"] / "Dockerfile").exists()


def test_prometheus_looks_where_compose_puts_the_server():
    command = compose()["services"]["alpharay"]["command"]
    parsed = _parser(command).parse_args(command)
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in scraped}
    port = parsed.port or configuration.load(None).server.port
    assert targets == {
        "alpharay": [f"127.0.0.1:{port}"],
        "engines": [f"127.0.0.1:{parsed.engine_metrics_port}"],
    }
    assert compose()["services"]["prometheus"]["network_mode"] == "service:alpharay"


def test_grafana_finds_the_dashboard_and_the_data_source():
    services = compose()["services"]
    grafana = services["grafana"]
    (provider,) = yaml.safe_load(
        (DEPLOY / "grafana" / "provisioning" / "dashboards" / "alpharay.yaml").read_text()
    )["providers"]
    (mount_path,) = [
        mount.split(":")[1] for mount in grafana["volumes"] if mount.startswith("./grafana/alpharay.json")
    ]
    assert Path(mount_path).parent == Path(provider["options"]["path"])
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == mount_path
    source = (DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text()
    (variable,) = re.findall(r"\$\{(\w+)\}", source)
    assert grafana["environment"][variable].startswith("http://alpharay:")


def test_the_image_starts_a_command_that_exists():
    text = (ROOT / "Dockerfile").read_text()
    entry, command = (
        json.loads(re.findall(rf"^{word} (\[.*\])", text, re.MULTILINE)[0]) for word in ("ENTRYPOINT", "CMD")
    )
    assert entry == ["alpharay"]
    assert _parser(command).parse_args(command).host == "0.0.0.0"
