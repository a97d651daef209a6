"""The model: its sizes, and that what it leaves out changes nothing."""

import numpy as np
import pytest
import torch
from transformers import BertForPreTraining

from tlcourse.bert.masking import Masked, Masking, Pieces, mask_tokens
from tlcourse.bert.model import Batch, PretrainingModel, bert_config, parameters

VOCAB = 90
PIECES = Pieces(4, np.arange(VOCAB) < 5, np.ones(VOCAB, dtype=bool), np.arange(5, VOCAB))


def rows(lengths: list[int], seed: int = 0, **masking) -> tuple:
    """Masked pairs of these lengths, the pieces up to the first [SEP], and labels."""
    generator, lengths = np.random.default_rng(seed), np.array(lengths)
    ids = generator.integers(5, VOCAB, (len(lengths), lengths.max()))
    first = lengths // 2
    each = np.arange(len(lengths))
    ids[:, 0], ids[each, first - 1], ids[each, lengths - 1] = 2, 3, 3
    ids[np.arange(lengths.max()) >= lengths[:, None]] = 0
    masked = mask_tokens(ids, PIECES.maskable(ids), Masking(**masking), pieces=PIECES, generator=generator)
    return masked, lengths, first, generator.integers(0, 2, len(lengths))


def padded(masked, lengths, first, labels) -> dict[str, torch.Tensor]:
    """The same as ``transformers`` takes it."""
    place = np.arange(masked.ids.shape[1])
    targets = np.full(masked.ids.size, -100)
    targets[masked.positions] = masked.targets
    inputs = {
        "input_ids": masked.ids,
        "attention_mask": place < lengths[:, None],
        "token_type_ids": (place >= first[:, None]) & (place < lengths[:, None]),
        "labels": targets.reshape(masked.ids.shape),
        "next_sentence_label": labels,
    }
    return {name: torch.from_numpy(value.astype(np.int64)) for name, value in inputs.items()}


def small(**changes) -> PretrainingModel:
    torch.manual_seed(0)
    settings = {"num_attention_heads": 2, "initializer_range": 0.3} | changes
    return PretrainingModel(bert_config((3, 16), vocab_size=VOCAB, max_length=32, **settings)).eval()


def gradients(model: PretrainingModel, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


# ------------------------------------------------------------------------------------------------------ the sizes
@pytest.mark.parametrize(("size", "millions"), [("base", 110), ("large", 340)])
def test_the_papers_counts(size, millions):
    table = parameters(bert_config(size, vocab_size=30_522))
    encoder = table.loc[table["of"] == "encoder", "count"].sum()
    assert round(encoder / 1e7) * 10 == millions
    with torch.device("meta"):
        model = BertForPreTraining(bert_config(size, vocab_size=30_522))
    assert table["count"].sum() == sum(parameter.numel() for parameter in model.parameters())
    assert encoder == sum(parameter.numel() for parameter in model.bert.parameters())


@pytest.mark.parametrize(
    ("layers", "dim", "millions"),
    [(2, 128, 4.4), (4, 256, 11.3), (4, 512, 29.1), (8, 512, 41.7), (12, 768, 110.1)],
)
def test_the_counts_of_turc_et_al_are_with_the_heads(layers, dim, millions):
    table = parameters(bert_config((layers, dim), vocab_size=30_522))
    assert table["count"].sum() / 1e6 == pytest.approx(millions, abs=0.05)


def test_sizes_that_are_none_are_refused():
    with pytest.raises(ValueError, match="tiny, mini"):
        bert_config("huge", vocab_size=10)
    with pytest.raises(ValueError, match="100"):
        bert_config((2, 100), vocab_size=10)


# ------------------------------------------------------------------------------------------------------ the losses
@pytest.mark.parametrize("lengths", [[20, 20, 20], [31, 7, 12, 31, 12], [6], [8, 9, 10, 11]])
@pytest.mark.parametrize("whole_word", [False, True])
def test_loss_and_gradients_are_those_of_transformers(lengths, whole_word):
    model = small()
    batch = rows(lengths, share=0.3, whole_word=whole_word)
    theirs = model.bert(**padded(*batch)).loss
    ours = model.loss(Batch.pack(*batch))
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    expected, found = gradients(model, theirs), gradients(model, ours)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-5, msg=name)


def test_gradients_are_those_of_finite_differences():
    model = small().double()
    batch = Batch.pack(*rows([9, 14, 9]))
    torch.manual_seed(1)
    direction = {name: torch.randn_like(parameter) for name, parameter in model.named_parameters()}
    found = sum((gradient * direction[name]).sum() for name, gradient in gradients(model, model.loss(batch)).items())
    step, losses = 1e-5, []
    with torch.no_grad():
        for sign in (1, -2):
            for name, parameter in model.named_parameters():
                parameter += sign * step * direction[name]
            losses.append(model.loss(batch).item())
    assert found.item() == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_the_losses_of_parts_add_up(parts):
    model, batch = small(), Batch.pack(*rows([20, 9, 14, 31, 9, 20, 5]))
    together = gradients(model, model.loss(batch))
    model.zero_grad()
    pieces = 0
    for part in batch.split(parts):
        model.loss(part, of=batch).backward()
        pieces += len(part.ids)
    assert pieces == len(batch.ids)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, together[name], atol=1e-6, rtol=1e-5, msg=name)


def test_without_labels_only_masked_pieces_count():
    model, (*batch, labels) = small(), rows([12, 20])
    alone = model.loss(Batch.pack(*batch))
    pieces, pairs = model(Batch.pack(*batch, labels))
    assert pieces.shape[1] == VOCAB and pairs.shape == (2, 2)
    expected = torch.nn.functional.cross_entropy(pieces, Batch.pack(*batch).targets)
    assert alone.item() == pytest.approx(expected.item(), abs=1e-6)


def test_nothing_masked_is_no_loss_and_no_error():
    masked, lengths, first, _ = rows([3, 3])
    none = np.empty(0, dtype=np.int64)
    batch = Batch.pack(Masked(masked.ids, none, none, none), lengths, first)
    assert small().loss(batch).item() == 0


def test_vocabulary_logits_and_the_last_layer_are_computed_where_pieces_are_masked():
    model, batch = small(), Batch.pack(*rows([31] * 8))
    computed = []
    for module in (*(layer.output for layer in model.bert.bert.encoder.layer), model.bert.cls.predictions.decoder):
        module.register_forward_hook(lambda module, inputs, output: computed.append(len(output)))
    model.loss(batch)
    masked = len(batch.targets)
    assert computed == [8 * 31, 8 * 31, 8 + masked, masked]


def test_dropout_is_on_where_bert_has_it():
    batch = Batch.pack(*rows([20, 12]))
    model = small(hidden_dropout_prob=0.0)
    still = model.loss(batch).item()
    model.train()
    assert model.loss(batch).item() != still
    model = small(attention_probs_dropout_prob=0.0).train()
    assert model.loss(batch).item() != still
    model = small(attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.0).train()
    assert model.loss(batch).item() == pytest.approx(still, abs=1e-6)


def test_in_training_without_dropout_the_loss_is_the_same_from_left_to_right_too():
    """Training takes another way through attention."""
    masked, lengths, first, _ = rows([20, 12, 12])
    for causal in (False, True):
        torch.manual_seed(0)
        none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_attention_heads": 2}
        model = PretrainingModel(bert_config((2, 16), vocab_size=VOCAB, max_length=32, **none), causal=causal)
        losses = [model.train(mode).loss(Batch.pack(masked, lengths, first)).item() for mode in (True, False)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_from_left_to_right_later_pieces_do_not_matter():
    torch.manual_seed(0)
    model = PretrainingModel(
        bert_config((2, 16), vocab_size=VOCAB, max_length=32, num_attention_heads=2), causal=True
    ).eval()
    masked, lengths, first, _ = rows([20, 12, 12], share=1)
    batch = Batch.pack(masked, lengths, first)
    logits, _ = model(batch)
    changed = masked.ids.copy()
    changed[:, 8:] = 7
    other, _ = model(Batch.pack(Masked(changed, masked.positions, masked.targets, masked.kind), lengths, first))
    before = batch.positions[batch.masked] < 8
    torch.testing.assert_close(logits[before], other[before])
    assert not torch.allclose(logits[~before], other[~before])
    inputs = padded(masked, lengths, first, np.zeros(3))
    theirs = model.bert(**inputs).prediction_logits[inputs["labels"] != -100]  # the rows are in order already
    torch.testing.assert_close(logits, theirs)
