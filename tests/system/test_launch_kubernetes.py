"""The JobSets, read by models of their own format, and JAX's detection of processes."""

import copy
import pathlib
import re
import sys
import types

import kubernetes_validate
import pytest
import yaml
from kubeflow_trainer_api import models

ROOT = pathlib.Path(__file__).parents[2]
LAUNCH = ROOT / "scripts" / "launch"
JOBSETS = ("kubernetes_gpu.yaml", "kubernetes_tpu.yaml")
KUBERNETES = "1.37"

jobsets = pytest.mark.parametrize("name", JOBSETS)


def documents(name):
    return list(yaml.safe_load_all((LAUNCH / name).read_text()))


def check_jobset(jobset):
    """Refuses what is not a JobSet to the last field, or holds no valid Job."""
    assert jobset["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    # The model leaves out what it does not know.
    assert models.JobsetV1alpha2JobSet.from_dict(jobset).to_dict() == jobset
    for replicated in jobset["spec"]["replicatedJobs"]:
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}}
        job |= replicated["template"]
        kubernetes_validate.validate(job, KUBERNETES, strict=True)


@jobsets
def test_jobsets_are_valid(name):
    [jobset] = documents(name)
    check_jobset(jobset)


@pytest.mark.parametrize("where", ["network", "failurePolicy", "template", "pod"])
def test_a_wrong_field_of_a_jobset_is_noticed(where):
    [jobset] = documents("kubernetes_gpu.yaml")
    wrong = copy.deepcopy(jobset)
    job = wrong["spec"]["replicatedJobs"][0]["template"]["spec"]
    place = {
        "network": wrong["spec"]["network"],
        "failurePolicy": wrong["spec"]["failurePolicy"],
        "template": job,
        "pod": job["template"]["spec"],
    }[where]
    place["unheardOf"] = 1
    with pytest.raises((AssertionError, kubernetes_validate.ValidationError)):
        check_jobset(wrong)


def test_setup_is_valid():
    for document in documents("kubernetes_setup.yaml"):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


@jobsets
def test_a_jobset_restarts_after_75_and_fails_after_1(name):
    [jobset] = documents(name)
    [replicated] = jobset["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    assert job["backoffLimit"] == 0  # any pod that fails ends the Job ...
    [rule] = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"  # ... and so does 1, with a reason of its own
    assert rule["onExitCodes"]["operator"] == "In"
    assert 1 in rule["onExitCodes"]["values"]
    assert 75 not in rule["onExitCodes"]["values"]
    [container] = job["template"]["spec"]["containers"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    policy = jobset["spec"]["failurePolicy"]
    assert policy["maxRestarts"] > 0
    [rule] = policy["rules"]
    assert re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule["name"])
    assert rule["action"] == "FailJobSet"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]


@jobsets
def test_a_jobset_uses_what_the_setup_makes(name):
    [jobset] = documents(name)
    pod = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    made = {
        (d["kind"], d["metadata"]["name"]) for d in documents("kubernetes_setup.yaml")
    }
    assert ("ServiceAccount", pod["serviceAccountName"]) in made
    claims = [
        v["persistentVolumeClaim"]["claimName"]
        for v in pod["volumes"]
        if "persistentVolumeClaim" in v
    ]
    assert len(claims) == 2
    assert {("PersistentVolumeClaim", claim) for claim in claims} <= made
    [container] = pod["containers"]
    mounts = {m["mountPath"] for m in container["volumeMounts"]}
    assert {"/runs", "/data"} <= mounts
    assert f"--workdir=/runs/{jobset['metadata']['name']}" in container["args"]
    # A signal goes to the first process of a container, and a shell keeps it.
    assert container["command"][0] == "python"


class Forbidden(Exception):
    """The API server's answer to a question that the role does not allow."""

    status, reason = 403, "Forbidden"


def api_server(jobset, role):
    """The Python client of Kubernetes, inside the first pod of a JobSet."""
    name = jobset["metadata"]["name"]
    [replicated] = jobset["spec"]["replicatedJobs"]
    job_name = f"{name}-{replicated['name']}-0"
    labels = {"jobset.sigs.k8s.io/jobset-name": name, "job-name": job_name}
    owner = types.SimpleNamespace(controller=True, kind="Job", name=job_name)
    metadata = types.SimpleNamespace(
        name=job_name, labels=labels, owner_references=[owner]
    )
    spec = types.SimpleNamespace(**replicated["template"]["spec"])
    allowed = {
        (resource, verb)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }

    def check(resource, verb):
        if (resource, verb) not in allowed:
            raise Forbidden

    class Core:
        def list_namespaced_pod(self, **_):
            check("pods", "list")
            return types.SimpleNamespace(
                items=[types.SimpleNamespace(metadata=metadata)]
            )

    class Batch:
        def read_namespaced_job(self, name, **_):
            check("jobs", "get")
            assert name == job_name
            return types.SimpleNamespace(metadata=metadata, spec=spec)

    module = types.ModuleType("kubernetes")
    module.config = types.SimpleNamespace(load_incluster_config=lambda: None)
    module.client = types.SimpleNamespace(
        CoreV1Api=Core,
        BatchV1Api=Batch,
        exceptions=types.SimpleNamespace(ApiException=Forbidden),
    )
    return module


@pytest.mark.parametrize("may", ["all", "less"])
def test_jax_finds_the_processes_of_a_jobset(monkeypatch, may):
    """With the rights of the role, and no others; with less it would not."""
    from jax._src.clusters import k8s_cluster

    class Cluster(k8s_cluster.K8sCluster):
        opt_in_only_method = True  # the other tests' detection passes it by

    [jobset] = documents("kubernetes_gpu.yaml")
    role = next(d for d in documents("kubernetes_setup.yaml") if d["kind"] == "Role")
    if may == "less":
        role["rules"] = role["rules"][1:]
    monkeypatch.setitem(sys.modules, "kubernetes", api_server(jobset, role))
    for name, value in {
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "HOSTNAME": "localhost",
        "JOB_COMPLETION_INDEX": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Cluster, "_namespace", classmethod(lambda cls: "default"))
    assert Cluster.is_env_present()
    if may == "less":
        with pytest.raises(RuntimeError, match="403 - Forbidden"):
            Cluster.get_coordinator_address(None, None)
        return
    address = Cluster.get_coordinator_address(None, None)
    assert re.fullmatch(r"veegan-train-0-0\.veegan:\d+", address)
    assert Cluster.get_process_count() == 2
    assert Cluster.get_process_id() == 1
