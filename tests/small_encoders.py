"""Encoders of every kind, tiny and random, in folders as their publishers would write them. Tests read this file."""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "She sat on the bank of the river and counted boats.",
    "The bank lends money to farmers.",
    "เขาตากลมริมแม่น้ำ",
    "ใช้ขันตักน้ำบนเกาะ",
]
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]  # padding has number 1, as in RoBERTa
POSITIONS = 60
KINDS = {
    "Bert": "wordpiece",
    "Roberta": "bytes",
    "Albert": "unigram",
    "Camembert": "unigram",
    "DistilBert": "wordpiece",
    "XLNet": "unigram",
    "GPT2": "bytes",
}


def tokeniser(kind: str, *, template: str = "<s> $A </s>", pair: str = "<s> $A </s> $B:1 </s>:1", **settings):
    """A tiny one of the kind that BERT, RoBERTa and GPT-2, or ALBERT, CamemBERT and XLNet have."""
    shared = {"special_tokens": SPECIALS, "show_progress": False}
    if kind == "wordpiece":
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))
        made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=90, **shared)
    elif kind == "bytes":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **shared)
    else:
        made = Tokenizer(models.Unigram())
        made.normalizer, made.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=90, unk_token="<unk>", **shared)
    made.train_from_iterator(TEXTS * 3, trainer)
    made.post_processor = processors.TemplateProcessing(
        single=template, pair=pair, special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    names |= {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"} | settings
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names)


def config(kind: str, **sizes) -> transformers.PretrainedConfig:
    sizes |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    if kind == "DistilBert":
        sizes |= {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": POSITIONS}
    elif kind == "GPT2":
        sizes |= {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": POSITIONS}
    elif kind == "XLNet":
        sizes |= {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32}
    else:
        sizes |= {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        sizes |= {"max_position_embeddings": POSITIONS}
    if kind == "Albert":
        sizes["embedding_size"] = 8
    return getattr(transformers, f"{kind}Config")(**sizes)


def save(folder: Path, kind: str, head: str = "Model") -> Path:
    """Write an encoder of random weights, which reads 60 pieces, with the head of that name of `transformers`."""
    if kind == "XLNet":  # its special tokens stand at the end, and its padding in front
        ending = {"template": "$A </s> <s>:2", "pair": "$A </s> $B:1 </s>:1 <s>:2", "padding_side": "left"}
        words = tokeniser(KINDS[kind], **ending)
    else:
        words = tokeniser(KINDS[kind])
    words.save_pretrained(folder)
    torch.manual_seed(1)
    getattr(transformers, kind + head)(config(kind, vocab_size=len(words))).save_pretrained(folder)
    return folder
