"""What a request asks vLLM for, and the log-probabilities that it gets."""

from collections.abc import Sequence

from vllm import SamplingParams
from vllm.outputs import CompletionOutput
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

from inference.interface import GenerationRequest
from inference.vllm.names import ARGUMENT
from inference.vllm.steering.payload import Payload


def sampling_params(request: GenerationRequest, eos: Sequence[int], payload: Payload | None) -> SamplingParams:
    """The parameters of `request`, whose answer ends with one of `eos`.

    vLLM makes tokens only: their texts and stop strings are ours, as of the transformers engine.
    """
    rule = request.sampling
    return SamplingParams(
        temperature=rule.temperature,
        top_p=rule.top_p,
        top_k=rule.top_k,
        min_p=rule.min_p,
        seed=rule.seed % 2**63,  # vLLM takes -1 for none
        presence_penalty=rule.presence_penalty,
        frequency_penalty=rule.frequency_penalty,
        repetition_penalty=rule.repetition_penalty,
        logit_bias=dict(rule.logit_bias) or None,
        max_tokens=request.max_new_tokens,
        stop_token_ids=[one for one in eos if one >= 0],
        ignore_eos=True,  # `stop_token_ids` has them all
        logprobs=request.top_logprobs,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        structured_outputs=_structured(request),
        extra_args={ARGUMENT: payload.to_bytes()} if payload else None,
    )


def _structured(request: GenerationRequest) -> StructuredOutputsParams | None:
    if request.grammar is not None:
        return StructuredOutputsParams(grammar=request.grammar)
    return StructuredOutputsParams(json=request.schema) if request.schema is not None else None


def logprobs_of(choice: CompletionOutput, top: int) -> list[tuple[float, list[tuple[int, float]]]]:
    """For each token of an output its log-probability, and (token, log-probability) of the `top` most probable ones.

    Empty where none were asked for.
    """
    found = []
    for token_id, known in zip(choice.token_ids, choice.logprobs or [], strict=False):
        ranked = sorted(known.items(), key=lambda item: item[1].rank or 0)
        found.append((known[token_id].logprob, [(one, value.logprob) for one, value in ranked[:top]]))
    return found
