"""What docker-compose.yml and its overrides promise: no root, nothing writable, no secret in the open, names that exist."""

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.docker.credentials import make_credentials
from deploy.docker.private_engine import removals
from deploy.docker.stand_in_images import OFFICIAL
from deploy.kafka.jars import POM
from services.goals.settings import GoalsSettings
from services.kpi.settings import KpiSettings
from services.notify.settings import NotifySettings
from services.pipeline.settings import PipelineSettings
from shared.settings import Settings
from tests.deploy.docker.compose_files import BASE, DOCKER, ROOT, THREE_BROKERS, Service, compose_files, merged, read

WHOLE = merged(BASE)
EVERY = {f"{name} ({label})": service for label, paths in (("one broker", (BASE,)), ("three", (BASE, THREE_BROKERS)))
         for name, service in merged(*paths).items()}  # fmt: skip
OURS = ("pipeline", "kpi", "goals", "notify")
SETTINGS = {"pipeline": PipelineSettings, "kpi": KpiSettings, "goals": GoalsSettings, "notify": NotifySettings}
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::?[-?]([^}]*))?\}")

every_service = pytest.mark.parametrize("service", EVERY.values(), ids=EVERY.keys())


def _default(text: str) -> str:
    """Return what a value is where no variable is set."""
    return VARIABLE.sub(lambda found: found[2] or "", text)


@every_service
def test_a_container_can_do_little(service: Service) -> None:
    assert str(service["user"]).split(":")[0] not in ("root", "0", "")
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "container_name"} & set(service)


@every_service
def test_a_container_cannot_take_the_machine_down(service: Service) -> None:
    assert service["mem_limit"]
    assert service["pids_limit"] > 0
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert any(mount.startswith("/tmp:") for mount in service["tmpfs"])
    assert all("size=" in mount for mount in service["tmpfs"])


@every_service
def test_what_stays_up_is_watched_and_may_end_in_peace(service: Service) -> None:
    if service["restart"] == "no":
        assert "healthcheck" not in service
        return
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert int(service["stop_grace_period"].removesuffix("s")) >= 30


@every_service
def test_images_are_variables_with_a_version(service: Service) -> None:
    assert VARIABLE.fullmatch(service["image"])
    name, _, tag = _default(service["image"]).rpartition(":")
    assert name
    assert tag not in ("", "latest")


def test_the_image_is_built_from_a_version_and_runs_as_nobody_else() -> None:
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    default = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", text, re.MULTILINE)
    assert default
    assert WHOLE["pipeline"]["build"]["args"]["PYTHON_IMAGE"] == f"${{PYTHON_IMAGE:-{default[1]}}}"
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == [WHOLE["pipeline"]["user"]]
    assert "# syntax" not in text
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / path).exists() for path in source.split())


def test_only_the_gateway_is_reached_from_outside_and_only_from_this_host() -> None:
    published = {name: service["ports"] for name, service in WHOLE.items() if "ports" in service}
    assert set(published) == {"gateway"}
    assert [_default(port) for port in published["gateway"]] == ["127.0.0.1:8080:8080"]


def test_databases_and_brokers_have_no_way_out_and_the_gateway_no_way_to_them() -> None:
    assert read(BASE)["networks"]["data"]["internal"] is True
    for name, service in merged(BASE, THREE_BROKERS).items():
        expected = {"gateway": ["edge"]} | {name: ["data", "edge"] for name in OURS}
        assert service["networks"] == expected.get(name, ["data"]), name


def test_every_secret_is_a_file_in_one_ignored_folder(tmp_path: Path) -> None:
    folder = DOCKER / "secrets"
    files = {name: (ROOT / entry["file"]) for name, entry in read(BASE)["secrets"].items()}
    assert {path.parent for path in files.values()} == {folder}
    # What compose wants is what `make secrets` writes, no more and no less.
    make_credentials(tmp_path, "production")
    assert {path.name for path in files.values()} == {path.name for path in tmp_path.iterdir()}
    ignored = subprocess.run(
        ["git", "check-ignore", *map(str, files.values())], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert len(ignored.stdout.splitlines()) == len(files)
    assert "deploy/docker/secrets" in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()


@every_service
def test_no_secret_is_in_the_open(service: Service) -> None:
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|DATABASE_URL|KEY")
    for name, value in service.get("environment", {}).items():
        if secret.search(name):
            assert name.endswith("_FILE")
            assert value.removeprefix("/run/secrets/") in service["secrets"]
    assert not [name for name, value in service.get("environment", {}).items() if "@db:" in str(value)]


@pytest.mark.parametrize("service", [*OURS, "gateway"])
def test_a_service_is_told_only_what_it_reads(service: str) -> None:
    known = {name.upper() for name in SETTINGS.get(service, Settings).model_fields}
    told = {name.removesuffix("_FILE") if name.endswith("_FILE") and name[:-5] in known else name
            for name in WHOLE[service]["environment"]}  # fmt: skip
    assert told <= known


@pytest.mark.parametrize("service", OURS)
def test_a_service_has_its_own_database_its_own_schema_job_and_the_topics(service: str) -> None:
    own = WHOLE[service]
    assert own["command"] == ["python", "-m", f"services.{service}"]
    assert own["environment"]["DATABASE_URL_FILE"] == f"/run/secrets/{service}_database_url"
    assert {name for name in own["secrets"] if name.endswith("_database_url")} == {f"{service}_database_url"}
    done = {"condition": "service_completed_successfully"}
    assert own["depends_on"] == {f"migrate-{service}": done, "topics": done}
    assert WHOLE[f"migrate-{service}"]["command"] == ["salesgrain", "migrate", "--service", service]
    assert WHOLE[f"migrate-{service}"]["secrets"] == [f"{service}_database_url"]


def test_three_brokers_keep_three_copies_and_acknowledge_two() -> None:
    services = merged(BASE, THREE_BROKERS)
    brokers = {name: services[name]["environment"] for name in ("kafka", "kafka-2", "kafka-3")}
    assert sorted(int(broker["KAFKA_NODE_ID"]) for broker in brokers.values()) == [1, 2, 3]
    for name, broker in brokers.items():
        assert broker["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{name}:19092"
        own = ("KAFKA_NODE_ID", "KAFKA_ADVERTISED_LISTENERS")
        assert {key: value for key, value in broker.items() if key not in own} == {
            key: value for key, value in brokers["kafka"].items() if key not in own
        }
    assert brokers["kafka"]["KAFKA_MIN_INSYNC_REPLICAS"] == "2"
    assert {value for key, value in brokers["kafka"].items() if key.endswith("REPLICATION_FACTOR")} == {"3"}
    assert services["topics"]["command"][-2:] == ["--replication", "3"]
    for name in (*OURS, "topics"):
        assert services[name]["environment"]["BUS_URL"] == "kafka://kafka:19092,kafka-2:19092,kafka-3:19092"
    for own, shared in (("kafka-2", "kafka"), ("kafka-3", "kafka")):
        same = ("image", "user", "tmpfs", "mem_limit", "pids_limit", "healthcheck", "stop_grace_period")
        assert {key: services[own][key] for key in same} == {key: services[shared][key] for key in same}


@every_service
def test_what_is_mounted_from_the_tree_is_there_and_read_only(service: Service) -> None:
    for mount in service.get("volumes", []):
        source, _, mode = mount.partition(":")[0], *mount.rpartition(":")[1:]
        if source.startswith("."):
            assert mode == "ro"
            assert (ROOT / source).stat().st_mode & stat.S_IXOTH


def test_the_schema_of_compose_finds_a_misspelt_word(tmp_path: Path) -> None:
    """`make lint` relies on it."""
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    assert subprocess.run([*check, *map(str, compose_files())], capture_output=True, check=False).returncode == 0
    wrong = tmp_path / "compose.yml"
    wrong.write_text(BASE.read_text(encoding="utf-8").replace("stop_signal:", "stop_sginal:"), encoding="utf-8")
    assert subprocess.run([*check, str(wrong)], capture_output=True, check=False).returncode == 1


def test_the_verifier_knows_the_images_of_the_compose_file() -> None:
    for variable, official in OFFICIAL.values():
        default = f"${{{variable}:-{official}}}"
        used = [service["image"] for service in WHOLE.values()]
        assert default in used or default == WHOLE["pipeline"]["build"]["args"].get(variable)


def test_the_broker_is_of_the_version_that_the_tests_run() -> None:
    version = re.search(r"<kafka\.version>([^<]+)</", POM.read_text(encoding="utf-8"))
    assert version
    assert OFFICIAL["kafka"][1] == f"apache/kafka:{version[1]}"


def test_a_private_engine_takes_back_only_its_own_rules() -> None:
    rules = ["-P FORWARD DROP", "-N DOCKER", "-N MINE", "-A FORWARD -o docker0 -j DOCKER", "-A FORWARD -j MINE",
             "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", "-A DOCKER -i docker0 -j RETURN"]  # fmt: skip
    assert removals(rules) == [
        ["-D", "FORWARD", "-o", "docker0", "-j", "DOCKER"],
        ["-D", "POSTROUTING", "-s", "172.17.0.0/16", "!", "-o", "docker0", "-j", "MASQUERADE"],
        ["-F", "DOCKER"],
        ["-X", "DOCKER"],
    ]
