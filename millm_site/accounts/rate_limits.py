"""Rate limits: Redis counts the requests of each API key in the current minute, for all web processes."""

import logging
import time

from redis import RedisError

from inference.broker import connections
from millm_site.models import APIKey

logger = logging.getLogger(__name__)

WINDOW_S = 60


def seconds_to_wait(key: APIKey) -> int:
    """Count a request of `key`. Returns the seconds until it may be repeated; 0: the key is within its limit.

    Without Redis nothing is counted and no request is refused here.
    """
    if key.requests_per_minute is None:
        return 0
    window, gone_s = divmod(int(time.time()), WINDOW_S)
    counter = f"millm:requests:{key.pk}:{window}"
    try:
        with connections.connection.pipeline(transaction=False) as pipeline:
            pipeline.incr(counter)
            pipeline.expire(counter, 2 * WINDOW_S)
            count, _ = pipeline.execute()
    except RedisError as error:
        logger.warning("requests of API key %s are not counted: %s", key.pk, error)
        return 0
    return WINDOW_S - gone_s if count > key.requests_per_minute else 0
