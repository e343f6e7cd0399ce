"""A worker whose model lost the hooks of one block."""

from typing import Any

from inference.vllm.worker import SteeredWorker


class DeafWorker(SteeredWorker):
    def load_model(self, *args: Any, **kwargs: Any) -> None:
        super().load_model(*args, **kwargs)
        self.model_runner.get_model().model.layers[1]._forward_hooks.clear()
