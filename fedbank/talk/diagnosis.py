"""Why a line cannot be had: gRPC's own errors say little, so the way is tried step by step with plain sockets and TLS.

`diagnose` gives one sentence that names the peer, its address and the remedy. Tests: `tests/test_grpc_link.py`.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from fedbank.errors import FedbankError, PeerError, PeerGone, UsageError

__all__ = ["Finding", "Identity", "diagnose", "examine", "split_address", "why_not_bound"]

PROBE_TIMEOUT = 5.0


class Identity(Protocol):
    """What a side shows and trusts, in PEM; `fedbank.party.certificates.Credentials` is one."""

    @property
    def party(self) -> str: ...
    @property
    def key(self) -> bytes: ...
    @property
    def certificate(self) -> bytes: ...
    @property
    def authority(self) -> bytes: ...


def diagnose(address: str, credentials: Identity, peer_name: str) -> str | None:
    """Try the way to a peer step by step: name, port, TLS, both certificates; return what is wrong, or None.

    Parameters
    ----------
    address : "host:port"
    credentials : this side's key and certificates
    peer_name : the party that should answer there

    Raises
    ------
    UsageError
        The address is not one.
    """
    finding = examine(address, credentials, peer_name)
    return finding.sentence if finding else None


@dataclass(frozen=True)
class Finding:
    """Why no line could be opened; `passing` reasons may be gone at the next attempt."""

    kind: type[FedbankError]
    sentence: str
    passing: bool = False


def examine(address: str, credentials: Identity, peer_name: str) -> Finding | None:
    host, port = split_address(address)
    there = f"{peer_name} at {address}"
    try:
        plain = socket.create_connection((host, port), PROBE_TIMEOUT)
    except (socket.gaierror, UnicodeError):
        sentence = f"The host of {there} is not known to this machine: check the address in the configuration."
        return Finding(PeerGone, sentence, passing=True)
    except ConnectionRefusedError:
        sentence = f"Nobody listens for {there}: start {peer_name}'s side, and compare the port on both sides."
        return Finding(PeerGone, sentence, passing=True)
    except OSError:
        sentence = f"The machine of {there} does not answer: check that it is up and that a firewall lets this side in."
        return Finding(PeerGone, sentence, passing=True)
    with plain:
        return _examine_tls(plain, credentials, peer_name, there)


def _examine_tls(plain: socket.socket, credentials: Identity, peer_name: str, there: str) -> Finding | None:
    try:
        with _probe_context(credentials).wrap_socket(plain) as line:
            names = _dns_names(line.getpeercert())
            if peer_name not in names:
                return Finding(
                    PeerError,
                    f"At {there} answers a party whose certificate names {', '.join(map(repr, names)) or 'nobody'}, "
                    f"not {peer_name!r}: check the peer's name and address in the configuration.",
                )
            if line.selected_alpn_protocol() != "h2":
                return _not_fedbank(there)
            # In TLS 1.3 the listener judges our certificate after the handshake; gRPC then just hangs up.
            return None if line.recv(1) else _our_fault(credentials, there)
    except OSError as error:
        return _handshake_failed(error, credentials, there)


def _handshake_failed(error: OSError, credentials: Identity, there: str) -> Finding:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Finding(PeerError, f"The certificate of {there} {_their_fault(error)}")
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError):
        return _hung_up(there)
    alert = error.reason or ""
    if "ALERT" in alert and ("CERTIFICATE" in alert or "UNKNOWN_CA" in alert):
        return _our_fault(credentials, there)
    return _not_fedbank(there)


def _dns_names(certificate: Any) -> list[str]:
    return [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]


def _not_fedbank(there: str) -> Finding:
    return Finding(
        PeerError,
        f"What listens for {there} does not speak fedbank's language (gRPC over TLS 1.3): compare the port on both "
        "sides, and let no proxy or load balancer between end the TLS.",
    )


def _hung_up(there: str) -> Finding:
    sentence = (
        f"What listens for {there} hangs up at once: start that side if a proxy or a tunnel answers for it, "
        "and compare the port on both sides."
    )
    return Finding(PeerGone, sentence, passing=True)


def _their_fault(error: ssl.SSLCertVerificationError) -> str:
    match error.verify_code:
        case 10:
            return "has expired: let that side have its request signed again."
        case 9:
            return "is not valid yet: compare the clocks of both machines."
        case 18 | 19 | 20 | 21:
            return (
                "was signed by an authority that this side does not know: both sides need the same ca.crt; "
                "compare its fingerprint over the phone."
            )
    return f"does not hold ({error.verify_message}): let that side make a new request and have it signed."


def _our_fault(credentials: Identity, there: str) -> Finding:
    """Say why the listener refused this side's certificate, as far as this side can see it."""
    ours = x509.load_pem_x509_certificate(credentials.certificate)
    now = datetime.now(UTC)
    if now > ours.not_valid_after_utc:
        fault = "it has expired. Have the request signed again."
    elif now < ours.not_valid_before_utc:
        fault = "it is not valid yet. Compare the clocks of both machines."
    elif not _signed(ours, x509.load_pem_x509_certificate(credentials.authority)):
        fault = "another authority than the one in ca.crt signed it. Both sides need certificates of the same one."
    else:
        fault = "the reason stands on no side. Compare the fingerprints of ca.crt and the clocks of both machines."
    return Finding(UsageError, f"{there} does not accept this side's certificate: {fault}")


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _probe_context(credentials: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the name is compared by the caller, who can then say which one was found
    context.load_verify_locations(cadata=credentials.authority.decode())
    context.set_alpn_protocols(["h2"])
    with tempfile.TemporaryDirectory() as folder:  # ssl reads files only: let the key touch the disk encrypted
        password = os.urandom(32).hex().encode()
        key = serialization.load_pem_private_key(credentials.key, None).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password),
        )
        chain = Path(folder) / "chain.pem"
        chain.write_bytes(credentials.certificate + b"\n" + key)
        context.load_cert_chain(chain, password=password)
    return context


def why_not_bound(address: str) -> str | None:
    """Return why this side cannot listen at an address, or None. Binds and does not listen, so nobody is let in."""
    host, port = split_address(address)
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as place:
            place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            place.bind((host, port))
    except (socket.gaierror, UnicodeError):
        return "the host is not known; give an address of this machine, or 0.0.0.0 for all."
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"port {port} is in use; end the program that holds it, or choose another port."
        return f"{error.strerror}; choose an address of this machine and a port above 1023."
    return None


def split_address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{address!r} is not an address: write host:port, for example 'bank.example.com:7000'.")
    return host.strip("[]"), int(port)
