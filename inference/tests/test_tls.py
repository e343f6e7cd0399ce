"""Redis behind TLS: its certificate is verified by the web, and by Celery too."""

import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import redis
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from millm_site.addresses import broker_tls, broker_url
from millm_site.environment import redis_url

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
SEND = """
import redis, sys
from millm_site.celery import app
from django.conf import settings
try:
    assert redis.Redis.from_url(settings.REDIS_URL).ping()
    print("web: verified")
except redis.ConnectionError as error:
    print("web:", error)
try:
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0)
        connection.default_channel.client.ping()
    print("celery: verified")
except Exception as error:
    print("celery:", error)
"""


def openssl(*words: str, folder: Path) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With `ca.pem`, and with a certificate of it for localhost."""
    made = tmp_path_factory.mktemp("tls")
    key = ["-newkey", "rsa:2048", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ours", "-days", "2", folder=made)
    openssl("req", *key, "-keyout", "key.pem", "-out", "req.pem", "-subj", "/CN=localhost", folder=made)
    (made / "names").write_text("subjectAltName=DNS:localhost\n")
    sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
    openssl("x509", "-req", "-in", "req.pem", *sign, "-out", "cert.pem", folder=made)
    return made


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    """Of a proxy that ends TLS before the tests' Redis."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=[listener, context], daemon=True).start()
        yield listener.getsockname()[1]


def accept(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return  # the tests are over
        threading.Thread(target=serve, args=[plain, context], daemon=True).start()


def serve(plain: socket.socket, context: ssl.SSLContext) -> None:
    """One connection: requests and answers take turns, as these tests need it."""
    with plain, socket.socket(socket.AF_UNIX) as behind:
        behind.connect(urlsplit(settings.REDIS_URL).path)
        try:
            with context.wrap_socket(plain, server_side=True) as client:
                while asked := client.recv(65536):
                    behind.sendall(asked)
                    client.sendall(behind.recv(65536))
        except OSError:
            return  # a client that does not trust us


def told(url: str) -> list[str]:
    """What a process with this REDIS_URL makes of the certificate: its web's connection, and Celery's."""
    import os

    program = "import django; django.setup()\n" + SEND
    env = os.environ | {"REDIS_URL": url, "DJANGO_SETTINGS_MODULE": "millm_site.settings"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines() or [done.stderr]


@pytest.mark.parametrize(
    ("host", "query", "expected"),
    [
        ("localhost", "?ssl_ca_certs={ca}", "verified"),
        ("localhost", "", "certificate verify failed"),
        ("127.0.0.1", "?ssl_ca_certs={ca}", "IP address mismatch"),
    ],
)
def test_the_certificate_is_verified_on_both_sides(
    folder: Path, port: int, host: str, query: str, expected: str
) -> None:
    web, celery = told(f"rediss://{host}:{port}/1{query.format(ca=folder / 'ca.pem')}")
    assert web.startswith("web:")
    assert expected in web
    assert celery.startswith("celery:")
    assert expected in celery


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("ssl_cert_reqs=none", "a certificate that is verified"),
        ("ssl_check_hostname=false", "a certificate that is verified"),
        ("ssl_ca_certs=/no/such/file", "a file that can be read"),
    ],
)
def test_a_certificate_that_would_not_be_verified_is_refused_at_the_start(query: str, expected: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=expected):
        redis_url("REDIS_URL", f"rediss://:secret@host:6380/0?{query}")


def test_celery_is_told_of_tls_beside_the_address() -> None:
    url = "rediss://:secret@host:6380/2?ssl_ca_certs=/ca.pem&health_check_interval=3"
    assert broker_url(url) == "rediss://:secret@host:6380/2?health_check_interval=3"
    assert parse_qs(urlsplit(url).query)["ssl_ca_certs"] == ["/ca.pem"]
    tls = broker_tls(url)
    assert tls == {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": "/ca.pem"}
    assert broker_tls("redis://host:6379/0") is None
    assert redis.connection.parse_url(url)["ssl_ca_certs"] == "/ca.pem"
