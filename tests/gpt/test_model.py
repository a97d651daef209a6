"""The sizes of GPT, counted; its loss and gradients beside those of transformers."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, OpenAIGPTConfig, OpenAIGPTLMHeadModel

from tlcourse.gpt.model import SIZES, SPARING, gpt3_sizes, gpt_config, make_sparing, next_token_loss, parameters
from tlcourse.training.dropout import Dropout


def count(config) -> int:
    return parameters(config)["count"].sum()


def small(**changes) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = gpt_config((2, 32), vocab_size=90, max_length=24, **{"n_head": 2, "initializer_range": 0.2} | changes)
    return GPT2LMHeadModel(config)


# --------------------------------------------------------------------------------------------------------- sizes
@pytest.mark.parametrize("size", [name for name in SIZES if name != "gpt3"])
def test_the_formula_counts_what_the_model_has(size):
    given = {} if SIZES[size].vocab_size else {"vocab_size": 8000, "max_length": 128}
    config = gpt_config(size, **given)
    with torch.device("meta"):
        assert count(config) == GPT2LMHeadModel(config).num_parameters()


def test_published_sizes_in_millions():
    names = ("gpt", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "gpt3")
    assert [round(count(gpt_config(name)) / 1e6, 1) for name in names] == [
        116.5, 124.4, 354.8, 774.0, 1557.6, 174_604.3,
    ]  # fmt: skip


def test_the_first_gpt_has_no_last_norm():
    config = OpenAIGPTConfig()
    with torch.device("meta"):
        assert count(config) == OpenAIGPTLMHeadModel(config).num_parameters() == count(gpt_config("gpt")) - 2 * 768


def test_inner_layers_of_another_width():
    config = GPT2Config(n_layer=2, n_embd=32, n_head=2, n_inner=48, vocab_size=90)
    assert count(config) == GPT2LMHeadModel(config).num_parameters()


def test_gpt3s_table_as_printed_and_as_computed():
    table = gpt3_sizes().set_index("model")
    largest = table.loc["GPT-3 175B"]
    assert (largest["dim"], largest["heads x head_dim"]) == (12_288, 96 * 128)
    assert ((table["computed"] / table["printed"] - 1).abs() < 0.05).all()
    assert table.index[table["dim"] != table["heads x head_dim"]].tolist() == ["GPT-3 XL", "GPT-3 13B"]


def test_a_size_of_ones_own():
    config = gpt_config((3, 192), vocab_size=500, max_length=64, n_inner=100, resid_pdrop=0.3)
    assert (config.n_layer, config.n_embd, config.n_head, config.n_positions) == (3, 192, 3, 64)
    assert (config.n_inner, config.resid_pdrop) == (100, 0.3)


@pytest.mark.parametrize(
    ("size", "given", "says"),
    [
        ("huge", {}, "tiny, mini, small"),
        ((2, 100), {"vocab_size": 90, "max_length": 8}, "heads of 64"),
        ((2, 64), {"vocab_size": 90}, "give vocab_size and max_length"),
        ("mini", {}, "give vocab_size and max_length"),
    ],
)
def test_no_such_size(size, given, says):
    with pytest.raises(ValueError, match=says):
        gpt_config(size, **given)


# ----------------------------------------------------------------------------------------------------- the objective
@pytest.mark.parametrize("activation", ["gelu_new", "gelu_pytorch_tanh"])
def test_loss_and_gradients_are_those_of_transformers(activation):
    theirs = small(activation_function="gelu_new").eval()
    ours = make_sparing(small(activation_function=activation)).eval()
    ours.load_state_dict(theirs.state_dict())
    ids = torch.randint(90, (3, 20))
    expected, found = theirs(ids, labels=ids).loss, next_token_loss(ours, ids)
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    expected.backward()
    found.backward()
    for (name, one), other in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_loss_by_hand():
    model, ids = small().eval(), torch.tensor([[4, 8, 15, 16, 23]])
    total = 0.0
    for i in range(1, 5):
        total -= model(ids[:, :i]).logits[0, -1].log_softmax(-1)[ids[0, i]].item()
    assert next_token_loss(model, ids).item() == pytest.approx(total / 4, abs=1e-5)


def test_attention_by_hand_is_that_of_torch():
    """In training on a CPU attention takes another way; with hardly any dropout it leads to the same."""
    none = {"embd_pdrop": 0.0, "resid_pdrop": 0.0}
    model = make_sparing(small(**none, attn_pdrop=1e-7))
    ids = torch.randint(90, (3, 20))
    by_hand, by_torch = (next_token_loss(model.train(mode), ids).item() for mode in (True, False))
    assert by_hand == pytest.approx(by_torch, abs=1e-5)
    model = make_sparing(small(**none, attn_pdrop=0.5)).train()
    assert next_token_loss(model, ids).item() != pytest.approx(by_torch, abs=1e-3)


def test_a_sparing_model_still_takes_padding_and_a_cache():
    plain, sparing = small().eval(), make_sparing(small()).eval()
    ids = torch.randint(1, 90, (2, 10))
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    inputs = {"attention_mask": mask, "position_ids": positions}
    torch.testing.assert_close(sparing(ids, **inputs).logits[mask == 1], plain(ids, **inputs).logits[mask == 1])
    for mode in (True, False):  # padding with dropout, too
        assert sparing.train(mode)(ids, attention_mask=mask).logits.isfinite().all()
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    written = [model.generate(ids, attention_mask=mask, **settings) for model in (plain, sparing)]
    assert torch.equal(*written)


def test_sparing_names_what_it_changes():
    model = make_sparing(small())
    assert model.config._attn_implementation == SPARING
    assert {type(module) for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {Dropout}


def test_what_is_saved_names_no_attention_of_ours(tmp_path):
    make_sparing(small()).save_pretrained(tmp_path)
    assert SPARING not in (tmp_path / "config.json").read_text()
    assert GPT2LMHeadModel.from_pretrained(tmp_path).config._attn_implementation == "sdpa"
