"""The files of deploy/: metrics that exist, options that exist, packages that suffice, and containers that are shut."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from compass.config import ServeOptions, fields_of
from compass.serve.body import read_body
from compass.serve.exchange import Exchange
from compass.serve.fleet import Fleet
from compass.serve.keeper import Keeper
from compass.serve.measures import Measures
from compass.serve.prompt_log import PromptLog
from compass.serve.protocol import CHAT
from compass.serve.rollout import Rollout
from compass.serve.routing import Route, asked_of
from compass.serve.store import Store
from compass.serve.vllm import Vllm

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "compass.json").read_text("utf-8"))
RULES = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text("utf-8"))
OURS = sorted(name for name, one in COMPOSE["services"].items() if "build" in one)
OF_PROMETHEUS = {"le", "job", "instance"}


def queries() -> list[str]:
    """Return every PromQL expression of the dashboard and of the rules."""
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    found += [one["expr"] for one in DASHBOARD["annotations"]["list"]]
    found += [one["definition"] for one in DASHBOARD["templating"]["list"]]
    return found + [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Series that /metrics shows once everything has happened -> the labels that they have."""
    folder = tmp_path_factory.mktemp("serve")
    fleet = Fleet([Vllm("http://vllm:8000", timeout=1.0)], lambda live: {}, problems={"cy": "It can't be read."})
    fleet.live = {"cy": 3}
    rollout = Rollout(fleet, lambda *what: None)
    rollout.shadows["same"] += 1
    prompts = PromptLog(folder, "full", retention_days=1)
    keeper = Keeper(Store("sqlite://"), folder, "full", retention_days=1)
    prompts.dropped["the queue is full"] += 1
    measures = Measures(fleet, prompts=prompts, keeper=keeper, rollout=rollout)
    values = {"model": "cy", "messages": [{"role": "user", "content": "helo"}]}
    body = read_body(json.dumps(values).encode())
    exchange = Exchange(CHAT, body, asked_of(values, {}), Route("cy", 3), status=200, first_byte=0.1, seconds=0.2)
    measures.ended(exchange)
    measures.refused("overloaded")
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(measures.text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    for one in (prompts, keeper):
        one.close()
    return found


@pytest.mark.parametrize("query", queries())
def test_every_query_is_of_a_metric_that_the_gateway_has(query: str, exposed: dict[str, set[str]]) -> None:
    """A renamed metric would leave a panel empty, and an alert silent, for ever."""
    text = re.sub(r'"(?:\\.|[^"\\])*"', '""', query)
    named = set(re.findall(r"\bcompass_\w+", text))
    assert named <= set(exposed)
    assert named or re.search(r"\bup\b", text)
    labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", text))
    for listed in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", text):
        labels |= {label.strip() for label in listed.split(",")}
    known = set().union(OF_PROMETHEUS, *(exposed[name] for name in named))
    assert labels <= known


def test_every_metric_of_the_gateway_is_on_the_dashboard(exposed: dict[str, set[str]]) -> None:
    """What is measured should be seen; `_created` and the sums of histograms are not for people."""
    shown = " ".join(queries())
    left_out = ("_created", "_sum", "_count")
    assert [name for name in exposed if not name.endswith(left_out) and name not in shown] == []


def test_the_rules_have_tests_that_name_each_of_them() -> None:
    """`promtool test rules` runs them; a rule without a case may never fire."""
    cases = yaml.safe_load((DEPLOY / "prometheus" / "rules.test.yaml").read_text("utf-8"))
    tested = {case["alertname"] for test in cases["tests"] for case in test["alert_rule_test"]}
    assert tested == {rule["alert"] for group in RULES["groups"] for rule in group["rules"]}


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_a_container_has_no_more_rights_than_it_needs(name: str) -> None:
    """One that is broken into should not be able to write, gain rights, fill the machine, or run on unnoticed."""
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc"} & set(service)
    assert service["user"].split(":")[0] not in ("", "0", "root")
    assert service["healthcheck"]["test"][0] == "CMD"
    assert {"memory", "pids"} <= set(service["deploy"]["resources"]["limits"])
    image, _, tag = service["image"].removesuffix("}").rpartition(":")
    assert image
    assert re.fullmatch(r"v?\d[\w.-]*", tag), "an image needs a version, not `latest`"
    for port in service.get("ports", ()):
        assert re.match(r"\$\{\w+:-127\.0\.0\.1:", port), "only this machine may reach it, unless somebody says so"


def test_no_secret_is_in_a_variable_or_a_command() -> None:
    """Both are shown by `docker inspect`, and by `ps`."""
    for name, service in COMPOSE["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|_KEY|TOKEN|SECRET", variable):
                assert variable.endswith("_FILE"), f"{name}: {variable}"
                assert str(value).removeprefix("/run/secrets/") in service["secrets"]
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
        assert not re.search(r"://[^/\s]*:[^/\s]*@", " ".join(service.get("command", ())))
    text = (DEPLOY / "entrypoint.sh").read_text("utf-8")
    for name in OURS:
        for variable in COMPOSE["services"][name]["environment"]:
            assert variable.removesuffix("_FILE") in text


@pytest.mark.parametrize("name", OURS)
def test_the_options_exist(name: str) -> None:
    """A container that starts with an unknown option ends at once, again and again."""
    command, *flags = COMPOSE["services"][name]["command"]
    known = {option.name for option in fields_of(ServeOptions)}
    assert command == "serve"
    assert {flag.partition("=")[0].removeprefix("--").replace("-", "_") for flag in flags} <= known


def test_the_users_of_the_registry_are_the_same() -> None:
    """Its folders are readable for their owner alone, so vLLM could not load what the gateway has found."""
    users = {one["user"] for one in COMPOSE["services"].values() if "/registry" in json.dumps(one.get("volumes", []))}
    assert len(users) == 1


def test_the_secrets_are_drawn(tmp_path: Path) -> None:
    """`secrets.sh` makes every file that compose reads, keeps what is there, and stores no client's key."""
    script = tmp_path / "secrets.sh"
    script.write_bytes((DEPLOY / "secrets.sh").read_bytes())
    first = subprocess.run(["sh", script], capture_output=True, text=True, check=True)
    files = {tmp_path / one["file"]: (tmp_path / one["file"]).read_text() for one in COMPOSE["secrets"].values()}
    key = first.stdout.split()[-1]
    assert len(key) == 64
    assert not any(key in text for text in files.values())
    again = subprocess.run(["sh", script], capture_output=True, text=True, check=True)
    assert again.stdout == ""
    assert files == {file: file.read_text() for file in files}


def test_a_secret_comes_from_its_file(tmp_path: Path) -> None:
    """The key of a backend must reach the process, and a file that can't be read must say so at once."""
    (tmp_path / "key").write_text("s3cret\n")
    script, show = str(DEPLOY / "entrypoint.sh"), ["printenv", "COMPASS_BACKEND_KEY"]
    environment = {"PATH": "/usr/bin:/bin", "COMPASS_BACKEND_KEY_FILE": str(tmp_path / "key")}
    done = subprocess.run(["sh", script, *show], env=environment, capture_output=True, text=True)
    assert done.stdout == "s3cret\n"
    environment["COMPASS_BACKEND_KEY_FILE"] = str(tmp_path / "none")
    done = subprocess.run(["sh", script, *show], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "can't be read" in done.stderr


@pytest.mark.parametrize("name", ["build", "gateway", "loop"])
def test_the_packages_of_an_image_are_in_the_lock_and_suffice(name: str) -> None:
    """An image is installed without resolving, so what a package needs in turn must be on its list too."""
    listed = run_locked(f"packages-{name}.txt")
    there = set(re.findall(r"^([\w.-]+)==", listed, re.M))
    assert listed.count("--hash=sha256:") >= len(there) > 0
    missing = {f"{one} of {package}" for package in there for one in needed(package) if one not in {*there, "torch"}}
    assert missing == set()


def run_locked(file: str) -> str:
    done = subprocess.run([sys.executable, DEPLOY / "locked.py", DEPLOY / file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def needed(package: str) -> set[str]:
    found = [Requirement(text) for text in requires(package) or ()]
    return {canonicalize_name(one.name) for one in found if one.marker is None or one.marker.evaluate({"extra": ""})}


GATEWAY = """
import sys
from importlib.metadata import packages_distributions
allowed = set(sys.argv[1].split())
of = packages_distributions()
class Absent:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in of and top != "compass" and not {d.lower().replace("_", "-") for d in of[top]} & allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import compass.cli.serve, compass.cli.registry, compass.cli.data, compass.dashboard.start, compass.recipes.forget
import compass.recipes.promote, compass.dashboard.charts
import psycopg, compass.data.redaction, py3langid, langcodes
from compass.serve.routing import Table, asked_of, route
table = Table(base=["gemma"], live={"cy": 3}, candidates={}, versions={"cy": frozenset({3})})
said = {"messages": [{"role": "user", "content": "Trowch y golau ymlaen yn y gegin"}]}
print(route(asked_of(said, headers={}), table).adapter)
"""


def test_the_gateway_runs_on_the_packages_of_its_image() -> None:
    """An import that somebody adds to the gateway would end the container at its start."""
    names = " ".join(re.findall(r"^([\w.-]+)==", run_locked("packages-gateway.txt"), re.M))
    done = subprocess.run([sys.executable, "-c", GATEWAY, names], capture_output=True, text=True)
    assert done.stdout == "cy@3\n", done.stderr


def test_the_health_check_of_image_and_compose_is_one() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text("utf-8")
    assert "USER 10001:10001" in dockerfile
    assert "http://127.0.0.1:8080/healthz" in dockerfile
    assert "http://127.0.0.1:8080/healthz" in COMPOSE["services"]["gateway"]["healthcheck"]["test"][-1]


def test_the_version_is_that_of_the_package() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    found: Any = re.search(r'^version = "(.*)"', text, re.M)
    assert COMPOSE["services"]["gateway"]["image"] == f"compass-gateway:{found[1]}"
