"""A pytest plugin: tests run on the servers of DATABASE_URL and REDIS_URL, else on embedded servers of their own.

It is loaded with `-p`, since pytest-django reads the settings before any conftest.py.
"""

import os
import tempfile

import psycopg
from django.contrib.auth.hashers import PBKDF2PasswordHasher

if "MILLM_TEST_HOME" not in os.environ:  # only in the process that starts the others
    os.environ["MILLM_TEST_HOME"] = os.environ["MILLM_HOME"] = tempfile.mkdtemp(prefix="millm-test-")
    from millm_site import embedded

    is_embedded = "DATABASE_URL" not in os.environ
    embedded.provide()
    if is_embedded:  # its rows need not outlive a crash of the machine
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                connection.execute(f"ALTER SYSTEM SET {name} = off")
            connection.execute("SELECT pg_reload_conf()")

# The tests' processes and those that they start share the cores, and their models are small.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MILLM_DEMO"] = "tiny"  # no test downloads a model

# By design, hashing a password takes a quarter of a second. Other processes read the iterations from the hash.
PBKDF2PasswordHasher.iterations = 1000

# Each process of pytest-xdist has a Redis database of its own, as it has a PostgreSQL database of its own.
_worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
os.environ["REDIS_URL"] = f"{os.environ['REDIS_URL'].split('?')[0]}?db={int(_worker) + 1}"
