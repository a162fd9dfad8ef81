"""The manifests of `deploy/k8s`, as kustomize renders them: valid for Kubernetes, and by our own rules."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Final

import kubernetes_validate  # type: ignore[import-untyped]  # it carries no types, and there are no stubs
import pytest
import yaml

from gnomon_core.runtime.supervisor import Supervisor
from gnomon_executor.bootstrap import MARGIN_SECONDS
from gnomon_executor.worker import LAST_BREATH_SECONDS
from tests.e2e.launches import ROOT, data, environment_file, from_manifests, image, render, seconds
from tests.e2e.needing import needs

pytestmark = [pytest.mark.e2e, needs("kubectl")]

OVERLAYS: Final = ("overlays/demo", "overlays/demo-mqtt", "overlays/example", "base", "migrate")
VERSIONS: Final = ("1.30", "1.37")
"""The oldest with a `sleep` before the stop, and the newest that the schemas know."""
OF_NATS: Final = {"POD_NAME", "NATS_STORE_DIR"}
OF_MQTT: Final = {"NATS_MQTT_PORT", "NATS_MQTT_CERT", "NATS_MQTT_KEY"}
OF_POSTGRES: Final = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}

Document = dict[str, Any]


@pytest.fixture(params=OVERLAYS, scope="module")
def documents(request: pytest.FixtureRequest) -> list[Document]:
    """One folder, rendered."""
    return render(request.param)


@pytest.fixture(scope="module")
def demo() -> list[Document]:
    """The overlay that has everything in it."""
    return render("overlays/demo")


def _workloads(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Everything with pods: its name and its pod template."""
    for document in documents:
        if document["kind"] in {"Deployment", "StatefulSet", "Job"}:
            yield document["metadata"]["name"], document["spec"]["template"]


def _containers(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    for name, template in _workloads(documents):
        for container in template["spec"]["containers"] + template["spec"].get("initContainers", []):
            yield f"{name}/{container['name']}", container


def _fits(selector: Document, labels: Document) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", [])
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_document(documents: list[Document], version: str) -> None:
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


def test_the_schemas_would_refuse_a_wrong_field(demo: list[Document]) -> None:
    [wrong] = [d for d in demo if d["kind"] == "Deployment" and d["metadata"]["name"] == "gnomon-api"]
    wrong = {**wrong, "spec": {**wrong["spec"], "replica": 3}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_pods_have_no_privilege_and_no_token(documents: list[Document]) -> None:
    for name, template in _workloads(documents):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert not [volume for volume in spec.get("volumes", []) if "hostPath" in volume], name
    for name, container in _containers(documents):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name


def test_our_pods_run_as_the_image_does(documents: list[Document]) -> None:
    ids = {f"{c['runAsUser']}:{c['runAsGroup']}" for c in _our_contexts(documents)}
    assert ids <= {image().user}


def _our_contexts(documents: list[Document]) -> list[Document]:
    return [
        template["spec"]["securityContext"]
        for _, template in _workloads(documents)
        if template["metadata"]["labels"]["app.kubernetes.io/name"] == "gnomon"
    ]


def test_containers_have_requests_and_a_limit_of_memory(documents: list[Document]) -> None:
    for name, container in _containers(documents):
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, name
        assert container["resources"]["limits"].keys() >= {"memory"}, name
        assert ":latest" not in container["image"], name


def test_what_runs_on_is_probed_and_ports_agree(documents: list[Document]) -> None:
    jobs = {d["metadata"]["name"] for d in documents if d["kind"] == "Job"}
    for name, container in _containers(documents):
        if name.partition("/")[0] in jobs:
            continue
        ports = {port["name"] for port in container["ports"]}
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container[kind]
            for how in ("httpGet", "tcpSocket"):
                assert how not in probe or probe[how]["port"] in ports, f"{name} {kind}"
            assert {"httpGet", "tcpSocket", "exec"} & probe.keys(), f"{name} {kind}"


def test_gnomon_listens_where_it_is_probed_and_scraped(demo: list[Document]) -> None:
    launches = {launch.name: launch for launch in from_manifests(demo)}
    assert launches.keys() == {"scheduler", "executor", "api", "migrate"}
    for name, variable in (("scheduler", "HEALTH"), ("executor", "HEALTH"), ("api", "HTTP")):
        launch = launches[name]
        port = int(launch.env[f"GNOMON_{variable}_PORT"])
        assert launch.env[f"GNOMON_{variable}_HOST"] == "0.0.0.0", name
        probes = (launch.startup, launch.readiness, launch.liveness)
        assert [probe and probe.port for probe in probes] == [port] * 3, name
        assert [probe and probe.path for probe in probes] == ["/livez", "/readyz", "/livez"], name
        assert launch.metrics == (port, "/metrics"), name


def test_services_lead_to_pods_and_ports_that_exist(documents: list[Document]) -> None:
    for service in (d for d in documents if d["kind"] == "Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        templates = [t for _, t in _workloads(documents) if _fits(selector, t["metadata"]["labels"])]
        assert len(templates) == 1, service["metadata"]["name"]
        ports = {port["name"] for c in templates[0]["spec"]["containers"] for port in c["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, service["metadata"]["name"]


def test_selectors_choose_their_own_pods(documents: list[Document]) -> None:
    labels = {name: template["metadata"]["labels"] for name, template in _workloads(documents)}
    for document in documents:
        name, kind = document["metadata"]["name"], document["kind"]
        if kind in {"Deployment", "StatefulSet", "PodDisruptionBudget"}:
            chosen = [who for who, own in labels.items() if _fits(document["spec"]["selector"], own)]
            assert chosen == [name], f"{kind} {name}"
        for rule in (
            document["spec"].get("template", {}).get("spec", {}).get("topologySpreadConstraints", [])
            if kind == "Deployment"
            else []
        ):
            assert _fits(rule["labelSelector"], labels[name]), name


def test_everything_that_is_named_exists(demo: list[Document]) -> None:
    there = {(d["kind"], d["metadata"]["name"]) for d in demo}
    namespaces = {d["metadata"].get("namespace") for d in demo if d["kind"] != "Namespace"}
    assert namespaces == {"gnomon-demo"}
    for _, template in _workloads(demo):
        spec = template["spec"]
        named = list(_mounted(spec.get("volumes", [])))
        if "serviceAccountName" in spec:
            named.append(("ServiceAccount", spec["serviceAccountName"]))
        assert set(named) <= there
    for name, container in _containers(demo):
        for source in container.get("envFrom", []):
            kind = "ConfigMap" if "configMapRef" in source else "Secret"
            [reference] = source.values()
            assert (kind, reference["name"]) in there, name


def _mounted(volumes: list[Document]) -> Iterator[tuple[str, str]]:
    """What volumes are made of: each with its kind."""
    for volume in volumes:
        for source in volume.get("projected", {"sources": [volume]})["sources"]:
            if "configMap" in source:
                yield "ConfigMap", source["configMap"]["name"]
            if "secret" in source:
                yield "Secret", source["secret"].get("name") or source["secret"]["secretName"]


def test_the_base_names_the_secrets_of_its_example() -> None:
    example = (ROOT / "deploy" / "k8s" / "base" / "secrets.example.yaml").read_text()
    made = {
        document["metadata"]["name"]: document["stringData"].keys()
        for document in yaml.safe_load_all(example)
    }
    named = {
        source["secretRef"]["name"]
        for _, container in _containers(render("base") + render("migrate"))
        for source in container["envFrom"]
        if "secretRef" in source
    }
    assert named == made.keys()
    assert set().union(*made.values()) == {"GNOMON_NATS_URL", "GNOMON_DATABASE_URL"}


def test_every_variable_is_a_setting(demo: list[Document]) -> None:
    known = environment_file(ROOT / ".env.example").keys()
    for launch in from_manifests(demo):
        ours = {name for name in launch.env if not name.startswith(("PYTHON", "PATH"))}
        assert ours <= known, launch.name
        assert "GNOMON_DATABASE_URL" in ours or launch.name in {"scheduler", "executor"}, launch.name
    for document in demo:
        if document["kind"] == "StatefulSet":
            [container] = document["spec"]["template"]["spec"]["containers"]
            names = {each["name"] for each in container["env"]}
            assert names <= (OF_NATS if container["name"] == "nats" else OF_POSTGRES), container["name"]
    for document in render("overlays/demo-mqtt"):
        if document["kind"] == "StatefulSet" and document["metadata"]["name"] == "gnomon-nats":
            [container] = document["spec"]["template"]["spec"]["containers"]
            assert {each["name"] for each in container["env"]} == OF_NATS | OF_MQTT


def test_only_the_api_and_the_migration_know_postgres(documents: list[Document]) -> None:
    for name, container in _containers(documents):
        secrets = {s["secretRef"]["name"] for s in container.get("envFrom", []) if "secretRef" in s}
        knows = any(secret.startswith("gnomon-database") for secret in secrets)
        assert knows == (container["name"] in {"api", "migrate"}), name


def test_a_stop_has_the_time_that_the_process_takes(demo: list[Document]) -> None:
    longest = inspect.signature(Supervisor).parameters["grace"].default
    for launch in from_manifests(demo):
        if launch.name == "migrate":
            continue
        needed = longest
        if launch.name == "executor":
            needed = seconds(launch.env["GNOMON_DRAIN_GRACE"]) + LAST_BREATH_SECONDS + MARGIN_SECONDS
        assert launch.stop_seconds > needed + _before_the_signal(demo, launch.name) + 5, launch.name


def _before_the_signal(documents: list[Document], name: str) -> float:
    """Seconds that a hook takes of the time to stop."""
    [container] = [container for _, container in _containers(documents) if container["name"] == name]
    hook = container.get("lifecycle", {}).get("preStop", {"sleep": {"seconds": 0}})
    return float(hook["sleep"]["seconds"])


def test_nobody_reaches_more_than_it_needs(demo: list[Document]) -> None:
    labels = {name: template["metadata"]["labels"] for name, template in _workloads(demo)}
    ports: dict[str, set[Any]] = {name: set() for name in labels}
    shut: dict[str, set[str]] = {name: set() for name in labels}
    for policy in (d["spec"] for d in demo if d["kind"] == "NetworkPolicy"):
        for name, own in labels.items():
            if _fits(policy["podSelector"], own):
                shut[name] |= {*policy["policyTypes"]}
                for rule in policy.get("egress", []):
                    assert rule["to"], "an empty list of peers would mean everybody"
                    ports[name] |= {port["port"] for port in rule["ports"]}
    assert all(kinds == {"Ingress", "Egress"} for kinds in shut.values())
    assert ports == {
        "gnomon-scheduler": {53, 4222, 8222},
        "gnomon-executor": {53, 4222, 8222},
        "gnomon-api": {53, 4222, 8222, 5432},
        "gnomon-migrate": {53, 5432},
        "gnomon-nats": {53, 6222},
        "gnomon-postgres": set(),
    }


def test_the_peers_of_the_policies_are_pods_of_the_demo(demo: list[Document]) -> None:
    labels = [template["metadata"]["labels"] for _, template in _workloads(demo)]
    outside = {("k8s-app", "kube-dns"), ("gnomon-client", "true")}
    for policy in (d for d in demo if d["kind"] == "NetworkPolicy"):
        for rule in policy["spec"].get("egress", []) + policy["spec"].get("ingress", []):
            for peer in rule.get("to", []) + rule.get("from", []):
                selector = peer.get("podSelector")
                if selector is None or set(selector["matchLabels"].items()) & outside:
                    continue
                assert any(_fits(selector, own) for own in labels), policy["metadata"]["name"]


def test_nats_gets_every_password_and_all_its_files(demo: list[Document]) -> None:
    [passwords] = [data(d) for d in demo if d["metadata"]["name"].startswith("gnomon-nats-passwords")]
    [files] = [
        data(d) for d in demo if d["kind"] == "ConfigMap" and d["metadata"]["name"].startswith("gnomon-nats")
    ]
    # A Secret, since it has passwords in it; under a name that a new device does not change.
    [devices] = [
        data(d) for d in demo if d["kind"] == "Secret" and d["metadata"]["name"] == "gnomon-nats-devices"
    ]
    assert devices.keys() == {"devices.conf"}
    files |= devices
    for name in ("cluster.conf", "cluster-mqtt.conf", "mqtt.conf", "permissions.conf", "devices.conf"):
        assert files[name] == (ROOT / "deploy" / "nats" / name).read_text()
    asked = {
        word.strip(",")[1:]
        for text in files.values()
        for word in text.split()
        if word.startswith("$NATS_") and word.strip(",").endswith("_PASSWORD")
    }
    assert asked == passwords.keys()


def test_every_process_asks_every_node_how_it_writes_to_disk(demo: list[Document]) -> None:
    [nats] = [d for d in demo if d["kind"] == "StatefulSet" and d["metadata"]["name"] == "gnomon-nats"]
    service = nats["spec"]["serviceName"]
    nodes = {f"http://gnomon-nats-{number}.{service}:8222" for number in range(nats["spec"]["replicas"])}
    for launch in from_manifests(demo):
        if launch.name != "migrate":
            assert set(launch.env["GNOMON_NATS_MONITOR"].split(",")) == nodes
            assert launch.env["GNOMON_REQUIRE_DURABILITY"] == "replicated"
    policies = {d["metadata"]["name"]: d["spec"] for d in demo if d["kind"] == "NetworkPolicy"}
    gnomon = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "gnomon"}}}
    asked = [rule["ports"] for rule in policies["gnomon-nats"]["ingress"] if rule["from"] == [gnomon]]
    assert [{"protocol": "TCP", "port": "monitor"}] in asked


def test_devices_reach_the_listener_and_nothing_else() -> None:
    documents = render("overlays/demo-mqtt")
    [nats] = [c for name, c in _containers(documents) if name == "gnomon-nats/nats"]
    env = {each["name"]: each.get("value") for each in nats["env"]}
    assert nats["args"] == ["--config", "/etc/gnomon-nats/cluster-mqtt.conf"]
    assert {"name": "mqtt", "containerPort": int(env["NATS_MQTT_PORT"])} in nats["ports"]
    mounts = {mount["mountPath"] for mount in nats["volumeMounts"]}
    assert {env["NATS_MQTT_CERT"], env["NATS_MQTT_KEY"]} == {
        "/etc/gnomon-mqtt/tls.crt",
        "/etc/gnomon-mqtt/tls.key",
    }
    assert "/etc/gnomon-mqtt" in mounts

    to_all = [
        port["port"]
        for d in documents
        if d["kind"] == "NetworkPolicy"
        for rule in d["spec"].get("ingress", [])
        if "from" not in rule
        for port in rule["ports"]
    ]
    assert to_all == ["mqtt"], "no other port is open to everybody"
    outside = [
        d for d in documents if d["kind"] == "Service" and d["spec"].get("type", "ClusterIP") != "ClusterIP"
    ]
    assert [d["metadata"]["name"] for d in outside] == ["gnomon-mqtt"]
    assert [port["port"] for d in outside for port in d["spec"]["ports"]] == [8883]


def test_an_autoscaler_alone_says_how_many(documents: list[Document]) -> None:
    scaled = {
        d["spec"]["scaleTargetRef"]["name"] for d in documents if d["kind"] == "HorizontalPodAutoscaler"
    }
    for document in documents:
        if document["kind"] == "Deployment":
            assert ("replicas" in document["spec"]) != (document["metadata"]["name"] in scaled)
