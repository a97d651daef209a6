"""Stage 1 of ULMFiT: pretrain a language model on general text."""

from __future__ import annotations

from torch import Tensor, nn

from tlcourse.ulmfit.model import LanguageModel
from tlcourse.ulmfit.softmax import FullSoftmax


class LanguageModelWithLoss(nn.Module):
    """A language model whose softmax is part of the loss, so that not all logits need be computed.

    :meth:`forward` gives what the decoder sees, (B, T) -> (B, T, D), and :meth:`loss` the cross entropy of the words
    that follow, through one of the four softmaxes of :mod:`tlcourse.ulmfit.softmax`.
    """

    def __init__(self, language_model: LanguageModel, softmax: FullSoftmax):
        super().__init__()
        self.language_model, self.softmax = language_model, softmax

    def forward(self, token_ids: Tensor) -> Tensor:
        return self.language_model.read(token_ids)

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy in nats a token: ``hidden`` (B, T, D), ``targets`` (B, T)."""
        weight, bias = self.language_model.encoder.embedding.weight, self.language_model.decoder_bias
        return self.softmax(hidden.flatten(0, 1), targets.flatten(), weight, bias)

    # what callbacks ask of a language model: its state, its last activations, its layer groups
    @property
    def state(self):
        return self.language_model.state

    @state.setter
    def state(self, state):
        self.language_model.state = state

    @property
    def raw_output(self) -> Tensor:
        return self.language_model.raw_output

    @property
    def dropped_output(self) -> Tensor:
        return self.language_model.dropped_output

    def reset(self) -> None:
        self.language_model.reset()

    def layer_groups(self) -> list[list[nn.Parameter]]:
        groups = self.language_model.layer_groups()
        return [*groups[:-1], [*groups[-1], *self.softmax.parameters()]]
