"""The Kubernetes manifests are valid, give no rights away, and agree with what Lobar does.

Kustomize builds them with kubectl, and the schemas of Kubernetes judge them. Those of KEDA and of
Prometheus Operator are not here: their two objects are compared with the rest.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from service import cli
from service.domain.part import PartName
from service.settings import Settings
from service.settings.exposure import listener_fault

ROOT: Final = Path(__file__).resolve().parents[3]
KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
KUBECTL: Final = Path(sys.executable).with_name("kubectl")
OVERLAYS: Final = sorted(each.name for each in (KUBERNETES / "overlays").iterdir())
VERSIONS: Final = ("1.30", "1.33")  # the oldest that is promised, and a recent one
FOREIGN: Final = {"ScaledObject": "keda.sh/v1alpha1", "PodMonitor": "monitoring.coreos.com/v1"}
DEPARTMENTS: Final = [each for each in OVERLAYS if each.startswith("department")]

Manifest = dict[str, Any]


@cache
def built(overlay: str) -> list[Manifest]:
    """Build an overlay as `kubectl apply -k` would."""
    done = subprocess.run(
        [KUBECTL, "kustomize", KUBERNETES / "overlays" / overlay],
        check=True,
        capture_output=True,
        text=True,
    )
    return list(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, *kinds: str) -> list[Manifest]:
    return [each for each in built(overlay) if each["kind"] in kinds]


def pods(overlay: str) -> Iterator[tuple[str, Manifest]]:
    """Yield the name and the pod template of each workload."""
    for each in of_kind(overlay, "Deployment", "StatefulSet", "Job"):
        yield each["metadata"]["name"], each["spec"]["template"]


def container(template: Manifest) -> Manifest:
    (found,) = template["spec"]["containers"]
    return dict(found)


def selects(selector: Manifest, template: Manifest) -> bool:
    labels = template["metadata"]["labels"]
    return all(labels.get(name) == value for name, value in selector.items())


def settings_of(overlay: str) -> Settings:
    (config,) = of_kind(overlay, "ConfigMap")
    return Settings.model_validate(tomllib.loads(config["data"]["lobar.toml"]))


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_of_kubernetes_find_no_fault(overlay: str, version: str) -> None:
    checked = 0
    for manifest in built(overlay):
        if manifest["kind"] in FOREIGN:
            assert manifest["apiVersion"] == FOREIGN[manifest["kind"]]
            continue
        kubernetes_validate.validate(manifest, version, strict=True)
        checked += 1
    assert checked >= 4


def test_the_schemas_do_find_a_fault() -> None:
    wrong = yaml.safe_load(yaml.safe_dump(of_kind("department", "Deployment")[0]))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessProbes"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_is_in_the_namespace_that_holds_pods_to_the_restricted_standard(
    overlay: str,
) -> None:
    (namespace,) = of_kind(overlay, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for each in built(overlay):
        if each["kind"] != "Namespace":
            assert each["metadata"]["namespace"] == namespace["metadata"]["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_container_has_a_right_that_it_does_not_need(overlay: str) -> None:
    found = 0
    for name, template in pods(overlay):
        spec = template["spec"]
        security = spec["securityContext"]
        assert security["runAsNonRoot"], name
        assert security["runAsUser"] == security["fsGroup"] == 10001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for each in [*spec["containers"], *spec.get("initContainers", [])]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= each["resources"]["requests"].keys()
            assert "memory" in each["resources"]["limits"]
            found += 1
    assert found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_settings_are_valid_and_hold_no_secret(overlay: str) -> None:
    (config,) = of_kind(overlay, "ConfigMap")
    settings = settings_of(overlay)
    assert listener_fault(settings.dicom) is None
    text = config["data"]["lobar.toml"]
    assert not re.search(
        r"^\s*(?:password|bearer_token|openid_client_secret) =", text, re.MULTILINE
    )
    assert not re.search(r"://[^/\s]*:[^/\s]*@", text)


@pytest.mark.parametrize("overlay", DEPARTMENTS)
def test_secrets_are_named_and_never_in_the_manifests(overlay: str) -> None:
    assert of_kind(overlay, "Secret") == []
    settings = settings_of(overlay)
    files = {settings.ledger.password_file, settings.redis.password_file}
    for name, template in pods(overlay):
        volumes = {each["name"]: each for each in template["spec"]["volumes"]}
        paths = {each["path"] for each in volumes["secrets"]["secret"]["items"]}
        mounts = {each["name"]: each["mountPath"] for each in container(template)["volumeMounts"]}
        assert {Path(mounts["secrets"]) / each for each in paths} == files, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_part_runs_somewhere_by_a_command_that_lobar_understands(overlay: str) -> None:
    run: set[str] = set()
    for _, template in pods(overlay):
        words = container(template)["args"]
        said = CliRunner().invoke(cli.app, [*words, "--help"])
        assert said.exit_code == 0, said.output
        if words == ["up"]:
            run |= set(PartName)
        run |= {part for word, part in pairwise(words) if word == "--part"}
    assert run == set(PartName)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_ask_the_health_port_for_the_part_that_runs_there(overlay: str) -> None:
    settings = settings_of(overlay)
    for name, template in pods(overlay):
        if name == "lobar-migrate":
            continue
        each = container(template)
        ports = {port["name"]: port["containerPort"] for port in each["ports"]}
        assert ports["health"] == settings.health.port
        for probe in ("startupProbe", "livenessProbe"):
            assert each[probe]["httpGet"] == {"path": "/health/live", "port": "health"}
        ready = each["readinessProbe"]["httpGet"]["path"]
        part = ready.removeprefix("/health/ready?part=")
        assert PartName(part) == name.removeprefix("lobar-") or each["args"] == ["up"]
        patience = template["spec"]["terminationGracePeriodSeconds"]
        assert patience > settings.drain_seconds


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_state_directory_is_on_a_volume_and_made_by_lobars_account(overlay: str) -> None:
    state = settings_of(overlay).state_dir
    for _, template in pods(overlay):
        mounts = {Path(each["mountPath"]) for each in container(template)["volumeMounts"]}
        assert state.parent in mounts
        assert state not in mounts, "a volume's root belongs to another account"
        if state / "spool" in mounts:
            (before,) = template["spec"]["initContainers"]
            assert str(state) in before["command"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_disruption_budgets_and_policies_select_pods_that_exist(overlay: str) -> None:
    templates = [template for _, template in pods(overlay)]
    for each in of_kind(overlay, "Service"):
        chosen = [one for one in templates if selects(each["spec"]["selector"], one)]
        assert len(chosen) == 1
        names = {port["name"] for port in container(chosen[0])["ports"]}
        assert {port["targetPort"] for port in each["spec"]["ports"]} <= names
    for each in of_kind(overlay, "PodDisruptionBudget"):
        labels = each["spec"]["selector"]["matchLabels"]
        assert len([one for one in templates if selects(labels, one)]) == 1
    for each in of_kind(overlay, "NetworkPolicy"):
        labels = each["spec"]["podSelector"].get("matchLabels", {})
        assert any(selects(labels, one) for one in templates)


@pytest.mark.parametrize("overlay", DEPARTMENTS)
def test_nothing_passes_but_what_a_policy_lists(overlay: str) -> None:
    policies = {
        each["metadata"]["name"]: each["spec"] for each in of_kind(overlay, "NetworkPolicy")
    }
    assert policies["lobar-nothing-else"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    settings = settings_of(overlay)
    allowed = [
        port["port"]
        for each in policies.values()
        for rule in each.get("ingress", [])
        for port in rule["ports"]
    ]
    assert len(allowed) == 3
    assert set(allowed) == {settings.health.port, settings.dicom.port, settings.web.port}


@pytest.mark.parametrize("overlay", DEPARTMENTS)
def test_only_the_web_part_shows_its_pages_to_others(overlay: str) -> None:
    for name, template in pods(overlay):
        variables = {each["name"]: each["value"] for each in container(template)["env"]}
        assert ("LOBAR_WEB__HOST" in variables) == (name == "lobar-web")


@pytest.mark.parametrize("overlay", DEPARTMENTS)
def test_infer_workers_are_scaled_by_a_metric_that_lobar_has(overlay: str) -> None:
    (scaled,) = of_kind(overlay, "ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    metric = re.search(r'(lobar_\w+)\{stage="(\w+)"', trigger["metadata"]["query"])
    assert metric is not None
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert f"| `{metric[1]}` | gauge | `stage`" in page
    assert metric[2] == "infer"
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    target = scaled["spec"]["scaleTargetRef"]
    (deployment,) = (
        each
        for each in of_kind(overlay, target["kind"])
        if each["metadata"]["name"] == target["name"]
    )
    assert "replicas" not in deployment["spec"], "applying the files would undo the scaling"
    assert scaled["spec"]["minReplicaCount"] >= 1, "readiness asks for a worker"


@pytest.mark.parametrize("overlay", DEPARTMENTS)
def test_prometheus_scrapes_every_pod_that_counts(overlay: str) -> None:
    (monitor,) = of_kind(overlay, "PodMonitor")
    labels = monitor["spec"]["selector"]["matchLabels"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    for name, template in pods(overlay):
        if name != "lobar-migrate":
            assert selects(labels, template)
            assert endpoint["port"] in {port["name"] for port in container(template)["ports"]}


def test_the_overlay_with_gpus_asks_for_one_and_for_the_image_that_uses_it() -> None:
    for name, template in pods("department-gpu"):
        each = container(template)
        asks = "nvidia.com/gpu" in each["resources"]["limits"]
        assert asks == (name == "lobar-infer")
        assert each["image"].endswith(":cuda" if asks else ":cpu")
        images = {one["image"] for one in template["spec"].get("initContainers", [])}
        assert images <= {each["image"]}
