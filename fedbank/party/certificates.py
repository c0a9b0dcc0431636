"""A private certificate authority and the parties' certificates; no private key ever leaves its owner.

    whoever both trust   make_authority(folder, name)              ca.key stays, ca.crt goes to everybody
    each party           make_request(folder, party)               party.key stays, party.csr goes to the authority
    the authority        sign_request(authority, party.csr, out)   party.crt goes back to the party
    each party           puts party.crt and ca.crt beside party.key; Credentials.load(folder)

Before signing, both people read the `fingerprint` of the request to each other over a phone: a request that
was exchanged on the way is noticed there and nowhere else. Keys are on the curve P-256, signatures ECDSA with
SHA-256 (RFC 5480), certificates as RFC 5280 profiles them. The party's name stands as common name and as DNS
name; a further host must have a dot or be an address, so it can never pass for another party's name.
Tests: `tests/test_certificates.py`.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedbank.errors import UsageError

__all__ = [
    "AUTHORITY_FILE",
    "AUTHORITY_KEY_FILE",
    "CERTIFICATE_FILE",
    "KEY_FILE",
    "REQUEST_FILE",
    "CertificateFacts",
    "Credentials",
    "describe",
    "fingerprint",
    "make_authority",
    "make_party",
    "make_request",
    "sign_request",
]

KEY_FILE = "party.key"
REQUEST_FILE = "party.csr"
CERTIFICATE_FILE = "party.crt"
AUTHORITY_KEY_FILE = "ca.key"
AUTHORITY_FILE = "ca.crt"

PARTY_DAYS = 397
AUTHORITY_DAYS = 3653
CLOCK_SKEW = timedelta(hours=1)  # a new certificate must also be valid where the clock is a little slow
LONGEST_NAME = 63  # of one DNS label, RFC 1035

_PARTY_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_HOST_NAME = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")


@dataclass(frozen=True)
class CertificateFacts:
    """What a person wants to know of a certificate.

    Parameters
    ----------
    party : the name that the certificate speaks for
    issuer : the name of the authority that signed it
    valid_from, valid_until : UTC
    fingerprint : SHA-256, as `fingerprint` writes it
    """

    party: str
    issuer: str
    valid_from: datetime
    valid_until: datetime
    fingerprint: str


@dataclass(frozen=True)
class Credentials:
    """One party's key and certificates, in PEM. `repr` shows the party only, and it cannot be pickled.

    Parameters
    ----------
    party : this party's name
    key : the private key
    certificate : this party's certificate
    authority : the certificate of the authority that both parties trust
    """

    party: str
    key: bytes = field(repr=False)
    certificate: bytes = field(repr=False)
    authority: bytes = field(repr=False)

    def __reduce__(self) -> NoReturn:
        raise UsageError("Credentials do not travel between processes: load them from the folder in each one.")

    @classmethod
    def load(cls, folder: Path | str) -> Credentials:
        """Read and check a party's folder.

        Raises
        ------
        UsageError
            A file is missing or not PEM, others may read the key, the key does not fit the certificate, the
            certificate is not valid today, or the folder's authority did not sign it.
        """
        folder = Path(folder)
        _refuse_open_key(folder / KEY_FILE)
        key = _read(folder / KEY_FILE, "make a key and a request with make_request")
        certificate = _read(folder / CERTIFICATE_FILE, "have the authority sign party.csr and put its answer here")
        authority = _read(folder / AUTHORITY_FILE, "put the authority's certificate here")
        ours = _certificate(certificate, folder / CERTIFICATE_FILE)
        if _private_key(key, folder / KEY_FILE).public_key() != ours.public_key():
            raise UsageError(
                f"{folder / KEY_FILE} does not belong to {CERTIFICATE_FILE} beside it: "
                f"have the {REQUEST_FILE} of this key signed, or bring back the key that fits."
            )
        _refuse_foreign(ours, _certificate(authority, folder / AUTHORITY_FILE), folder)
        _refuse_outdated(ours, folder / CERTIFICATE_FILE)
        return cls(_party_of(ours, folder / CERTIFICATE_FILE), key, certificate, authority)


def make_authority(
    folder: Path | str, name: str, *, valid_from: datetime | None = None, valid_until: datetime | None = None
) -> Path:
    """Make a certificate authority: `ca.key`, which stays, and `ca.crt`, which every party gets.

    Parameters
    ----------
    folder : where the two files go; made when missing
    name : what people read as the issuer, 1 to 64 characters
    valid_from, valid_until : with time zone; by default from now for ten years

    Returns
    -------
    Path
        The authority's certificate.

    Raises
    ------
    UsageError
        The folder already holds a key, or the name is empty or too long.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp())
    >>> make_authority(place / "authority", "Example authority").name
    'ca.crt'
    >>> request = make_request(place / "bank", "bank")
    >>> sign_request(place / "authority", request, place / "bank" / CERTIFICATE_FILE).party
    'bank'
    """
    if not 1 <= len(name) <= 64:
        raise UsageError(f"The authority's name must have 1 to 64 characters, found {len(name)}.")
    folder = Path(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start, end = _validity(valid_from, valid_until, AUTHORITY_DAYS)
    certificate = (
        _builder(subject, subject, key.public_key(), start, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_key(folder / AUTHORITY_KEY_FILE, key)
    return _write(folder / AUTHORITY_FILE, certificate.public_bytes(serialization.Encoding.PEM))


def make_request(folder: Path | str, party: str, hosts: Sequence[str] = ()) -> Path:
    """Make a party's key, which stays, and its signing request, which goes to the authority.

    Parameters
    ----------
    folder : the party's own folder; made when missing
    party : the party's name: lower-case letters, digits and hyphens, at most 63 of them
    hosts : full host names or addresses that the certificate names besides; fedbank itself needs none

    Returns
    -------
    Path
        The signing request.

    Raises
    ------
    UsageError
        The folder already holds a key, or a name is not allowed.
    """
    folder = Path(folder)
    names = _alternative_names(party, hosts)
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, party)]))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_key(folder / KEY_FILE, key)
    return _write(folder / REQUEST_FILE, request.public_bytes(serialization.Encoding.PEM))


def sign_request(
    authority_folder: Path | str,
    request_path: Path | str,
    out_path: Path | str,
    *,
    days: int = PARTY_DAYS,
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
) -> CertificateFacts:
    """Sign a party's request after its fingerprint was compared with the party.

    Parameters
    ----------
    authority_folder : holds `ca.key` and `ca.crt`
    request_path : the party's `party.csr`
    out_path : where the certificate goes
    days : how long the certificate is valid, at least 1; never longer than the authority's own
    valid_from, valid_until : with time zone; by default from now for `days`

    Returns
    -------
    CertificateFacts
        What was signed.

    Raises
    ------
    UsageError
        The request is not one that `make_request` writes, or the authority's files are missing, readable by
        others or expired.
    """
    if days < 1:
        raise UsageError(f"A certificate must be valid for at least 1 day, found days={days}.")
    authority_folder = Path(authority_folder)
    authority, key = _authority(authority_folder)
    request = _request(_read(Path(request_path), "ask the party for its party.csr"), Path(request_path))
    party, public_key = _common_name(request.subject), _public_key(request, Path(request_path))
    start, end = _validity(valid_from, valid_until, days)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, party)])
    certificate = (
        _builder(subject, authority.subject, public_key, start, min(end, authority.not_valid_after_utc))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(certificates=False), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(_alternative_names(party, _hosts(request, party)), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    _write(Path(out_path), pem)
    return describe(pem)


def make_party(
    authority_folder: Path | str,
    folder: Path | str,
    party: str,
    *,
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
) -> Path:
    """Do all of a party's steps on one machine, for a demonstration or a test; returns the party's folder.

    Two organisations do not use this: it has the authority and the party's key in one place.
    """
    folder = Path(folder)
    request = make_request(folder, party)
    sign_request(authority_folder, request, folder / CERTIFICATE_FILE, valid_from=valid_from, valid_until=valid_until)
    _write(folder / AUTHORITY_FILE, (Path(authority_folder) / AUTHORITY_FILE).read_bytes())
    return folder


def fingerprint(pem: bytes) -> str:
    """Return the SHA-256 of a certificate or a signing request in sixteen groups of four hexadecimal digits.

    Raises
    ------
    UsageError
        The bytes are neither.
    """
    kind = b"-----BEGIN CERTIFICATE REQUEST-----"
    parsed = _request(pem, None) if kind in pem else _certificate(pem, None)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(parsed.public_bytes(serialization.Encoding.DER))
    text = digest.finalize().hex().upper()
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def describe(pem: bytes) -> CertificateFacts:
    """Return what a certificate says: party, issuer, validity, fingerprint.

    Raises
    ------
    UsageError
        The bytes are not a certificate.
    """
    certificate = _certificate(pem, None)
    return CertificateFacts(
        party=_common_name(certificate.subject),
        issuer=_common_name(certificate.issuer),
        valid_from=certificate.not_valid_before_utc,
        valid_until=certificate.not_valid_after_utc,
        fingerprint=fingerprint(pem),
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    if start >= end:
        raise UsageError(
            f"A certificate cannot be valid from {start:%Y-%m-%d} until {end:%Y-%m-%d}: "
            "the end must come after the start, and the authority itself must not have expired."
        )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, certificates: bool) -> x509.KeyUsage:
    """Sign certificates only (an authority), or sign handshakes only (a party)."""
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _validity(start: datetime | None, end: datetime | None, days: int) -> tuple[datetime, datetime]:
    start = start or datetime.now(UTC) - CLOCK_SKEW
    return start, end or start + timedelta(days=days)


def _checked_party(party: str) -> str:
    if len(party) > LONGEST_NAME or not _PARTY_NAME.fullmatch(party):
        raise UsageError(
            f"{party[:LONGEST_NAME]!r} cannot name a party: use lower-case letters, digits and hyphens "
            f"(a hyphen neither first nor last), at most {LONGEST_NAME} characters, for example 'bank-north'."
        )
    return party


def _alternative_names(party: str, hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName(_checked_party(party)), *map(_host, hosts)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not _HOST_NAME.fullmatch(host):
        raise UsageError(
            f"{host!r} cannot stand in a certificate: give a full host name in lower case with a dot, "
            "or an address; a name without a dot could be taken for a party's."
        )
    return x509.DNSName(host)


def _hosts(request: x509.CertificateSigningRequest, party: str) -> list[str]:
    """Return what a request names besides the party; what is neither host nor address is refused."""
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    if any(not isinstance(name, x509.DNSName | x509.IPAddress) for name in names):
        raise UsageError(f"The request of {party!r} names something that is neither a host nor an address: refuse it.")
    return [str(name.value) for name in names if name.value != party]


def _authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    _refuse_open_key(folder / AUTHORITY_KEY_FILE)
    key = _read(folder / AUTHORITY_KEY_FILE, "name the folder that make_authority wrote")
    certificate = _read(folder / AUTHORITY_FILE, "name the folder that make_authority wrote")
    return _certificate(certificate, folder / AUTHORITY_FILE), _private_key(key, folder / AUTHORITY_KEY_FILE)


def _public_key(request: x509.CertificateSigningRequest, path: Path | None) -> ec.EllipticCurvePublicKey:
    key = request.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"{_named(path)} holds a key that is not on P-256: let the party use make_request.")
    return key


def _request(pem: bytes, path: Path | None) -> x509.CertificateSigningRequest:
    try:
        request = x509.load_pem_x509_csr(pem)
    except ValueError:
        raise UsageError(f"{_named(path)} is not a signing request in PEM: ask the party for its party.csr.") from None
    if not request.is_signature_valid:
        raise UsageError(f"{_named(path)} was not signed with the key it names: ask the party for a new request.")
    return request


def _certificate(pem: bytes, path: Path | None) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise UsageError(f"{_named(path)} is not a certificate in PEM: copy the file anew from its maker.") from None


def _private_key(pem: bytes, path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise UsageError(f"{path} is not an unencrypted private key in PEM: bring back the file as it was.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UsageError(f"{path} holds a key that is not on an elliptic curve: make a new one with make_request.")
    return key


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(found) != 1:
        raise UsageError(f"A certificate or request must have one common name, found {len(found)}.")
    return str(found[0].value)


def _party_of(certificate: x509.Certificate, path: Path) -> str:
    party = _checked_party(_common_name(certificate.subject))
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    if party not in names.get_values_for_type(x509.DNSName):
        raise UsageError(
            f"{path} is for {party!r}, which is not among its DNS names: have it signed with sign_request."
        )
    return party


def _refuse_foreign(ours: x509.Certificate, authority: x509.Certificate, folder: Path) -> None:
    try:
        ours.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise UsageError(
            f"{folder / CERTIFICATE_FILE} was not signed by {AUTHORITY_FILE} beside it: "
            "take both files from the same authority."
        ) from None


def _refuse_outdated(certificate: x509.Certificate, path: Path) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if datetime.now(UTC) > end:
        raise UsageError(f"{path} expired on {end:%Y-%m-%d}: have the authority sign {REQUEST_FILE} again.")
    if datetime.now(UTC) < start:
        raise UsageError(f"{path} is valid from {start:%Y-%m-%d %H:%M} UTC only: check this machine's clock.")


def _refuse_open_key(path: Path) -> None:
    if os.name == "posix" and path.exists() and path.stat().st_mode & 0o077:
        raise UsageError(f"Others on this machine may read {path}: run `chmod 600 {path}`.")


def _read(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): {remedy}.") from None


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a new key that nobody else may read, at no moment; never over an old one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(
            f"{path} holds a key already and is never overwritten: choose another folder, "
            "or move the old key away once no certificate of it is in use."
        ) from None
    with os.fdopen(handle, "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def _named(path: Path | None) -> str:
    return "The text given" if path is None else str(path)
