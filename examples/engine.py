"""The engine alone, without Django, PostgreSQL and Redis: two prompts under two steerings in one batch."""

import sys
from pathlib import Path
from queue import SimpleQueue

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that `python examples/engine.py` finds miLLM

from inference.demo.tiny import FILES
from inference.engine.engine import ContinuousEngine
from inference.engine.loading import load
from inference.engine.steering.weights import SteeringWeights
from inference.interface import Event, GenerationRequest
from steering.formats import read_config
from steering.spec import SteeringSpec

PROMPTS = {"ocean": "Tell me something.", "winter": "Give me a short story."}
STRENGTHS = {"ocean": {79: 6.29, 286: 11.87}, "winter": {300: 11.35, 334: 6.17}}  # feature of the SAE: strength

model, tokenizer = load(FILES / "model")
sae = read_config(FILES / "sae")
steps: SimpleQueue[list[Event]] = SimpleQueue()
engine = ContinuousEngine(model, tokenizer, steps.put, SteeringWeights(lambda place: sae))

for name, prompt in PROMPTS.items():
    chat = [{"role": "user", "content": prompt}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    steering = SteeringSpec.build("demo-sae", "", sae.layer, sae.hook_name, STRENGTHS[name])
    engine.submit(GenerationRequest(name, ids, max_new_tokens=60, steering=steering))

texts, running = dict.fromkeys(PROMPTS, ""), len(PROMPTS)
while running:
    for event in steps.get():  # what one step of the batch made of all its requests
        texts[event.request_id] += event.data.get("text", "")
        running -= event.is_last
engine.close()

for name, text in texts.items():
    print(f"{name}: {text}")
