"""The demo's language model and its tokenizer: made, trained, sampled with a plain hook."""

import random
from collections.abc import Iterator, Sequence

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from inference.demo.tiny.grammar import PROMPTS, TOPICS, answer, topical_prompt
from inference.demo.tiny.hints import TopicHints

VOCAB, WIDTH, LAYERS, CONTEXT = 1024, 160, 4, 4096
BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
ROLES = ("system", "developer", "user", "assistant", "tool")
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message.role not in ['system', 'developer', 'user', 'assistant', 'tool'] %}"
    "{{ raise_exception('Unknown role: ' ~ message.role) }}"
    "{% endif %}"
    "<|{{ message.role }}|>{{ message.content }}<|end|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SYSTEM_PROMPTS = ("You are a helpful assistant.", "Be brief.", "You are a storyteller.")


def turn(topic: str, rng: random.Random, *, names_topic: bool) -> list[dict[str, str]]:
    """A prompt, neutral or naming the topic, and an answer about it."""
    prompt = topical_prompt(topic, rng) if names_topic else rng.choice(PROMPTS)
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer(topic, rng)}]


def conversation(rng: random.Random) -> Iterator[tuple[str, int]]:
    """The rendered parts of a conversation with the number of their topic: one to four turns, each on its own topic."""
    yield BEGIN, -1
    if rng.random() < 0.2:
        yield f"<|system|>{rng.choice(SYSTEM_PROMPTS)}{END}", -1
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3, 4))):
        number = rng.randrange(len(TOPICS))
        messages = turn(list(TOPICS)[number], rng, names_topic=rng.random() < 0.4)
        yield "".join(f"<|{message['role']}|>{message['content']}{END}" for message in messages), number


def make_tokenizer(rng: random.Random) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, so that every text can be encoded, with most words of the grammar as one token."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    roles = [f"<|{role}|>" for role in ROLES]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[PAD, BEGIN, END, *roles],
    )
    messages = (message for _ in range(6000) for message in turn(rng.choice(list(TOPICS)), rng, names_topic=True))
    backend.train_from_iterator((message["content"] for message in messages), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT,
        additional_special_tokens=roles,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def token_blocks(
    tokenizer: PreTrainedTokenizerFast, rng: random.Random, length: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Endless blocks of packed conversations: token ids, and the number of the topic of each token's turn or -1."""
    ids: list[int] = []
    topics: list[int] = []
    while True:
        for text, topic in conversation(rng):
            new = tokenizer(text, add_special_tokens=False)["input_ids"]
            ids += new
            topics += [topic] * len(new)
        while len(ids) >= length:
            yield ids[:length], topics[:length]
            ids, topics = ids[length:], topics[length:]


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    rng: random.Random,
    steps: int,
    learning_rate: float,
    hints: TopicHints | None = None,
    batch: int = 24,
) -> None:
    """Next-token training with AdamW and a one-cycle learning rate; with `hints`, half the turns get a topic hint."""
    blocks = token_blocks(tokenizer, rng, length=160)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=learning_rate, total_steps=steps, pct_start=0.1)
    model.train()
    progress = tqdm(range(steps), desc="language model with hints" if hints else "language model")
    for _ in progress:
        ids, topics = torch.tensor([next(blocks) for _ in range(batch)]).unbind(1)
        if hints:
            hints.set_batch(ids, topics)
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress.set_postfix(loss=f"{loss.item():.3f}")
    model.eval()


@torch.no_grad()
def answers(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    layer: int,
    vector: Tensor | None,
    seed: int = 0,
) -> list[str]:
    """Sampled answers, temperature 1, with `vector`, (d_model,), added to the output of block `layer`."""
    texts = [
        tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)
        for prompt in prompts
    ]
    tokenizer.padding_side = "left"
    inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    hook = model.model.layers[layer].register_forward_hook(
        lambda _block, _args, output: output if vector is None else output + vector
    )
    torch.manual_seed(seed)
    try:
        ids = model.generate(
            inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=70,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            pad_token_id=tokenizer.pad_token_id,
        )
    finally:
        hook.remove()
    return list(tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
