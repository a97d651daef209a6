"""The demos of the lessons on what transfers: the surgery, a curve to predict, the three benefits, labels."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tlcourse import plots
from tlcourse.data.frames import need
from tlcourse.transfer_curves import SCRATCH, benefits, summarise
from tlcourse.transferability.grid import Curves
from tlcourse.transferability.networks import Architecture
from tlcourse.widgets.demo import Demo, live


# ------------------------------------------------------------------------------------------------------- the surgery
def surgery_demo(table: pd.DataFrame, networks: Mapping[str, Architecture], *, metric: str = "accuracy") -> Demo:
    """Choose a network, a treatment and a depth: its blocks, and where these runs lie among all others.

    Controls: ``network``, ``treatment`` (such as ``AnB from far``), ``n``, ``difference`` (runs less base B of their
    split). State: ``runs``, the rows of the table; ``mean`` over splits, that of ``base`` B, their ``difference``;
    and in how many of the ``splits`` the runs are ``below`` base B. All are None at a depth that was not run.

    Args:
        table: of :func:`tlcourse.transferability.run_grid`.
        networks: as the grid has them.
        metric: ``accuracy`` or ``macro_f1``.

    Raises:
        ValueError: a column is missing or a treatment unknown, the table has nothing but bases or no base B of a
            network, or one of its networks is not given.
    """
    by_network = _by_network(table, metric)
    if missing := [name for name in by_network if name not in networks]:
        raise ValueError(f"the table has a network {missing[0]!r}, which is not among {', '.join(networks)}")
    found = set(plots.curve_names(table))
    treatments = [name for name in plots.CURVES if name in found]
    if not treatments:
        raise ValueError("the table has nothing but bases")
    base = {name: Curves(rows, metric)["base B"] for name, rows in by_network.items()}

    def draw(network: str, treatment: str, n: int, difference: bool):
        rows, architecture = by_network[network], networks[network]
        runs = rows[(plots.curve_names(rows) == treatment) & (rows["n"] == n)]
        figure, (top, bottom) = plt.subplots(2, 1, figsize=(13.5, 10), height_ratios=[1, 1.5])
        mark = (treatment, n) if len(runs) else None
        plots.transferability(rows, metric=metric, difference=difference, highlight=mark, ax=bottom)
        source = {"random": "B", "AnB from far": "far", "AnB+ from far": "far"}.get(treatment, treatment[0])
        plots.surgery_blocks(architecture, [f"base {source}", treatment], n=n, ax=top)
        text = f"<b>{_short(treatment, n)}</b> of the {escape(network)}: {_surgery(treatment, n, architecture.layers)}."
        if runs.empty:
            depths = np.unique(rows.loc[plots.curve_names(rows) == treatment, "n"])
            depths = f"only at {', '.join(map(str, depths))}" if len(depths) else "at no depth"
            text += f"<br>It was not run at n = {n}, {depths}."
            return figure, text, dict.fromkeys(("runs", "mean", "base", "difference", "below", "splits"))
        by_split = runs.groupby("split")[metric].mean()
        over = (by_split - base[network][n]).dropna()
        state = {
            "runs": runs, "mean": float(by_split.mean()), "base": float(base[network][n][by_split.index].mean()),
            "difference": float(over.mean()), "below": int((over < 0).sum()), "splits": len(over),
        }  # fmt: skip
        text += (
            f"<br>{metric.replace('_', ' ').capitalize()} <b>{state['mean']:.1%}</b>, the mean of "
            f"{_several(len(over), 'split')}; base B has {state['base']:.1%}: "
            f"<b>{plots.signed(100 * state['difference'])} points</b>, below base B in {state['below']} of "
            f"{_several(len(over), 'split')}."
        )
        return figure, text, state

    controls = {
        "network": widgets.Dropdown(options=list(by_network), description="network"),
        "treatment": widgets.Dropdown(options=treatments, description="treatment"),
        "n": widgets.IntSlider(value=1, min=1, max=2, description="n", continuous_update=False),
        "difference": widgets.Checkbox(value=False, description="less base B of the same split"),
    }

    def reach(_change=None) -> None:
        controls["n"].max = networks[controls["network"].value].layers

    controls["network"].observe(reach, "value")  # before the demo draws
    reach()
    controls["n"].value = min(3, controls["n"].max)
    return live(controls, draw)


def _by_network(table: pd.DataFrame, metric: str) -> dict[str, pd.DataFrame]:
    for column in ("network", "split", "source", "treatment", "n", "seed", metric):
        need(table, column)
    plots.curve_names(table)  # all of them are known
    if table.empty:
        raise ValueError("the table has no rows")
    return dict(list(table.groupby("network", sort=False)))


def _short(treatment: str, n: int) -> str:
    return treatment.replace("nB", f"{n}B")


def _surgery(treatment: str, n: int, layers: int) -> str:
    """What is done to the network, in words."""
    one = n == 1
    first = "layer 1 " if one else f"layers 1 to {n} "
    if treatment == "random":
        first += "stays as random as it was drawn" if one else "stay as random as they were drawn"
    else:
        source = "far" if "far" in treatment else treatment[0]
        first += f"{'is' if one else 'are'} copied from base {source} and "
        on = ("learns on", "learn on") if "+" in treatment else ("stays frozen", "stay frozen")
        first += on[0] if one else on[1]
    above = layers - n
    fresh = ["", f"layer {layers} and ", f"layers {n + 1} to {layers} and "][min(above, 2)]
    return f"{first}; {fresh}the head {'are' if above else 'is'} fresh"


# ------------------------------------------------------------------------------------------------- a curve to predict
def predict_curve(
    table: pd.DataFrame,
    network: str | None = None,
    *,
    treatment: str = "AnB",
    metric: str = "accuracy",
    sliders: int = 5,
) -> Demo:
    """Say first how a curve runs, then see it: a slider for some depths, and a button to show what was measured.

    Controls: ``n=1`` and so on, in percent, and ``show``. State: ``predicted``, by depth a share; ``measured``, the
    same of the means over splits, and ``error``, the mean absolute difference in points, None until shown.

    Args:
        table: of :func:`tlcourse.transferability.run_grid`.
        network: whose curve; the only one unless given.
        treatment: one of :data:`tlcourse.plots.CURVES`.
        metric: ``accuracy`` or ``macro_f1``.
        sliders: how many at most, spread over the depths that were run.

    Raises:
        ValueError: a column is missing, there is no such network or curve or no base B, or not one slider.
    """
    by_network = _by_network(table, metric)
    if network is None and len(by_network) > 1:
        raise ValueError(f"say whose curve: network= one of {', '.join(by_network)}")
    network = next(iter(by_network)) if network is None else network
    if network not in by_network:
        raise ValueError(f"the table has no network {network!r}, only {', '.join(by_network)}")
    if sliders < 1:
        raise ValueError(f"one slider at least is needed to predict with, not {sliders}")
    curves = Curves(by_network[network], metric)
    curve = curves[treatment].dropna(axis="columns", how="all")  # a row a split, a column a depth
    base = float(curves["base B"].iloc[:, 0].mean())
    depths = curve.columns[np.unique(np.linspace(0, len(curve.columns) - 1, sliders).round().astype(int))].tolist()
    measured = {n: float(curve[n].mean()) for n in depths}

    def draw(show: bool, **guesses: int):
        predicted = {n: guesses[f"n={n}"] / 100 for n in depths}
        ax = plots.prediction(predicted, curve if show else None, base=base, name=treatment)
        state = {"predicted": predicted, "measured": measured if show else None, "error": None}
        text = f"{escape(network)}: base B has <b>{base:.1%}</b>. "
        if not show:
            return ax.figure, text + f"Set what you expect of {treatment}, then press «show».", state
        errors = {n: 100 * (predicted[n] - measured[n]) for n in depths}
        state["error"] = float(np.mean(np.abs(list(errors.values()))))
        worst = max(errors, key=lambda n: abs(errors[n]))
        text += f"You were <b>{state['error']:.1f} points</b> away in the mean, and furthest at n = {worst}: "
        text += f"you said {predicted[worst]:.0%}, measured were <b>{measured[worst]:.1%}</b>."
        return ax.figure, text, state

    controls = {
        f"n={n}": widgets.IntSlider(
            value=round(100 * base), min=0, max=100, description=f"{_short(treatment, n)}, %", continuous_update=False
        )
        for n in depths
    }
    return live(controls | {"show": widgets.ToggleButton(value=False, description="show", icon="eye")}, draw)


# ------------------------------------------------------------------------------------------------ the three benefits
def benefits_demo(
    curves: pd.DataFrame,
    *,
    start: int | None = None,
    rise: int | None = None,
    baseline: str = SCRATCH,
    last: int = 3,
    levels: Mapping[str, float] | None = None,
) -> Demo:
    """Where the start is read and where the rise ends: the three benefits on the curves, and as numbers.

    Controls: ``start`` and ``rise``, steps that were measured, and a check box a treatment, by its name. State:
    ``table``, of :func:`tlcourse.transfer_curves.benefits`, of those that are checked; None without any.

    Args:
        curves: of :func:`tlcourse.transfer_curves.step_curves`.
        start, rise: where the sliders stand first; at the first step and at a quarter of the last unless given.
        baseline: the treatment to compare with.
        last: measurements that are averaged at the end.
        levels: scores to draw as broken lines, by name, such as chance.

    Raises:
        ValueError: as :func:`tlcourse.transfer_curves.benefits`; or there is nothing beside the baseline.
    """
    benefits(
        curves, start=start, rise=rise, baseline=baseline, last=last
    )  # raises, if it has to, before anything is drawn
    others = [name for name in curves["treatment"].unique() if name != baseline]
    if not others:
        raise ValueError(f"there is nothing to compare with the baseline {baseline!r}")
    ordered = pd.concat([curves[curves["treatment"] == name] for name in (baseline, *others)])
    steps = np.sort(curves["steps"].unique()).tolist()

    def draw(start: int, rise: int, **checked: bool):
        chosen = [name for name in others if checked[name]]
        settings = {"start": start, "rise": rise, "last": last}
        figure, ax = plt.subplots(figsize=(13, 6.5))
        if chosen:
            arrows = {"between": (chosen[-1], baseline), "start": start, "rise": rise}
            plots.learning_curves(ordered, summarise(ordered, **settings), **arrows, levels=levels, ax=ax)
        else:
            plots.learning_curves(ordered, levels=levels, ax=ax)
        names = {text.get_text(): text for text in ax.texts}
        hidden = {names[plots.drawable(name)].get_color() for name in others if name not in chosen}
        for artist in (*ax.lines, *ax.texts):  # they are hidden and not left out: colours and axes stay as they are
            artist.set_visible(artist.get_color() not in hidden)
        if not chosen:
            return figure, f"Tick a treatment to compare with {escape(baseline)}.", {"table": None}
        some = ordered[ordered["treatment"].isin([baseline, *chosen])]
        table = benefits(some, baseline=baseline, **settings)
        return figure, _benefits_table(table, baseline), {"table": table}

    controls: dict[str, widgets.Widget] = {
        "start": widgets.SelectionSlider(
            options=steps,
            value=steps[0] if start is None else start,
            description="start read at",
            continuous_update=False,
        ),
        "rise": widgets.SelectionSlider(
            options=steps[1:],
            value=min(steps[1:], key=lambda step: abs(step - (steps[-1] / 4 if rise is None else rise))),
            description="rise ends at",
            continuous_update=False,
        ),
    }
    controls |= {name: widgets.Checkbox(value=True, description=name) for name in others}
    return live(controls, draw)


def _benefits_table(table: pd.DataFrame, baseline: str) -> str:
    """Differences with their intervals, a row a benefit, a column a treatment."""
    treatments = table["treatment"].unique()
    cell = "<td style='padding:.1em 1em;text-align:{}'>{}</td>".format
    head = "".join(cell("center", f"<b>{escape(name)}</b>") for name in treatments)
    rows = ""
    for benefit, found in table.groupby("benefit", sort=False):
        unit = "points / 100 steps" if benefit == "slope" else "points"
        cells = [cell("left", f"higher {benefit}, {unit}")]
        for _, row in found.set_index("treatment").loc[treatments].iterrows():
            difference, low, high = (plots.signed(100 * row[column]) for column in ("difference", "low", "high"))
            sure = row["low"] > 0 or row["high"] < 0
            number = f"<b>{difference}</b>" if sure else difference
            cells.append(cell("center", f"{number} ({low} to {high})"))
        rows += f"<tr>{''.join(cells)}</tr>"
    first = cell("left", f"less {escape(baseline)}")
    return (
        f"<table style='line-height:1.5'><tr>{first}{head}</tr>{rows}</table>"
        "In brackets the 95 % interval over seeds; bold where it leaves out 0."
    )


# ------------------------------------------------------------------------------------------------------------ labels
def labels_demo(curves: pd.DataFrame, *, chance: float = 0.0) -> Demo:
    """How many labels are needed: the treatments at one number of labels as bars, and at all of them as curves.

    Controls: ``labels``. State: ``means`` by treatment, ``best``, the treatment with the highest, and ``lead``, how
    many points it is above the next, None without a next.

    Args:
        curves: of :func:`tlcourse.transfer_curves.label_curves`: ``treatment``, ``seed``, ``labels``, ``score``.
        chance: the score of a guess, where bars begin.

    Raises:
        ValueError: a column is missing, there is no row, or chance is no share.
    """
    for column in ("treatment", "seed", "labels", "score"):
        need(curves, column)
    if curves.empty:
        raise ValueError("there are no scores to show")
    if not 0 <= chance < 1:
        raise ValueError(f"chance is a share from 0 to 1, not {chance}")
    treatments = curves["treatment"].unique()
    low, high = min(curves["score"].min(), chance), curves["score"].max()

    def draw(labels: int):
        now = curves[curves["labels"] == labels]
        means = now.groupby("treatment")["score"].mean().reindex(treatments).dropna()
        figure, (left, right) = plt.subplots(1, 2, figsize=(15, 2.8 + 0.9 * len(treatments)))
        plots.label_curve(curves.rename(columns={"treatment": "method"}), score="score", ax=right)
        right.get_legend().remove()  # bars have the names
        colours = dict(zip(treatments, (line.get_color() for line in right.lines), strict=True))
        right.axvline(labels, color=plots.RED, linewidth=12, alpha=0.15)
        for row, name in enumerate(treatments):
            if name not in means:
                continue
            scores = now.loc[now["treatment"] == name, "score"]
            left.barh(row, means[name] - chance, 0.65, chance, color=colours[name])
            left.plot(scores, np.full(len(scores), row), "o", color="black", markersize=8, alpha=0.7)
            beside = {"xytext": (10, 0), "textcoords": "offset points", "va": "center", "fontsize": 19}
            left.annotate(f"{means[name]:.1%}", (max(means[name], scores.max()), row), **beside)
        left.set_yticks(range(len(treatments)), map(plots.drawable, treatments), fontsize=19, parse_math=False)
        left.set(xlim=(low, high + 0.25 * max(high - low, 0.01)), ylim=(len(treatments) - 0.5, -0.5))
        left.set_title(f"{labels:,} labels", fontsize=20)
        left.grid(axis="y", visible=False)
        for ax, axis in ((left, left.xaxis), (right, right.yaxis)):
            axis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
            ax.tick_params(axis="both" if ax is right else "x", labelsize=16)
            ax.xaxis.label.set_size(18)
        left.set_xlabel("score on texts held out", fontsize=18)
        right.set_ylabel("")
        ranked = means.sort_values(ascending=False)
        lead = float(100 * (ranked.iloc[0] - ranked.iloc[1])) if len(ranked) > 1 else None
        text = f"With {_several(labels, 'label')} <b>{escape(ranked.index[0])}</b> is best, {ranked.iloc[0]:.1%}, "
        text += f"the mean of {_several(now['seed'].nunique(), 'seed')}"
        if lead is not None:
            text += f"; {escape(ranked.index[1])} follows <b>{lead:.1f} points</b> below"
        return figure, text + ".", {"means": means.to_dict(), "best": ranked.index[0], "lead": lead}

    options = [(f"{n:,}", int(n)) for n in sorted(curves["labels"].unique())]
    slider = widgets.SelectionSlider(options=options, description="labels", continuous_update=False)
    return live({"labels": slider}, draw)


def _several(count: int, name: str) -> str:
    return f"{count:,} {name}" + "s" * (count != 1)
