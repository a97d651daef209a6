"""Generation with ``transformers``' ``generate`` and with ours, in one run: tokens a second.

    python benchmarks/gpt_generation.py [--layers 12] [--dim 768] [--vocab 50257] [--batch 8] [--new 64] [--threads 1]

A GPT-2 of random weights, given prompts of random tokens, writes the same number of tokens for both: greedy, and
drawn at temperature 0.9 from the 50 most probable, of these those that reach 0.95; one prompt, a batch, and a batch
of prompts of different lengths; with a cache of keys and values, and without. The two take turns, the first turn of
each warms up and does not count, and the median of the others is printed, by the clock and, as a ratio, in processor
time. Greedy, both must write the same tokens. Ours also gives each token's probability and decodes it by itself.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from tlcourse import profile
from tlcourse.encoders import Checkpoint
from tlcourse.gpt.generate import generate

DRAWN = {"temperature": 0.9, "top_k": 50, "top_p": 0.95}


def words(size: int) -> PreTrainedTokenizerFast:
    """Tokens that are numbers between blanks, none of which ends a text."""
    tokeniser = Tokenizer(models.WordLevel({str(i): i for i in range(size)}, unk_token="0"))
    tokeniser.pre_tokenizer, tokeniser.decoder = pre_tokenizers.WhitespaceSplit(), decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokeniser, pad_token="0", padding_side="left")


def now() -> tuple[float, float]:
    """The clock and the processor time, once the GPU has done all it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def compare(o: argparse.Namespace, gpt: Checkpoint, prompts: list[str], *, greedy: bool, cache: bool) -> None:
    model, tokeniser = gpt.model, gpt.tokeniser
    settings = {"temperature": 0} if greedy else DRAWN
    theirs_settings = {"do_sample": False} if greedy else {"do_sample": True, **DRAWN}

    def theirs() -> list[list[int]]:
        read = tokeniser(prompts, return_tensors="pt", padding=True, return_token_type_ids=False).to(model.device)
        made = model.generate(**read, **theirs_settings, max_new_tokens=o.new, use_cache=cache, pad_token_id=0)
        added = made[:, read["input_ids"].shape[1] :].tolist()
        tokeniser.batch_decode(added)
        return added

    def ours() -> list[list[int]]:
        made = generate(gpt, prompts, max_new=o.new, cache=cache, **settings)
        return [row.ids.tolist() for row in made]

    contestants: dict[str, Callable[[], list[list[int]]]] = {"theirs": theirs, "ours": ours}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(1 + o.turns):
        written = []
        for name, write in contestants.items():
            start = now()
            written.append(write())
            end = now()
            seconds[name].append((end[0] - start[0], end[1] - start[1]))
        if greedy and written[0] != written[1]:
            raise SystemExit("the two do not write the same")
    total = o.new * len(prompts)
    clock, processor = (
        [total / statistics.median(turn[which] for turn in seconds[name][1:]) for name in contestants]
        for which in range(2)
    )
    ragged = "" if len({len(prompt.split()) for prompt in prompts}) == 1 else ", ragged"
    print(
        f"{len(prompts)} prompt{'s' * (len(prompts) > 1) + ragged:<12} {'greedy' if greedy else 'drawn':<7} "
        f"{'cache' if cache else 'none':<6} {clock[0]:12,.1f} {clock[1]:9,.1f} {clock[1] / clock[0]:6.2f} "
        f"{processor[1] / processor[0]:14.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--vocab", type=int, default=50_257)
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--new", type=int, default=64, help="tokens that are written")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3, help="that count")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    profile.seed_everything(42)
    config = GPT2Config(
        vocab_size=o.vocab, n_layer=o.layers, n_embd=o.dim, n_head=o.dim // 64, eos_token_id=None, bos_token_id=None
    )
    device = profile.current().device
    gpt = Checkpoint(GPT2LMHeadModel(config).eval().to(device), words(o.vocab), "random")
    numbers = random.Random(1)
    lengths = [o.prompt - i * o.prompt // (2 * o.batch) for i in range(o.batch)]
    alike, ragged = (
        [" ".join(str(numbers.randrange(1, o.vocab)) for _ in range(length)) for length in some]
        for some in ([o.prompt] * o.batch, lengths)
    )
    print(f"{profile.device_name(device)}, torch {torch.__version__}; {o.layers} layers of {o.dim}, {o.vocab:,} tokens")
    print(f"{'':<21} {'':<7} {'':<6} {'transformers':>12} {'ours':>9} {'ratio':>6} {'processor time':>14}")
    for cache in (True, False):
        for prompts in (alike[:1], alike, ragged):
            for greedy in (True, False):
                compare(o, gpt, prompts, greedy=greedy, cache=cache)


if __name__ == "__main__":
    main()
