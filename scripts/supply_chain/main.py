"""The command line of scripts/supply-chain. Exit codes: 0 well, 1 something was found or a test failed, 2 it failed."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from supply_chain.audit import AuditFailed, audit
from supply_chain.locks import ROOT, LockUnreadable, lock_file, read_lock
from supply_chain.wheel import build, digest, test


def main(arguments: list[str]) -> int:
    """Do what is asked for; what cannot be done is told in one line."""
    given = _parser().parse_args(arguments)
    try:
        code: int = given.run(given)
    except (AuditFailed, LockUnreadable, OSError, subprocess.CalledProcessError) as error:
        print(f"supply-chain {given.command}: {error}", file=sys.stderr)
        return 2
    return code


def _sbom(given: argparse.Namespace) -> int:
    from supply_chain.sbom import sbom

    text = sbom(read_lock(lock_file(given.lock).read_text("utf-8")))
    if given.out is None:
        sys.stdout.write(text)
    else:
        given.out.write_text(text, encoding="utf-8")
    return 0


def _audit(given: argparse.Namespace) -> int:
    report = audit(lock_file(given.lock), given.service)
    print(f"{given.lock}.txt: {report.text()}")
    return 1 if report.findings else 0


def _wheel(given: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="keyfold-wheel-") as work:
        wheel = build(Path(work), given.out)
        print(f"{wheel.name} sha256:{digest(wheel)}", flush=True)
        return test(Path(work), wheel, given.packages, given.paths) if given.paths else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="supply-chain")
    commands = parser.add_subparsers(dest="command", required=True)
    sbom = commands.add_parser("sbom", help="a CycloneDX document of what a lock pins")
    sbom.add_argument("--lock", default="runtime", choices=("runtime", "image", "analytics"))
    sbom.add_argument("--out", type=Path, help="a file instead of standard output")
    sbom.set_defaults(run=_sbom)
    check = commands.add_parser("audit", help="known vulnerabilities of what a lock pins, as pip-audit says")
    check.add_argument("--lock", default="runtime", choices=("runtime", "image", "analytics", "build", "dev"))
    check.add_argument("--service", default="pypi", choices=("pypi", "osv"), help="which database")
    check.set_defaults(run=_audit)
    wheel = commands.add_parser("wheel", help="build the wheel once, and run tests on it")
    wheel.add_argument("--packages", default="lock", choices=("lock", "installed"), help="where others come from")
    wheel.add_argument("--out", type=Path, default=ROOT / "dist", help="where the wheel is put")
    wheel.add_argument("paths", nargs="*", metavar="TEST PATH", help="none: only build")
    wheel.set_defaults(run=_wheel)
    return parser
