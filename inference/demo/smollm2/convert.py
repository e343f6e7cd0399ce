"""`python -m inference.demo.smollm2.convert GGUF FOLDER`: a quantised GGUF file as a folder that miLLM serves.

A process of its own: the command that starts it never imports torch, and the memory is free again at its end.
"""

import sys
from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

TEMPERATURE, TOP_P, REPETITION_PENALTY = 0.6, 0.9, 1.1
"""The sampling of requests that name none, and of all that is measured of the demo."""
NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"


def convert(gguf: Path, folder: Path) -> None:
    """Write the weights, dequantised to bfloat16, and the tokenizer of `gguf` to `folder`."""
    source, file = gguf.parent, gguf.name
    dequantised = GgufConfig(dequantize=True, gguf_file=file)  # as quantised weights they could not be saved
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=file, dtype=torch.bfloat16, quantization_config=dequantised
    )
    model.config._model_name_or_path = NAME  # the file has the name of a step of the training
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)
    # The file names its pre-tokenizer, `smollm`: each digit is a token. transformers does not read that field.
    splits = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    tokenizer.backend_tokenizer.pre_tokenizer = splits
    # The file has no sampling of its own. At temperature 1 a model this small loses the thread; without a penalty it
    # copies its own sentences from the third turn of a steered chat on.
    sampling = {"temperature": TEMPERATURE, "top_p": TOP_P, "repetition_penalty": REPETITION_PENALTY}
    model.generation_config.update(do_sample=True, **sampling)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
