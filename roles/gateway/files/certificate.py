# SPDX-License-Identifier: MIT
"""Check a certificate and its key before a host gets them.

Run on the controller by tasks/preflight.yml. What to look at comes as JSON over standard input (a key in an argument
would be seen by everybody), what was found goes out as JSON. Each problem is one sentence with what to do.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import sys
from collections.abc import Iterator
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key


def main() -> int:
    """Print what was found as one JSON object."""
    asked = json.load(sys.stdin)
    problems, names = look(asked["certificate"], asked["key"], asked["names"], dt.datetime.now(dt.UTC))
    print(json.dumps({"problems": problems, "names": names}))
    return 0


def look(certificate: str, key: str, wanted: list[str], now: dt.datetime) -> tuple[list[str], list[str]]:
    """Return what is wrong with a pair, and the names it is for."""
    try:
        chain = x509.load_pem_x509_certificates(certificate.encode())
    except ValueError:
        return ["gateway_certificate: it is no certificate in PEM form (-----BEGIN CERTIFICATE-----)"], []
    leaf = chain[0]
    names = names_of(leaf)
    problems = [*key_problems(leaf, key), *date_problems(leaf, now)]
    if not names:
        problems.append(
            "gateway_certificate: it names no host (subjectAltName is missing), so no client would accept it; have it "
            "made with the names that clients use"
        )
    missing = [name for name in wanted if not any(covers(one, name) for one in names)]
    if missing and names:
        problems.append(
            f"gateway_certificate: it is for {', '.join(names)}, not for {', '.join(missing)} of gateway_server_names; "
            "take a certificate with those names, or take the names out (empty: those of the certificate)"
        )
    return problems, names


def names_of(leaf: x509.Certificate) -> list[str]:
    """Return the names and addresses a certificate is for."""
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = alternatives.get_values_for_type(x509.IPAddress)
    return [name.lower() for name in alternatives.get_values_for_type(x509.DNSName)] + [str(one) for one in addresses]


def key_problems(leaf: x509.Certificate, key: str) -> Iterator[str]:
    """Yield what is wrong with the key."""
    try:
        private: Any = load_pem_private_key(key.encode(), password=None)
    except TypeError:
        yield (
            "gateway_certificate_key: it has a passphrase, which nginx could not ask for; take it away "
            "(openssl pkey -in <key> -out <new>) and encrypt the file with ansible-vault instead"
        )
        return
    except ValueError:
        yield "gateway_certificate_key: it is no private key in PEM form (-----BEGIN PRIVATE KEY-----)"
        return

    def in_bytes(public: Any) -> bytes:
        raw: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return raw

    if in_bytes(private.public_key()) != in_bytes(leaf.public_key()):
        yield (
            "gateway_certificate_key: it does not belong to the first certificate in gateway_certificate; give the key "
            "that the certificate was asked for with, and put the host's certificate before those of its issuers"
        )


def date_problems(leaf: x509.Certificate, now: dt.datetime) -> Iterator[str]:
    """Yield when it is not valid today."""
    if now >= leaf.not_valid_after_utc:
        yield f"gateway_certificate: it expired on {leaf.not_valid_after_utc:%Y-%m-%d}; renew it"
    elif now < leaf.not_valid_before_utc:
        yield (
            f"gateway_certificate: it is valid from {leaf.not_valid_before_utc:%Y-%m-%d} on only; is the clock of this "
            "machine right?"
        )


def covers(pattern: str, name: str) -> bool:
    """Return whether a name in a certificate covers a name; a star stands for one label."""
    try:
        return ipaddress.ip_address(pattern) == ipaddress.ip_address(name)
    except ValueError:
        pass
    if pattern == name:
        return True
    return pattern.startswith("*.") and "." in name and name.partition(".")[2] == pattern[2:]


if __name__ == "__main__":
    sys.exit(main())
