# SPDX-License-Identifier: MIT
"""The role `gateway`: what it renders is accepted by its readers, publishes the API's routes and nothing else, and what
is wrong with names, networks, ports or a certificate is said before anything is changed.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import ipaddress
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from fieldcam.api.app import create_app
from fieldcam.core.config import Config
from tests.ansible.conftest import CHECKOUT, Run, play, render_role
from tests.ansible.conftest import preflight as role_preflight
from tests.requirements import require_commands, require_root

ROLE = CHECKOUT / "roles" / "gateway"
NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
FILES = [
    "etc/nginx/nginx.conf",
    "etc/systemd/system/nginx.service.d/fieldcam.conf",
    "etc/systemd/system/fieldcam-firewall.service",
    "etc/systemd/system/fieldcam-certificate.service",
    "etc/systemd/system/fieldcam-certificate.timer",
    "etc/fieldcam/gateway/firewall.nft",
    "etc/fieldcam/gateway/names",
    "usr/local/sbin/fieldcam-certificate",
]
FACTS = {"distribution": "Debian", "distribution_major_version": "13", "service_mgr": "systemd"}
FOUND = {
    "__gateway_nginx_version": "1.26.3",
    "__gateway_pair": {"problems": [], "names": []},
    "__gateway_found": {
        "problems": [], "names": ["cam-1", "cam-1.local", "192.0.2.11", "2001:db8::1"], "ssh_ports": [22], "ipv6": True
    },
}  # fmt: skip


def program(name: str) -> ModuleType:
    """Import one of the programs that the role sends to a machine."""
    spec = importlib.util.spec_from_file_location(f"gateway_{name}", ROLE / "files" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


preflight, certificate, verify = program("preflight"), program("certificate"), program("verify")


def render(scratch: Path, **inputs: Any) -> Path:
    names = {file: Path(file).name for file in FILES}
    return render_role(ROLE, names, scratch, mode=0o755, variables=FOUND, **inputs)


def look(scratch: Path, **inputs: Any) -> Run:
    """Run the role's preflight here, on what seems to be a Debian with systemd."""
    return play(ROLE, [role_preflight(ROLE)], scratch, variables={"ansible_facts": FACTS}, **inputs)


def text(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the role renders with its defaults alone."""
    return render(tmp_path_factory.mktemp("gateway"))


@pytest.fixture(scope="module")
def open_to_few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What it renders for an old nginx on a machine without IPv6, with port 80 and few networks."""
    return render(
        tmp_path_factory.mktemp("gateway"),
        __gateway_nginx_version="1.22.1",
        __gateway_found={"problems": [], "names": ["cam-1"], "ssh_ports": [22, 2222], "ipv6": False},
        gateway_redirect_enabled=True,
        gateway_hsts_seconds=0,
        gateway_access_log_enabled=False,
        gateway_server_names=["cam.example.org", "*.lab.example.org"],
        gateway_admin_cidrs=["192.0.2.0/24"],
        gateway_client_cidrs=["198.51.100.0/24", "203.0.113.7/32", "2001:db8::/32"],
        gateway_other_listeners=["tcp/9100", "udp/5353"],
    )


def locations(config: str) -> list[re.Pattern[str]]:
    """Return the routes that are passed on to the API, as patterns of whole paths."""
    found = []
    for kind, path, body in re.findall(r"location (=|~) (\S+) \{(.*?)\n        \}", config, re.DOTALL):
        if "proxy_pass" in body:
            found.append(re.compile(f"^{re.escape(path)}$" if kind == "=" else path))
    return found


def is_published(config: str, path: str) -> bool:
    return any(pattern.search(path) for pattern in locations(config))


class TestNginx:
    def test_every_location_is_anchored_at_both_ends(self, rendered: Path) -> None:
        found = re.findall(r"location (\S+) (\S+)? ?\{", text(rendered, "nginx.conf"))

        assert {kind for kind, _ in found} <= {"=", "~", "@problem", "/"}
        assert [path for kind, path in found if kind == "~" and not (path.startswith("^") and path.endswith("$"))] == []
        # What is matched is what is asked for: the path without escapes.
        assert set(re.findall(r"proxy_pass (\S+);", text(rendered, "nginx.conf"))) == {
            "http://fieldcam_api$uri$is_args$args"
        }

    def test_every_route_of_the_api_that_takes_a_token_is_published_and_no_other(self, rendered: Path) -> None:
        config = text(rendered, "nginx.conf")
        rules = [rule.rule for rule in create_app(Config()).url_map.iter_rules()]
        paths = {rule: re.sub(r"<[^>]+>", "x-1.jpg", rule) for rule in rules}

        outside = {rule for rule, path in paths.items() if not is_published(config, path)}

        assert [rule for rule in outside if rule.startswith(("/api/", "/ws/"))] == []
        assert outside >= {"/capture", "/settings", "/health", "/video/feed", "/docs", "/openapi.json"}
        assert all(is_published(config, path) for path in ("/ws/capture", "/ws/status", "/ws/frames"))

    @pytest.mark.parametrize(
        "path",
        ["/", "/api", "/api/v1", "/api/v1/", "/api/v1/internal", "/api/v1/images/", "/api/v1/images/a b",
         "/api/v1/images/%2e", "/api/v1/images\n", "/api/v1/imagesx", "/ws", "/ws/control", "/ws/frames/x",
         "/metrics", "/api/v1/images/\u00e9", "/api/docs/assets/a/b", "/capture", "/video/feed"],
    )  # fmt: skip
    def test_nothing_else_reaches_the_api(self, rendered: Path, path: str) -> None:
        # PCRE's $ takes a newline at the end, too; a path with one is refused by the last class of characters.
        assert not any(pattern.fullmatch(path) for pattern in locations(text(rendered, "nginx.conf")))

    def test_what_the_security_notes_ask_for_is_there(self, rendered: Path) -> None:
        config = text(rendered, "nginx.conf")

        for line in (
            "ssl_protocols TLSv1.2 TLSv1.3;", "server_tokens off;", "client_header_timeout 10s;",
            "client_body_timeout 10s;", "send_timeout 10s;", "client_max_body_size 64k;", "http2 on;",
            "underscores_in_headers off;", "proxy_request_buffering on;", "server unix:/run/fieldcam/api/gateway.sock;",
            "rate=5r/m;", "limit_conn fieldcam_clients 20;", "limit_conn fieldcam_streams 4;",
            "proxy_set_header X-Forwarded-For $remote_addr;",
            'proxy_set_header Script-Name "";',
        ):  # fmt: skip
            assert line in config, line
        log_format = re.search(r"log_format .*", config)
        assert log_format is not None
        assert "args" not in log_format[0]
        assert "$request " not in log_format[0]
        assert re.findall(r"^\s*include (.*);", config, re.MULTILINE) == ["/etc/nginx/mime.types"]

    def test_streams_are_not_held_back_and_everything_else_is(self, rendered: Path) -> None:
        config = text(rendered, "nginx.conf")
        blocks = re.findall(r"location (?:=|~) (\S+) \{(.*?)\n        \}", config, re.DOTALL)

        unbuffered = {path for path, body in blocks if "proxy_buffering off" in body}

        assert unbuffered == {
            "/ws/frames",
            "^/ws/(?:capture|status)$",
            next(path for path, _ in blocks if path.endswith("/stream$")),
        }
        assert "proxy_buffering off" not in config.partition("server {")[0]

    def test_an_unknown_host_is_refused_and_known_ones_are_names_in_brackets_where_they_need_them(
        self, rendered: Path, open_to_few: Path
    ) -> None:
        for config in (text(rendered, "nginx.conf"), text(open_to_few, "nginx.conf")):
            default = re.search(r"default_server;\n\s+server_name _;(.*?)\n    \}\n", config, re.DOTALL)
            assert default is not None
            assert "return 421;" in default[1]
            assert "proxy_pass" not in default[1]

        assert "server_name cam-1 cam-1.local 192.0.2.11 [2001:db8::1];" in text(rendered, "nginx.conf")
        assert "server_name cam.example.org *.lab.example.org;" in text(open_to_few, "nginx.conf")

    def test_it_listens_on_443_alone_unless_asked_for_80(self, rendered: Path, open_to_few: Path) -> None:
        def listens(folder: Path) -> set[str]:
            return set(re.findall(r"listen ([^ ;]+)", text(folder, "nginx.conf")))

        assert listens(rendered) == {"443", "[::]:443"}
        assert listens(open_to_few) == {"443", "80"}
        assert "listen 443 ssl http2;" in text(open_to_few, "nginx.conf")
        assert "http2 on;" not in text(open_to_few, "nginx.conf")

    @pytest.mark.parametrize("which", ["rendered", "open_to_few"])
    def test_nginx_accepts_it(self, which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        require_root()
        require_commands("nginx", "openssl")
        config = text(request.getfixturevalue(which), "nginx.conf")
        make_certificate(tmp_path, names="DNS:cam-1\n")
        config = config.replace("/etc/fieldcam/gateway", str(tmp_path)).replace("/run/nginx.pid", f"{tmp_path}/pid")
        (tmp_path / "mime.types").write_text("types { text/html html; }\n", encoding="utf-8")
        config = config.replace("/etc/nginx/mime.types", f"{tmp_path}/mime.types")
        version = subprocess.run(["nginx", "-v"], check=True, capture_output=True, text=True).stderr
        if (int(version.split(".")[1]) < 25) != ("http2 on" not in config):
            pytest.skip(f"the other way to switch HTTP/2 on is for another nginx than {version.strip()}")
        (tmp_path / "nginx.conf").write_text(config, encoding="utf-8")

        done = subprocess.run(
            ["nginx", "-t", "-q", "-e", "stderr", "-c", f"{tmp_path}/nginx.conf"],
            check=False, capture_output=True, text=True,
        )  # fmt: skip

        # Folders for bodies are made by Debian's package.
        assert [line for line in done.stderr.splitlines() if "[emerg]" in line and "/var/lib/nginx" not in line] == []


class TestFirewall:
    def test_everything_is_dropped_but_what_is_named(self, open_to_few: Path) -> None:
        rules = text(open_to_few, "firewall.nft")

        assert "policy drop" in rules
        accepted = re.findall(r"^\s+(.*) (tcp|udp) dport \{ ([0-9, ]+) \} accept$", rules, re.MULTILINE)
        assert accepted == [
            ("ip saddr { 192.0.2.0/24 }", "tcp", "22, 2222"),
            ("ip saddr { 198.51.100.0/24, 203.0.113.7/32 }", "tcp", "443, 80"),
            ("ip6 saddr { 2001:db8::/32 }", "tcp", "443, 80"),
            ("ip saddr { 192.0.2.0/24 }", "tcp", "9100"),
            ("ip saddr { 192.0.2.0/24 }", "udp", "5353"),
        ]

    def test_it_owns_one_table_and_touches_no_other(self, rendered: Path) -> None:
        rules = text(rendered, "firewall.nft")

        assert "flush" not in re.sub(r"#.*", "", rules)
        assert set(re.findall(r"table \S+ \S+", re.sub(r"#.*", "", rules))) == {"table inet fieldcam"}
        assert set(re.findall(r"hook (\w+)", rules)) == {"input"}

    def test_the_revision_follows_the_rules(self, rendered: Path, open_to_few: Path) -> None:
        revisions = [
            re.findall(r"chain (revision_[0-9a-f]{12})", text(at, "firewall.nft")) for at in (rendered, open_to_few)
        ]

        assert [len(found) for found in revisions] == [1, 1]
        assert revisions[0] != revisions[1]

    @pytest.mark.parametrize("which", ["rendered", "open_to_few"])
    def test_the_kernel_accepts_it(self, which: str, request: pytest.FixtureRequest) -> None:
        require_root()
        require_commands("nft")
        file = request.getfixturevalue(which) / "firewall.nft"

        done = subprocess.run(["nft", "--check", "--file", file], check=False, capture_output=True, text=True)

        assert done.returncode == 0, done.stderr


class TestUnits:
    def test_nginx_is_confined(self, rendered: Path, tmp_path: Path) -> None:
        require_commands("systemd-analyze")
        # Debian's unit, as far as the drop-in does not replace it.
        base = "[Unit]\nDescription=nginx\n[Service]\nType=forking\nPIDFile=/run/nginx.pid\nExecStart=/bin/true\n"
        drop_in = text(rendered, "fieldcam.conf")
        (tmp_path / "nginx.service").write_text(f"{base}{drop_in}", encoding="utf-8")

        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=40", str(tmp_path / "nginx.service")],
            check=False, capture_output=True, text=True,
        )  # fmt: skip

        assert done.returncode == 0, done.stdout[-400:] + done.stderr

    def test_no_line_of_a_unit_carries_a_comment_as_a_value(self, rendered: Path) -> None:
        for name in ("fieldcam.conf", "fieldcam-firewall.service", "fieldcam-certificate.timer"):
            lines = [line for line in text(rendered, name).splitlines() if not line.startswith("#")]
            assert [line for line in lines if " #" in line] == [], name


def make_certificate(folder: Path, names: str) -> str:
    """Run the program that hosts make their certificate with, in a folder of the test; return what it said."""
    template = (ROLE / "templates" / "usr" / "local" / "sbin" / "fieldcam-certificate.j2").read_text(encoding="utf-8")
    script = template.replace("{{ gateway_config_dir }}", str(folder)).replace("{{ __gateway_days }}", "820")
    script = script.replace("{{ __gateway_renew_days * 86400 }}", str(30 * 86400)).replace(
        "{{ ansible_managed | comment }}", ""
    )
    (folder / "names").write_text(f"# Ansible managed\n{names}", encoding="utf-8")
    done = subprocess.run(["/bin/sh", "-c", script], check=True, capture_output=True, text=True)
    return done.stdout.strip()


class TestTheHostsOwnCertificate:
    def test_it_is_made_once_and_is_what_clients_accept(self, tmp_path: Path) -> None:
        require_commands("openssl")

        said = [make_certificate(tmp_path, "DNS:cam-1\nIP:192.0.2.11\nIP:2001:db8::1\n") for _ in range(2)]

        made = x509.load_pem_x509_certificate((tmp_path / "tls.crt").read_bytes())
        assert said == ["made", "kept"]
        assert certificate.names_of(made) == ["cam-1", "192.0.2.11", "2001:db8::1"]
        assert (made.not_valid_after_utc - made.not_valid_before_utc).days <= 825
        assert oct((tmp_path / "tls.key").stat().st_mode & 0o777) == "0o600"
        assert not list(tmp_path.glob("*.new"))

    def test_other_names_half_a_pair_and_a_near_end_each_make_a_new_one(self, tmp_path: Path) -> None:
        require_commands("openssl")
        make_certificate(tmp_path, "DNS:cam-1\n")

        names = make_certificate(tmp_path, "DNS:cam-2\n")
        (tmp_path / "tls.key").write_bytes(pem_key(ec.generate_private_key(ec.SECP256R1())))
        pair = make_certificate(tmp_path, "DNS:cam-2\n")
        command = ["openssl", "req", "-x509", "-key", "tls.key", "-days", "20", "-subj", "/CN=x", "-out", "tls.crt"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        end = make_certificate(tmp_path, "DNS:cam-2\n")

        assert (names, pair, end) == ("made", "made", "made")
        assert make_certificate(tmp_path, "DNS:cam-2\n") == "kept"


def pem_key(key: ec.EllipticCurvePrivateKey, encryption: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def issue(names: list[str], days: tuple[int, int] = (-10, 300)) -> tuple[str, str]:
    """Return a certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateBuilder(
        issuer_name=subject, subject_name=subject, public_key=key.public_key(), serial_number=1,
        not_valid_before=NOW + dt.timedelta(days=days[0]), not_valid_after=NOW + dt.timedelta(days=days[1]),
    )  # fmt: skip
    if names:
        alternatives: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(name)) if ":" in name or name[0].isdigit() else x509.DNSName(name)
            for name in names
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    made = builder.sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode(), pem_key(key).decode()


class TestAGivenCertificate:
    def test_a_good_pair_with_its_chain_has_names_and_no_problems(self) -> None:
        leaf, key = issue(["cam.example.org", "*.lab.example.org", "192.0.2.11"])
        issuer, _ = issue(["ca"])

        problems, names = certificate.look(
            leaf + issuer, key, ["cam.example.org", "a.lab.example.org", "192.0.2.11"], NOW
        )

        assert problems == []
        assert names == ["cam.example.org", "*.lab.example.org", "192.0.2.11"]

    @pytest.mark.parametrize(
        ("names", "wanted", "days", "words"),
        [
            (["a.example"], ["b.example"], (-1, 9), ["it is for a.example", "not for b.example"]),
            (["*.example.org"], ["a.b.example.org"], (-1, 9), ["not for a.b.example.org"]),
            (["*.example.org"], ["example.org"], (-1, 9), ["not for example.org"]),
            (["192.0.2.1"], ["192.0.2.2"], (-1, 9), ["not for 192.0.2.2"]),
            (["a.example"], [], (-9, -1), ["expired on 2026-05-31"]),
            (["a.example"], [], (2, 9), ["valid from 2026-06-03", "clock"]),
            ([], [], (-1, 9), ["subjectAltName"]),
        ],
    )
    def test_what_is_wrong_with_it_is_said(
        self, names: list[str], wanted: list[str], days: tuple[int, int], words: list[str]
    ) -> None:
        leaf, key = issue(names, days)

        problems, _ = certificate.look(leaf, key, wanted, NOW)

        assert len(problems) == 1
        assert [word for word in words if word not in problems[0]] == []

    def test_what_is_wrong_with_its_key_is_said(self) -> None:
        leaf, key = issue(["a.example"])
        _, other = issue(["a.example"])
        locked = pem_key(ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"secret")).decode()

        def problem(given: str) -> str:
            (said,), _ = certificate.look(leaf, given, [], NOW)
            return str(said)

        assert certificate.look(leaf, key, [], NOW)[0] == []
        assert "does not belong" in problem(other)
        assert "passphrase" in problem(locked)
        assert "no private key" in problem(leaf)
        assert certificate.look(key, key, [], NOW) == (
            ["gateway_certificate: it is no certificate in PEM form (-----BEGIN CERTIFICATE-----)"], [],
        )  # fmt: skip


class TestPreflight:
    @pytest.mark.parametrize("name", ["cam-1", "cam-1.example.org", "*.example.org", "192.0.2.11", "2001:db8::1"])
    def test_names_that_clients_use(self, name: str) -> None:
        assert [*preflight.name_problems([name])] == []

    @pytest.mark.parametrize(
        "name",
        ["", "Cam", "cam_1", "-cam", "cam.", "a b", "a;b", "a\nb", "[2001:db8::1]", "cam:443", "*", "a.*.b", "1.2.3",
         "x" * 64, "{{ 1 }}", "caf\u00e9", 7],
    )  # fmt: skip
    def test_what_is_no_name(self, name: Any) -> None:
        (problem,) = preflight.name_problems([name])

        assert problem.startswith("gateway_server_names: ")

    @pytest.mark.parametrize("network", ["192.0.2.1/24", "all", "", "192.0.2.0/33", "1.1.1.1 }; flush ruleset", None])
    def test_what_is_no_network(self, network: Any) -> None:
        (problem,) = preflight.network_problems("gateway_client_cidrs", [network])

        assert problem.startswith(f"gateway_client_cidrs: {network!r} is no network")

    def test_no_networks_would_be_nobody(self) -> None:
        (problem,) = preflight.network_problems("gateway_admin_cidrs", [])

        assert "nobody could reach" in problem

    @pytest.mark.parametrize("one", ["9100", "tcp/0", "tcp/65536", "sctp/9", "tcp/1; drop", 9100])
    def test_what_is_no_listener(self, one: Any) -> None:
        (problem,) = preflight.listener_problems([one])

        assert "gateway_other_listeners" in problem

    def test_ansible_is_not_locked_out(self) -> None:
        few = {"gateway_admin_cidrs": ["192.0.2.0/24", "2001:db8::/32"], "firewall": True}

        assert preflight.look_at_connection("192.0.2.9 5000 198.51.100.1 2222", 22, few) == ([22, 2222], [])
        assert preflight.look_at_connection("::ffff:192.0.2.9 5000 ::1 22", 22, few) == ([22], [])
        assert preflight.look_at_connection("2001:db8::9%eth0 5000 ::1 22", 22, few) == ([22], [])
        _, (problem,) = preflight.look_at_connection("203.0.113.5 5000 198.51.100.1 22", 22, few)
        assert "203.0.113.5" in problem
        assert "lock it out" in problem
        assert preflight.look_at_connection("203.0.113.5 5000 198.51.100.1 22", 22, few | {"firewall": False})[1] == []
        assert preflight.look_at_connection("", 22, few) == ([22], [])
        assert "no port" in preflight.look_at_connection("", "ssh", few)[1][0]

    def test_a_port_that_is_taken_is_said_with_its_holder(self) -> None:
        taken = [(443, "apache2"), (443, "nginx"), (80, "lighttpd"), (22, "sshd")]

        problems = [*preflight.port_problems([443], taken)]

        assert len(problems) == 1
        assert "port 443 is taken by apache2" in problems[0]


class TestVerify:
    SS = """\
udp   UNCONN 0 0                     0.0.0.0:68      0.0.0.0:*  users:(("dhclient",pid=1,fd=7))
tcp   LISTEN 0 4096                127.0.0.1:8001    0.0.0.0:*  users:(("gunicorn",pid=2,fd=5))
tcp   LISTEN 0 511                   0.0.0.0:443     0.0.0.0:*  users:(("nginx",pid=3,fd=6),("nginx",pid=4,fd=6))
tcp   LISTEN 0 511                      [::]:443        [::]:*  users:(("nginx",pid=3,fd=7))
tcp   LISTEN 0 128                   0.0.0.0:22      0.0.0.0:*  users:(("sshd",pid=5,fd=3))
tcp   LISTEN 0 128         192.0.2.11%eth0:9100      0.0.0.0:*  users:(("node",pid=6,fd=3))
tcp   LISTEN 0 128                     [::1]:6407       [::]:*
tcp   LISTEN 0 128                         *:111           *:*
"""

    def test_listeners_are_read_with_address_and_program(self) -> None:
        found = [*verify.parse(self.SS)]

        assert found[0] == ("udp/68", "0.0.0.0", "dhclient")
        assert found[5] == ("tcp/9100", "192.0.2.11", "node")
        assert found[6] == ("tcp/6407", "::1", "unknown program")

    def test_what_listens_on_the_network_besides_is_said(self) -> None:
        problems = [*verify.listener_problems({"tcp/443", "tcp/22"}, [*verify.parse(self.SS)])]

        assert len(problems) == 2
        assert "node listens on tcp/9100 (192.0.2.11)" in problems[0]
        assert "tcp/111" in problems[1]

    def test_a_gateway_that_does_not_listen_is_said(self) -> None:
        problems = [*verify.listener_problems({"tcp/443", "tcp/80", "tcp/9100"}, [*verify.parse(self.SS)])]

        assert "nothing listens on tcp/80" in problems


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"gateway_certificate": "/x.pem"}, ["belong together"]),
        ({"gateway_certificate": "/nowhere.pem", "gateway_certificate_key": "/nowhere.key"},
         ["gateway_certificate: /nowhere.pem", "no file on the controller"]),
        ({"gateway_certificate": "x.pem", "gateway_certificate_key": "x.key"}, ["no absolute path"]),
        ({"gateway_config_dir": "/etc/a b"}, ["gateway_config_dir"]),
        ({"gateway_run_dir": "/run/x;y"}, ["gateway_run_dir"]),
        ({"gateway_group": "a:b"}, ["gateway_group"]),
        ({"gateway_logins_per_minute": 0}, ["gateway_logins_per_minute"]),
        ({"gateway_rollback_seconds": 5}, ["gateway_rollback_seconds"]),
        ({"gateway_server_names": ["A b"], "gateway_client_cidrs": ["x"], "gateway_other_listeners": ["1"]},
         ["gateway_server_names: 'A b'", "gateway_client_cidrs: 'x'", "gateway_other_listeners: '1'"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_changed(
    inputs: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    run = look(tmp_path / "a", **inputs)

    assert run.status == 2, run.output
    assert [word for word in words if word not in " ".join(run.output.split())] == []
    assert "Traceback" not in run.output
    assert "changed=0" in run.output


def test_the_key_is_never_shown(tmp_path: Path) -> None:
    leaf, _ = issue(["a.example"], (-1, 9000))
    _, key = issue(["a.example"])
    (tmp_path / "a.pem").write_text(leaf, encoding="utf-8")
    (tmp_path / "a.key").write_text(key, encoding="utf-8")
    given = {"gateway_certificate": str(tmp_path / "a.pem"), "gateway_certificate_key": str(tmp_path / "a.key")}

    run = look(tmp_path / "a", **given)

    assert "does not belong to the first certificate" in " ".join(run.output.split())
    assert "PRIVATE KEY" not in run.output
    assert key.splitlines()[1] not in run.output
