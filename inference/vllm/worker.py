"""vLLM's worker, the process that runs the model on one device, with steering."""

import logging
from typing import Any

import torch
from vllm.distributed.parallel_state import get_pp_group
from vllm.platforms import current_platform
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.outputs import AsyncModelRunnerOutput, ModelRunnerOutput

from inference.engine.steering.program import HookPlace
from inference.vllm.names import ARGUMENT, CONFIG, lost_token
from inference.vllm.orphans import end_with_owner
from inference.vllm.steering import check, hooks
from inference.vllm.steering.payload import Payload
from inference.vllm.steering.programs import Programs, Step

if current_platform.is_cpu():
    from vllm.v1.worker.cpu_worker import CPUWorker as PlatformWorker
else:
    from vllm.v1.worker.gpu_worker import Worker as PlatformWorker

logger = logging.getLogger(__name__)


class MarkedOutput(AsyncModelRunnerOutput):
    """The output of a step, with the token `lost` as the next one of the requests that it has lost."""

    def __init__(self, output: Any, step: Step, lost: int) -> None:
        self._output, self._step, self._lost = output, step, lost

    def get_output(self) -> ModelRunnerOutput:
        output = self._output
        if isinstance(output, AsyncModelRunnerOutput):
            output = output.get_output()
        for request_id in self._step.lost_ids():
            index = output.req_id_to_index.get(request_id)
            if index is not None and output.sampled_token_ids[index]:  # none while its prompt is not read to the end
                output.sampled_token_ids[index] = [self._lost]
        return output


class SteeredWorker(PlatformWorker):
    """Runs a model whose requests may carry a `Payload`; vLLM makes one for each device (`worker_cls`).

    It does not serve where the test of its steering fails.
    """

    programs: Programs
    places: list[HookPlace]

    def init_device(self) -> None:
        """Make the device ready."""
        end_with_owner()
        super().init_device()

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        """Load the model, and hook it before vLLM compiles it."""
        super().load_model(*args, **kwargs)
        if self.use_v2_model_runner:
            raise NotImplementedError("miLLM steers vLLM's model runner V1: set VLLM_USE_V2_MODEL_RUNNER=0")
        runner = self.model_runner
        self._vocab = int(self.model_config.get_vocab_size())
        self._d_model = int(self.model_config.get_hidden_size())
        special = self.vllm_config.additional_config[CONFIG]["special"]
        self.programs = Programs(self._d_model, special, {"dtype": self.model_config.dtype, "device": self.device})
        self.places = hooks.install(runner.get_model(), self.programs, is_last=get_pp_group().is_last_rank)
        self._forward, runner._model_forward = runner._model_forward, self._steered_forward

    def compile_or_warm_up_model(self) -> Any:
        """Make the model ready, and check that what steers reaches it. Raises SteeringLost."""
        times = super().compile_or_warm_up_model()
        check.check(self._test_pass, self.places, self.programs, self._d_model)
        return times

    def _test_pass(self, tokens: int) -> None:
        """Make a forward pass over `tokens` tokens, always of the same numbers."""
        runner = self.model_runner
        if not get_pp_group().is_first_rank:  # its input is zeros in a test of vLLM's, which no norm scales
            if runner.intermediate_tensors is None:
                runner.intermediate_tensors = runner.get_model().make_empty_intermediate_tensors(
                    batch_size=runner.max_num_tokens, dtype=self.model_config.dtype, device=self.device
                )
            noise = torch.Generator().manual_seed(0)
            for tensor in runner.intermediate_tensors.tensors.values():
                tensor.copy_(torch.randn(tensor.shape, generator=noise))
        runner._dummy_run(tokens, force_attention=True)

    def execute_model(self, scheduler_output: SchedulerOutput) -> Any:
        """Take up the new requests of a step, forget those that ended, and run it."""
        for request_id in scheduler_output.finished_req_ids:
            self.programs.remove(request_id)
        for new in scheduler_output.scheduled_new_reqs:
            data = (new.sampling_params.extra_args or {}).get(ARGUMENT) if new.sampling_params else None
            if data is not None:
                self._take_up(new.req_id, data, new.num_computed_tokens)
        return super().execute_model(scheduler_output)

    def _take_up(self, request_id: str, data: bytes, cached: int) -> None:
        try:
            self.programs.add(request_id, Payload.from_bytes(data), cached)
        except Exception:  # uncaught, it would end the engine and all requests
            logger.exception("the steering of %s cannot be taken up", request_id)
            self.programs.lose(request_id)

    def sample_tokens(self, grammar_output: Any) -> Any:
        """Choose the next tokens of a step; the lost token for a request of which the step has lost a token."""
        output, step = super().sample_tokens(grammar_output), self.programs.step
        if output is None or step is None or step.is_sound:
            return output
        return MarkedOutput(output, step, lost_token(self._vocab))

    def _steered_forward(self, input_ids: torch.Tensor | None = None, **kwargs: Any) -> Any:
        runner = self.model_runner
        batch = runner.input_batch
        ids = batch.req_ids
        starts = runner.query_start_loc.np[: len(ids) + 1]
        self.programs.begin(ids, starts, batch.num_computed_tokens_cpu[: len(ids)], input_ids)
        if input_ids is not None:
            # The engine ends a lost request when it sees the lost token, which until then may be read.
            input_ids.clamp_(max=self._vocab - 1)
        return self._forward(input_ids=input_ids, **kwargs)
