"""The control plane's keys and certificates: an authority, a server certificate for loopback, clients."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sandbox.state import write_private

# A sandbox lives for hours; the margin before is for a clock that is set back meanwhile.
_VALID = datetime.timedelta(days=365)
_BACKDATED = datetime.timedelta(days=1)
_SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


@dataclass(frozen=True)
class KeyPair:
    """Paths of a certificate and its private key, both PEM."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority that writes what it signs into `directory` (key files 0600, P-256 keys)."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("gpu-slicing-sandbox")
        self._certificate = self._sign(self._key.public_key(), self._name, _ca_extensions())
        self.certificate = directory / "ca.crt"
        write_private(self.certificate, self._certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, name: str) -> KeyPair:
        """For servers on loopback; etcd's proxy of itself also shows it as a client."""
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        alternatives = [
            *map(x509.DNSName, _SERVER_NAMES),
            x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")),
            # The first address of the service network, which clients in pods would use.
            x509.IPAddress(ipaddress.IPv4Address("10.96.0.1")),
        ]
        subject = _name(name)
        return self._issue(name, subject, [_usage(usages), x509.SubjectAlternativeName(alternatives)])

    def client(self, name: str, user: str, group: str | None = None) -> KeyPair:
        """Kubernetes takes the user from the common name and the group from the organisation."""
        return self._issue(name, _name(user, group), [_usage([ExtendedKeyUsageOID.CLIENT_AUTH])])

    def signing_key(self, name: str) -> KeyPair:
        """A bare key pair (for service account tokens); its `certificate` is the public key."""
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return self._write(name, ".pub", public, key)

    def _issue(self, name: str, subject: x509.Name, extensions: list[x509.ExtensionType]) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf: list[tuple[x509.ExtensionType, bool]] = [(_basic(ca=False), True)]
        certificate = self._sign(key.public_key(), subject, [*leaf, *((each, False) for each in extensions)])
        return self._write(name, ".crt", certificate.public_bytes(serialization.Encoding.PEM), key)

    def _sign(
        self,
        public_key: ec.EllipticCurvePublicKey,
        subject: x509.Name,
        extensions: list[tuple[x509.ExtensionType, bool]],
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + _VALID)
        )
        # Python 3.13 verifies strictly (RFC 5280): both key identifiers must be there.
        subject_key = x509.SubjectKeyIdentifier.from_public_key(public_key)
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        for extension, critical in [*extensions, (subject_key, False), (authority_key, False)]:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, suffix: str, public: bytes, key: ec.EllipticCurvePrivateKey) -> KeyPair:
        pair = KeyPair(self._directory / f"{name}{suffix}", self._directory / f"{name}.key")
        write_private(pair.certificate, public)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        write_private(pair.key, private)
        return pair


def _name(user: str, group: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    if group:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(attributes)


def _basic(*, ca: bool) -> x509.BasicConstraints:
    return x509.BasicConstraints(ca=ca, path_length=0 if ca else None)


def _usage(usages: list[x509.ObjectIdentifier]) -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage(usages)


def _ca_extensions() -> list[tuple[x509.ExtensionType, bool]]:
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return [(_basic(ca=True), True), (usage, True)]
