"""One Kafka node that lets nobody in unknown: TLS with certificates (mTLS), SASL/SCRAM over TLS, and an authorizer.

A certificate authority of its own is made for each; the user of a certificate is its common name. `admin` is the super
user. Only the controller's listener, which no client uses, is in the clear, on the loopback address.
"""

import base64
import datetime
import secrets
import socket
import ssl
import subprocess
import time
import uuid
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from keyfold.config import KafkaSecurity
from keyfold.embedded.kafka_jars import java, kafka_jars

SUPER_USER = "admin"


class Authority:
    """A certificate authority that lives as long as the test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name("Test CA")
        self.certificate = self._signed("Test CA", self.key, authority=True)
        self.file = home / "ca.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, user: str) -> tuple[Path, Path]:
        """Return the files of a certificate and of its key (PKCS #8, in the clear, 0600)."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, place = self.home / f"{user}.crt", self.home / f"{user}.key"
        certificate.write_bytes(self._signed(user, key).public_bytes(serialization.Encoding.PEM))
        place.touch(mode=0o600)
        place.write_bytes(_pem(key))
        return certificate, place

    def _signed(self, user: str, key: ec.EllipticCurvePrivateKey, *, authority: bool = False) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(user))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            names = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())


class SecuredKafka:
    """A running broker. `security(user)` is how a user connects by certificate, `scram(user)` how by password."""

    def __init__(self, home: Path, scram_users: tuple[str, ...] = ()) -> None:
        self.home = home
        home.mkdir(mode=0o700)
        self.authority = Authority(home)
        self._passwords = {user: secrets.token_urlsafe(18) for user in scram_users}
        tls, sasl, controller = _free_ports(3)
        self.bootstrap_servers, self.scram_servers = f"127.0.0.1:{tls}", f"127.0.0.1:{sasl}"
        settings = home / "server.properties"
        settings.touch(mode=0o600)
        settings.write_text(self._properties(tls, sasl, controller))
        program = (java(), "-cp", f"{kafka_jars(lambda _line: None)}/*", "-Xmx512m")
        self._format(program, settings)
        with (home / "broker.log").open("wb") as log:
            self._process = subprocess.Popen([*program, "kafka.Kafka", str(settings)], stdout=log, stderr=log)
        try:
            self._await(tls)
        except BaseException:
            self.stop()
            raise

    def security(self, user: str) -> KafkaSecurity:
        """Mutual TLS as this user."""
        certificate, key = self.authority.issue(user)
        return KafkaSecurity(
            security_protocol="SSL", ssl_ca_file=self.authority.file, ssl_certificate_file=certificate, ssl_key_file=key
        )

    def scram(self, user: str) -> KafkaSecurity:
        """SCRAM-SHA-512 over TLS as this user, who has no certificate."""
        password = self.home / f"{user}.password"
        password.touch(mode=0o600)
        password.write_text(self._passwords.get(user, "nobody told me") + "\n")
        return KafkaSecurity(
            security_protocol="SASL_SSL", ssl_ca_file=self.authority.file, sasl_username=user,
            sasl_password_file=password,
        )  # fmt: skip

    def stop(self) -> None:
        """End the broker's process."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def _properties(self, tls: int, sasl: int, controller: int) -> str:
        certificate, key = self.authority.issue("broker")
        both = self.home / "broker.pem"
        both.touch(mode=0o600)
        both.write_bytes(key.read_bytes() + certificate.read_bytes())
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"MTLS://127.0.0.1:{tls},SCRAM://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"MTLS://127.0.0.1:{tls},SCRAM://127.0.0.1:{sasl}",
            "listener.security.protocol.map": "MTLS:SSL,SCRAM:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "MTLS",
            "controller.listener.names": "CONTROLLER",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{SUPER_USER};User:broker;User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "false",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(both),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.file),
            "listener.name.mtls.ssl.client.auth": "required",
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.scram.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "log.dirs": str(self.home / "data"),
            "auto.create.topics.enable": "false",
            "transaction.max.timeout.ms": "30000",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
            "group.initial.rebalance.delay.ms": "0",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    def _format(self, program: tuple[str, ...], settings: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        users = [word for user, password in self._passwords.items()
                 for word in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]")]  # fmt: skip
        tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(settings), *users]
        done = subprocess.run([*program, *tool], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr[-2000:]

    def _await(self, port: int) -> None:
        """Wait until the listener answers a TLS client that has a certificate."""
        certificate, key = self.authority.issue("nobody")
        context = ssl.create_default_context(cafile=str(self.authority.file))
        context.load_cert_chain(certificate, key)
        deadline = time.monotonic() + 60
        while True:
            try:
                with (
                    socket.create_connection(("127.0.0.1", port), timeout=2) as plain,
                    context.wrap_socket(plain, server_hostname="127.0.0.1"),
                ):
                    return
            except OSError:
                late = self._process.poll() is not None or time.monotonic() > deadline
                assert not late, (self.home / "broker.log").read_text()[-3000:]
                time.sleep(0.2)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()
