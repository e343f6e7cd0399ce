"""The ASGI application that uvicorn serves."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "millm_site.settings")
django = get_asgi_application()

from inference.broker.exchange import closes_exchanges  # noqa: E402  (the settings come first)
from millm_site.middleware.body_limit import limits_bodies  # noqa: E402
from steering.statements import limit_statements  # noqa: E402

limit_statements()
application = limits_bodies(closes_exchanges(django))
