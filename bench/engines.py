"""miLLM on vLLM beside `vllm serve`: HTTP, streamed, greedy, 128 new tokens, prompts of 60 to 110 tokens, in float32.

As in `bench.peers`. Each steered request has a profile of its own. The environment is that of `make vllm`.
"""

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.peers import Load, figures, millm, rounds, vllm_serve
from bench.setup import report, start_django

STREAMS, ROUNDS = (1, 8, 16), 5


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--streams", type=int, nargs="*", default=list(STREAMS))
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--environment", type=Path, default=Path(".venv-vllm"))
    asked = options.parse_args()
    start_django()
    from bench.subject import make

    loads = [Load(n, (60, 110)) for n in asked.streams]
    python = asked.environment / "bin" / "python"
    with tempfile.TemporaryDirectory() as name, ExitStack() as servers:
        folder = Path(name)
        make(folder)
        peers = [
            *servers.enter_context(millm(folder, str(python), INFERENCE_ENGINE="vllm")),
            servers.enter_context(vllm_serve(python, folder)),
        ]
        found = rounds(peers, loads, asked.rounds)
    made = figures(found, peers, loads)
    for group in made.values():
        for row in group.values():
            row["steered ÷ unsteered"] = round(row["miLLM steered, tokens/s"] / row["miLLM, tokens/s"], 2)
    report("engines", str(__doc__), {**made, "rounds": asked.rounds})


if __name__ == "__main__":
    main()
