"""The consumer's patience: a broker that is away for long is tried as often as in the first seconds."""

import json
import time
from typing import Any

import pytest
from celery.exceptions import WorkerShutdown
from celery.worker import state
from kombu import Connection

from inference import tasks
from inference.broker import connections
from inference.models import LanguageModel
from inference.tests.conftest import Server, free_port
from inference.tests.test_load import wait_for
from inference.worker.consumer import RECONNECT_S, PatientConsumer
from millm_site.celery import app

TRIES = 150


def test_a_broker_that_stays_away_is_tried_every_second_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def slept(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == TRIES:
            monkeypatch.setattr(state, "should_stop", 0)

    monkeypatch.setattr("kombu.utils.functional.sleep", slept)
    consumer: Any = object.__new__(PatientConsumer)
    with Connection(f"redis://127.0.0.1:{free_port()}/0") as broker, pytest.raises(WorkerShutdown):
        consumer.ensure_connected(broker)
    assert len(waits) == TRIES  # Celery's own gives up after 100
    assert max(waits) <= RECONNECT_S


def test_a_message_in_no_form_is_dropped_and_the_worker_goes_on(server: Server) -> None:
    queue = LanguageModel.objects.get(name="demo").queue
    with app.connection_for_write() as connection, connection.SimpleQueue(queue) as sent:
        sent.put(["x"], headers={"task": tasks.generate.name, "id": "malformed", "lang": "py"})
    wait_for(lambda: "a message of the broker was dropped" in (server.logs / "worker.log").read_text(), 10)
    assert server.worker.poll() is None
    wait_for(lambda: connections.connection.hlen("unacked") == 0, 10)


def test_a_message_whose_taker_died_before_it_began_is_given_to_another_worker(server: Server) -> None:
    queue = "millm.of-a-dead-worker"
    try:
        with app.connection_for_read() as dead:
            channel: Any = dead.channel()
            tasks.generate.apply_async(args=({},), queue=queue)
            wait_for(lambda: connections.connection.llen(queue) == 1, 5)
            taken = channel.basic_get(queue)
            channel.do_restore = False  # as one that is killed
        assert connections.connection.llen(queue) == 0
        connections.connection.zadd("unacked_index", {taken.delivery_tag: time.time() - 11})
        wait_for(lambda: connections.connection.llen(queue) == 1, 15)
        assert json.loads(connections.connection.lindex(queue, 0))["headers"]["task"] == tasks.generate.name
    finally:
        connections.connection.delete(queue, f"_kombu.binding.{queue}")
