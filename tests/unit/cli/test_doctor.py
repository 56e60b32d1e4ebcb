"""What `keyfold doctor` says of the machine and of certificates."""

from pathlib import Path

from keyfold.cli.doctor import _certificates, _machine
from keyfold.cli.health import Finding
from keyfold.cli.session import Session
from keyfold.config import CONFIG_FILE
from keyfold.identity import SERVICES

RENEW = "run `keyfold ceremony renew`"


def verdicts(days_left: dict[str, int]) -> dict[str, tuple[str, str, str]]:
    checks = _certificates(Finding({"days_left": days_left}))
    return {check.name.removeprefix("certificate of "): (check.verdict, check.found, check.advice) for check in checks}


def test_certificates_that_last_are_well() -> None:
    """Each is named with how long it lasts, and one that ends soon with what to do."""
    told = verdicts({**dict.fromkeys(SERVICES, 80), "hsm": 13})
    assert told.keys() == SERVICES
    assert told["policy"] == ("ok", "80 days left", "")
    assert told["hsm"] == ("warning", "13 days left", RENEW)


def test_a_service_without_a_certificate_is_named() -> None:
    """Without analytics a deployment works; without any other service it does not."""
    told = verdicts({"policy": 80, "projector": 80, "notary": 80})
    assert told["analytics"] == ("warning", "there is none", RENEW)
    assert told["hsm"] == ("problem", "there is none", RENEW)


def test_where_brokers_are_elsewhere_no_java_is_asked_for(tmp_path: Path) -> None:
    """Nor a software token; where there are no settings yet, both are, since `keyfold up` needs them."""
    assert {"java", "softhsm"} <= {check.name for check in _machine(Session(tmp_path))}
    (tmp_path / CONFIG_FILE).touch()
    assert [check.name for check in _machine(Session(tmp_path))] == ["disk"]
