"""What can be said of `docker-compose.yml` without an engine: no secret in it, and the page on containers knows it."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")
PAGE = (ROOT / "docs" / "containers.md").read_text("utf-8")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|PIN\b|KEY\b|CREDENTIAL")


def test_no_environment_variable_holds_a_secret() -> None:
    """A variable that is about a secret names a file."""
    names = re.findall(r"^ +([A-Z][A-Z0-9_]+): ", COMPOSE, re.MULTILINE)
    assert "KAFKA_NODE_ID" in names
    assert [name for name in names if SECRET.search(name)] == ["POSTGRES_PASSWORD_FILE"]


def test_every_variable_of_compose_is_explained_with_its_default() -> None:
    """docs/containers.md names each `${VARIABLE:-default}`, and no other, with what it is without being set."""
    used = dict(re.findall(r"\$\{(\w+):-([^}]+)\}", COMPOSE))
    rows = re.findall(r"^\| ((?:`KEYFOLD_\w+`(?:, )?)+) \| ([^|]+)\|", PAGE, re.MULTILINE)
    said = {name: text for names, text in rows for name in re.findall(r"`(\w+)`", names)}
    assert set(said) == set(used)
    for name, default in used.items():
        assert default in said[name], name


def test_every_service_of_compose_is_explained() -> None:
    """docs/containers.md has a row for each service and each volume."""
    services, volumes = COMPOSE.split("\nservices:\n")[1].split("\nvolumes:\n")
    names = re.findall(r"^  ([a-z0-9-]+):$", services.split("\nnetworks:\n")[0] + "\n" + volumes, re.MULTILINE)
    assert len(names) > 20
    assert [name for name in names if f"`{name}`" not in PAGE] == []


def test_every_published_image_can_be_replaced() -> None:
    """No image is named but by a variable with a default."""
    images = re.findall(r"^ +image: (.*)$", COMPOSE, re.MULTILINE)
    assert len(images) == 4
    assert all(re.fullmatch(r"\$\{KEYFOLD_\w+:-[^}]+\}", image) for image in images)
