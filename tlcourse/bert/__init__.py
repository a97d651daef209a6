"""BERT: masked words, next sentences, and four ways to fine-tune (Devlin et al. 2019)."""
