"""The authority, requests and certificates, and what `Credentials.load` refuses."""

from __future__ import annotations

import copy
import pickle
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedbank.errors import UsageError
from fedbank.party.certificates import (
    AUTHORITY_FILE,
    AUTHORITY_KEY_FILE,
    CERTIFICATE_FILE,
    KEY_FILE,
    REQUEST_FILE,
    Credentials,
    describe,
    fingerprint,
    make_authority,
    make_party,
    make_request,
    sign_request,
)

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture(scope="module")
def party_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds an authority and the folders of the parties "bank" and "regulator"."""
    place = tmp_path_factory.mktemp("keys")
    make_authority(place / "authority", "Test authority")
    for party in ("bank", "regulator"):
        make_party(place / "authority", place / party, party)
    return place


def shake_hands(server: Credentials, client: Credentials, tmp_path: Path) -> tuple[str | None, str | None]:
    """Run a strict mutual TLS handshake in memory; returns the version that each side sees."""
    sides = []
    for purpose, credentials in ((ssl.PROTOCOL_TLS_SERVER, server), (ssl.PROTOCOL_TLS_CLIENT, client)):
        context = ssl.SSLContext(purpose)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=credentials.authority.decode())
        chain = tmp_path / f"{credentials.party}.pem"
        chain.write_bytes(credentials.certificate + credentials.key)
        context.load_cert_chain(chain)
        sides.append(context)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        sides[1].wrap_bio(to_client, to_server, server_hostname=server.party),
        sides[0].wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(ends)
    for _ in range(6):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
    assert not waiting
    return ends[0].version(), ends[1].version()


def test_both_parties_shake_hands_under_the_strictest_checks(party_keys: Path, tmp_path: Path) -> None:
    bank, regulator = Credentials.load(party_keys / "bank"), Credentials.load(party_keys / "regulator")
    assert shake_hands(regulator, bank, tmp_path) == ("TLSv1.3", "TLSv1.3")


def test_a_party_certificate_says_what_it_is_for(party_keys: Path) -> None:
    certificate = x509.load_pem_x509_certificate((party_keys / "bank" / CERTIFICATE_FILE).read_bytes())
    extensions = certificate.extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert set(purposes) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert names.get_values_for_type(x509.DNSName) == ["bank"]


def test_describe(party_keys: Path) -> None:
    pem = (party_keys / "bank" / CERTIFICATE_FILE).read_bytes()
    facts = describe(pem)
    assert (facts.party, facts.issuer) == ("bank", "Test authority")
    assert facts.valid_until - facts.valid_from == timedelta(days=397)
    assert facts.fingerprint == fingerprint(pem)


def test_the_fingerprint_is_the_sha256_of_the_certificate(party_keys: Path) -> None:
    pem = (party_keys / "bank" / CERTIFICATE_FILE).read_bytes()
    certificate = x509.load_pem_x509_certificate(pem)
    groups = fingerprint(pem).split(" ")
    assert [len(group) for group in groups] == [4] * 16
    assert bytes.fromhex("".join(groups)) == certificate.fingerprint(hashes.SHA256())


def test_a_request_has_a_fingerprint_too(party_keys: Path) -> None:
    prints = {fingerprint((party_keys / party / REQUEST_FILE).read_bytes()) for party in ("bank", "regulator")}
    assert len(prints) == 2


def test_keys_are_for_their_owner_only(party_keys: Path) -> None:
    for key in (party_keys / "bank" / KEY_FILE, party_keys / "authority" / AUTHORITY_KEY_FILE):
        assert key.stat().st_mode & 0o777 == 0o600


def test_the_request_holds_no_private_key(party_keys: Path) -> None:
    assert b"PRIVATE" not in (party_keys / "bank" / REQUEST_FILE).read_bytes()


def test_a_key_is_never_overwritten(party_keys: Path) -> None:
    with pytest.raises(UsageError, match="never overwritten"):
        make_request(party_keys / "bank", "bank")
    with pytest.raises(UsageError, match="never overwritten"):
        make_authority(party_keys / "authority", "Another")
    assert Credentials.load(party_keys / "bank").party == "bank"


@pytest.mark.parametrize("party", ["", "Bank", "bank.north", "bank_1", "-bank", "bank-", "bänk", "b" * 64, "bank\n"])
def test_names_that_cannot_be_a_party(party: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot name a party"):
        make_request(tmp_path, party)
    assert not (tmp_path / KEY_FILE).exists()


def test_hosts_stand_in_the_certificate_beside_the_party(party_keys: Path, tmp_path: Path) -> None:
    request = make_request(tmp_path, "bank-north", ["bank.example.com", "10.0.0.7", "::1"])
    sign_request(party_keys / "authority", request, tmp_path / CERTIFICATE_FILE)
    certificate = x509.load_pem_x509_certificate((tmp_path / CERTIFICATE_FILE).read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["bank-north", "bank.example.com", "10.0.0.7", "::1"]


def test_no_host_can_pass_for_another_party(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="could be taken for a party's"):
        make_request(tmp_path, "bank", ["regulator"])


def request_of(
    folder: Path,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    names: list[x509.GeneralName],
    party: str = "bank",
) -> Path:
    """Write a request as some other program might."""
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, party)]))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / REQUEST_FILE
    path.write_bytes(request.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(
    ("names", "party", "complaint"),
    [
        ([x509.DNSName("bank"), x509.DNSName("regulator")], "bank", "could be taken for a party's"),
        ([x509.DNSName("bank"), x509.UniformResourceIdentifier("https://bank")], "bank", "neither a host nor"),
        ([x509.DNSName("bank")], "Bank", "cannot name a party"),
    ],
)
def test_the_authority_refuses_other_names(
    names: list[x509.GeneralName], party: str, complaint: str, party_keys: Path, tmp_path: Path
) -> None:
    request = request_of(tmp_path, ec.generate_private_key(ec.SECP256R1()), names, party)
    with pytest.raises(UsageError, match=complaint):
        sign_request(party_keys / "authority", request, tmp_path / CERTIFICATE_FILE)
    assert not (tmp_path / CERTIFICATE_FILE).exists()


def test_the_authority_refuses_other_keys(party_keys: Path, tmp_path: Path) -> None:
    request = request_of(tmp_path, rsa.generate_private_key(65537, 2048), [x509.DNSName("bank")])
    with pytest.raises(UsageError, match="not on P-256"):
        sign_request(party_keys / "authority", request, tmp_path / CERTIFICATE_FILE)


def test_the_authority_refuses_a_request_that_its_key_did_not_sign(party_keys: Path, tmp_path: Path) -> None:
    request = x509.load_pem_x509_csr((party_keys / "bank" / REQUEST_FILE).read_bytes())
    der = bytearray(request.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der))
    path = tmp_path / REQUEST_FILE
    path.write_bytes(forged.public_bytes(serialization.Encoding.PEM))
    with pytest.raises(UsageError, match="not signed with the key it names"):
        sign_request(party_keys / "authority", path, tmp_path / CERTIFICATE_FILE)


def test_a_party_certificate_ends_with_its_authority(tmp_path: Path) -> None:
    make_authority(tmp_path / "authority", "Short", valid_until=TOMORROW)
    make_party(tmp_path / "authority", tmp_path / "bank", "bank")
    ends = describe((tmp_path / "authority" / AUTHORITY_FILE).read_bytes()).valid_until
    assert describe((tmp_path / "bank" / CERTIFICATE_FILE).read_bytes()).valid_until == ends


def test_an_expired_authority_signs_nothing(tmp_path: Path) -> None:
    make_authority(tmp_path / "authority", "Old", valid_from=YESTERDAY - timedelta(days=9), valid_until=YESTERDAY)
    with pytest.raises(UsageError, match="the authority itself must not have expired"):
        make_party(tmp_path / "authority", tmp_path / "bank", "bank")


def test_impossible_wishes(party_keys: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1 day, found days=0"):
        sign_request(party_keys / "authority", party_keys / "bank" / REQUEST_FILE, tmp_path / "out", days=0)
    with pytest.raises(UsageError, match="1 to 64 characters, found 0"):
        make_authority(tmp_path, "")
    with pytest.raises(UsageError, match="cannot be read"):
        sign_request(party_keys / "authority", tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(UsageError, match="not a certificate in PEM"):
        describe(b"nothing")


def test_credentials_show_no_secret(party_keys: Path) -> None:
    credentials = Credentials.load(party_keys / "bank")
    assert repr(credentials) == "Credentials(party='bank')"
    for travel in (pickle.dumps, copy.copy):
        with pytest.raises(UsageError, match="do not travel"):
            travel(credentials)


def party_of(place: Path, **validity: datetime) -> Path:
    make_authority(place / "authority", "Test authority")
    return make_party(place / "authority", place / "bank", "bank", **validity)


@pytest.mark.parametrize("name", [KEY_FILE, CERTIFICATE_FILE, AUTHORITY_FILE])
def test_a_missing_or_broken_file_is_named(name: str, tmp_path: Path) -> None:
    folder = party_of(tmp_path)
    (folder / name).write_bytes(b"nothing")
    with pytest.raises(UsageError, match=rf"{name} is not an? "):
        Credentials.load(folder)
    (folder / name).unlink()
    with pytest.raises(UsageError, match=rf"{name} cannot be read"):
        Credentials.load(folder)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    folder = party_of(tmp_path)
    (folder / KEY_FILE).chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        Credentials.load(folder)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    folder = party_of(tmp_path)
    other = make_party(tmp_path / "authority", tmp_path / "other", "bank")
    (folder / CERTIFICATE_FILE).write_bytes((other / CERTIFICATE_FILE).read_bytes())
    with pytest.raises(UsageError, match="does not belong to"):
        Credentials.load(folder)


def test_a_certificate_of_another_authority_is_refused(tmp_path: Path, party_keys: Path) -> None:
    folder = party_of(tmp_path)
    (folder / AUTHORITY_FILE).write_bytes((party_keys / "bank" / AUTHORITY_FILE).read_bytes())
    with pytest.raises(UsageError, match=r"was not signed by ca\.crt"):
        Credentials.load(folder)


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    folder = party_of(tmp_path, valid_from=YESTERDAY - timedelta(days=1), valid_until=YESTERDAY)
    with pytest.raises(UsageError, match=f"expired on {YESTERDAY:%Y-%m-%d}"):
        Credentials.load(folder)


def test_a_certificate_of_the_future_is_refused(tmp_path: Path) -> None:
    folder = party_of(tmp_path, valid_from=TOMORROW)
    with pytest.raises(UsageError, match="check this machine's clock"):
        Credentials.load(folder)


def test_a_certificate_that_does_not_name_its_party_is_refused(tmp_path: Path) -> None:
    folder = party_of(tmp_path)
    authority_key = serialization.load_pem_private_key((tmp_path / "authority" / AUTHORITY_KEY_FILE).read_bytes(), None)
    ours = x509.load_pem_x509_certificate((folder / CERTIFICATE_FILE).read_bytes())
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    bare = (
        x509.CertificateBuilder(ours.issuer, ours.subject, ours.public_key(), 1)
        .not_valid_before(ours.not_valid_before_utc)
        .not_valid_after(ours.not_valid_after_utc)
        .sign(authority_key, hashes.SHA256())
    )
    (folder / CERTIFICATE_FILE).write_bytes(bare.public_bytes(serialization.Encoding.PEM))
    with pytest.raises(UsageError, match="not among its DNS names"):
        Credentials.load(folder)
