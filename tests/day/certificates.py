"""An authority, and certificates of any length of life for the router."""

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stock.certificates import Certificate

DAY = datetime.timedelta(days=1)
PEM = serialization.Encoding.PEM


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


class Authority:
    """Signs certificates for every loopback name."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = _named("A day's authority")
        self.certificate = self._sign(name, self.key, DAY, x509.BasicConstraints(ca=True, path_length=0))
        self.path = folder / "ca.crt"
        self.path.write_bytes(self.certificate.public_bytes(PEM))
        self._made = 0

    def _sign(self, name, key, life: datetime.timedelta, constraints: x509.BasicConstraints, *extensions):
        issuer = name if constraints.ca else self.certificate.subject
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now() - DAY)
            .not_valid_after(now() + life)
            .add_extension(constraints, critical=True)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, life: datetime.timedelta = DAY) -> Certificate:
        """A new key and certificate, in a directory of their own."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName(
            [
                x509.DNSName("localhost"),
                x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                x509.IPAddress(ipaddress.ip_address("::1")),
            ]
        )
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        constraints = x509.BasicConstraints(ca=False, path_length=None)
        leaf = self._sign(_named("localhost"), key, life, constraints, names, usage)
        self._made += 1
        folder = self.folder / f"certificate-{self._made}"
        folder.mkdir()
        files = Certificate(folder / "tls.crt", folder / "tls.key")
        files.cert.write_bytes(leaf.public_bytes(PEM) + self.certificate.public_bytes(PEM))
        private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        files.key.write_bytes(key.private_bytes(PEM, *private))
        return files


class Mounted:
    """A certificate at paths that stay, exchanged in one step as Kubernetes does."""

    def __init__(self, folder: Path, certificate: Certificate):
        self.link = folder / "mounted"
        self.exchange(certificate)
        self.certificate = Certificate(self.link / "tls.crt", self.link / "tls.key")

    def exchange(self, certificate: Certificate) -> None:
        new = self.link.with_suffix(".new")
        new.symlink_to(certificate.cert.parent)
        os.replace(new, self.link)
