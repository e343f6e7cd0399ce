"""The start of vLLM's processes."""

from collections.abc import Mapping
from typing import Any

from vllm import SamplingParams, TokensPrompt
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.v1.engine.async_llm import AsyncLLM

from inference.vllm.orphans import own
from inference.vllm.statistics import SchedulerReadings


async def started(arguments: Mapping[str, Any], readings: SchedulerReadings) -> AsyncLLM:
    """vLLM with a loaded model, after its first answer; `readings` gets those of its scheduler.

    The first request is not to wait for what is compiled at the first use. Raises what vLLM raises.
    """
    own()
    llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), stat_loggers=[readings.logger])
    params = SamplingParams(max_tokens=2, logprobs=0, ignore_eos=True, detokenize=False)
    try:
        async for _ in llm.generate(TokensPrompt(prompt_token_ids=[0]), params, "warm-up"):
            pass
    except BaseException:
        llm.shutdown()
        raise
    return llm
