"""Backbones that others have trained: fastai's and thai2fit's AWD-LSTM."""

from __future__ import annotations

from torch import Tensor


def from_fastai(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of fastai's language model (``SequentialRNN`` of ``AWD_LSTM`` and ``LinearDecoder``).

    Also reads the encoder alone and the classifier's ``0.module.`` form; gives the names of
    :class:`LanguageModel` (or of the classifier's ``encoder``), without the copies that fastai keeps of tied or
    raw weights.
    """
    renamed = {}
    for name, tensor in weights.items():
        name = name.removeprefix("0.").removeprefix("module.")
        parts = name.split(".")
        if name == "encoder.weight":
            renamed["encoder.embedding.weight"] = tensor
        elif name == "1.decoder.bias":
            renamed["decoder_bias"] = tensor
        elif parts[0] == "rnns" and parts[-1] != "weight_hh_l0":
            renamed[f"encoder.rnns.{parts[1]}.{parts[-1].removesuffix('_raw')}"] = tensor
    return renamed
