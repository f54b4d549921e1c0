"""Images for the verification: the official ones where a registry is reached, otherwise stand-ins from Debian."""

import shutil
import subprocess
from pathlib import Path

from deploy.docker.engine import CommandFailed, Engine, Unavailable, say
from deploy.kafka.jars import LocalKafkaError, fetch_jars

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STAND_INS = HERE / "stand_ins"
RELEASE = "bookworm"
PREFIX = "localhost/salesgrain-verify"
BASE = f"{PREFIX}/base:{RELEASE}"
OFFICIAL = {
    "python": ("PYTHON_IMAGE", "python:3.11-slim-bookworm"),
    "postgres": ("POSTGRES_IMAGE", "postgres:17-bookworm"),
    "kafka": ("KAFKA_IMAGE", "apache/kafka:4.3.1"),
}
OURS = f"{PREFIX}/salesgrain:verify"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
PULL_SECONDS = 600.0
BUILD_SECONDS = 900.0


def choose_images(engine: Engine, folder: Path, *, only_stand_ins: bool) -> dict[str, str]:
    """Return the value of each image variable: pulled, or built here; raises Unavailable or CommandFailed."""
    chosen: dict[str, str] = {}
    for name, (variable, official) in OFFICIAL.items():
        chosen[variable] = (
            official if not only_stand_ins and _pulled(engine, official) else _stand_in(engine, folder, name)
        )
    return chosen


def stood_in_for(images: dict[str, str]) -> list[str]:
    """Return the official images that were not used."""
    return [official for variable, official in OFFICIAL.values() if images[variable] != official]


def build_ours(engine: Engine, images: dict[str, str]) -> None:
    """Build the product's image as operations do, on the chosen Python image."""
    # Where TLS is inspected, the machine's authorities are needed to install from the lock; none stays in the image.
    secret = ["--secret", f"id=ca,src={AUTHORITIES}"] if AUTHORITIES.exists() else []
    argument = f"PYTHON_IMAGE={images['PYTHON_IMAGE']}"
    dockerfile = str(HERE / "Dockerfile")
    engine.docker(
        "build", "--quiet", *secret, "--build-arg", argument, "--file", dockerfile, "--tag", OURS, str(ROOT),
        seconds=BUILD_SECONDS,
    )  # fmt: skip


def remove_images(engine: Engine) -> None:
    """Remove every image that this module has built."""
    found = engine.docker("images", "--quiet", "--filter", f"reference={PREFIX}/*").split()
    if found:
        engine.docker("rmi", "--force", *dict.fromkeys(found))


def _pulled(engine: Engine, image: str) -> bool:
    if engine.has_image(image):
        return True
    try:
        engine.docker("pull", "--quiet", image, seconds=PULL_SECONDS)
    except CommandFailed:
        return False
    return True


def _stand_in(engine: Engine, folder: Path, name: str) -> str:
    image = f"{PREFIX}/{name}:{RELEASE}"
    if engine.has_image(image):
        return image
    _base(engine)
    say(f"  images: building a stand-in for {OFFICIAL[name][1]}")
    context = folder / "contexts" / name
    shutil.rmtree(context, ignore_errors=True)
    shutil.copytree(STAND_INS / name, context)
    if name == "kafka":
        try:
            shutil.copytree(fetch_jars().folder / "libs", context / "jars")
        except LocalKafkaError as error:
            raise Unavailable(f"no stand-in for Kafka: {error}") from error
    try:
        argument = f"BASE_IMAGE={BASE}"
        engine.docker("build", "--quiet", "--build-arg", argument, "--tag", image, str(context), seconds=BUILD_SECONDS)
    finally:
        shutil.rmtree(context)
    return image


def _base(engine: Engine) -> None:
    if engine.has_image(BASE):
        return
    if not shutil.which("mmdebstrap"):
        raise Unavailable(
            "official images cannot be pulled, and stand-ins need mmdebstrap (ARGS=--install installs it)"
        )
    say("  images: making a Debian base (mmdebstrap)")
    included = "ca-certificates,python3,python3-venv"
    make = ["nice", "mmdebstrap", "--quiet", "--variant=minbase", f"--include={included}", RELEASE, "-"]
    with (
        subprocess.Popen(make, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as made,
        subprocess.Popen(
            engine.docker_command("import", "-", BASE), stdin=made.stdout, stdout=subprocess.DEVNULL
        ) as taken,
    ):
        if made.stdout is not None:
            # Ours must be closed, or an importer that ends early would leave mmdebstrap waiting.
            made.stdout.close()
        words = made.stderr.read().decode(errors="replace") if made.stderr else ""
        taken.wait(BUILD_SECONDS)
    if made.returncode or taken.returncode:
        raise CommandFailed(f"the Debian base could not be made:\n{words[-2000:]}")
