"""The arithmetic of many chips, and the manifest and the page that go with it."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from kubeflow_trainer_api.models import JobsetV1alpha2JobSet
from pydantic import ValidationError

from tools.scaling import SETTINGS, Exchange, count_exchange, tabulate, time_exchange
from zoo.cli.arguments import _name_parameters
from zoo.cli.train import resume, train

DOCS = Path(__file__).parent.parent / "docs"


def test_the_table_of_the_page_is_what_the_script_writes():
    text = (DOCS / "many_devices.md").read_text()
    assert "\n".join(tabulate("resnet50", SETTINGS)) in text
    exchanged = count_exchange("resnet50")
    assert f"| gradients | {exchanged.gradients:,} |" in text
    assert f"| sums of normalisations | {exchanged.sums:,} |" in text


def test_bytes_are_those_of_the_published_parameters_and_time_is_division():
    exchanged = count_exchange("resnet50")
    assert exchanged.gradients == 4 * 25_557_032
    assert exchanged.messages == 1 + 2 * 53  # normalisations
    assert time_exchange(Exchange(8 * 10**9, 0, 0), 4, 1e9) == pytest.approx(12)


def _find_unknown(jobset):
    return _name_fields(jobset) - _name_fields(JobsetV1alpha2JobSet.from_dict(jobset).to_dict())


def _name_fields(tree, path=""):
    """The paths of all that a manifest says."""
    if isinstance(tree, dict | list):
        inside = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {name for key, part in inside for name in _name_fields(part, f"{path}/{key}")}
    return {path}


def test_the_manifest_fits_the_schema_of_a_jobset():
    """Pydantic raises at a value of another type, and drops a field that it does not know."""
    text = (DOCS / "jobset.yaml").read_text()
    jobset = yaml.safe_load(text)
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert not _find_unknown(jobset)
    assert _find_unknown(yaml.safe_load(text.replace("readOnly", "readonly")))
    with pytest.raises(ValidationError, match="backoffLimit"):
        _find_unknown(yaml.safe_load(text.replace("backoffLimit: 0", "backoffLimit: none")))


def test_the_manifest_names_places_and_commands_that_exist():
    jobset = yaml.safe_load((DOCS / "jobset.yaml").read_text())
    (group,) = jobset["spec"]["replicatedJobs"]
    job = group["template"]["spec"]
    assert job["completionMode"] == "Indexed"  # which is what sets JOB_COMPLETION_INDEX
    assert job["parallelism"] == job["completions"]
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    (script,) = container["args"]
    place, port = re.search(r"--coordinator (\S+):(\d+)", script).groups()
    name = jobset["metadata"]["name"]
    assert place == f"{name}-{group['name']}-0-0.{name}"  # the first pod, as JobSet calls it
    assert {"containerPort": int(port)} in container["ports"]
    assert int(re.search(r"--processes (\d+)", script)[1]) == job["completions"]
    for command, verb in ((train, "train"), (resume, "resume")):
        words = shlex.split(re.search(rf"exec zoo {verb} (.*)", script)[1]) + shlex.split(
            re.search(r'hosts="(.*)"', script)[1]
        )
        assert {word for word in words if word.startswith("--")} <= set(_name_parameters(command))
