"""The web process never imports torch."""

import subprocess
import sys


def test_the_asgi_application_loads_without_torch() -> None:
    program = (
        "import sys, millm_site.asgi\n"
        "from django.urls import get_resolver\n"
        "get_resolver().url_patterns\n"
        "sys.exit(' '.join(name for name in ('torch', 'transformers', 'tokenizers') if name in sys.modules) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
