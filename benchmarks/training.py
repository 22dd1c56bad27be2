"""What fine-tuning does: held-out NLL falls, and which selected rows it falls most for.

    python -m benchmarks.training ../shared/data/alpaca_1k.json --work /tmp/training

Two experiments with the embedded model and an adapter (`--preset laptop`), on a CPU:

- 200 random rows, and the same rows with their responses shuffled: a control that has the same
  texts, and nothing to learn about which response answers which instruction.  Once as the preset
  does it, and with two recipes of more and larger steps: after few of them the style of the
  responses is most of what a model has learnt, with either file.
- Rows that `ifdkit select` keeps by each method against random rows of the same number.

The held-out rows are in no training set.  An interrupted run resumes.  `--part` runs one
experiment, so that they can run side by side; `--part report` writes `reports/training.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import ifdkit
from benchmarks.machine import machine
from ifdkit.engine.models import DEFAULT_MODEL
from ifdkit.format import fixed, interval, signed
from ifdkit.stats.crossed import CrossedMean, crossed_mean

REPORT = Path("reports/training.md")
MAX_LENGTH = 128
N_HELD_OUT, N_LEARN, N_POOL, N_SELECT, N_SEEDS = 50, 200, 200, 40, 3
SELECTIONS: dict[str, dict[str, Any]] = {
    "random": {"method": "random"},
    "superfiltering": {"method": "superfiltering"},
    "cherry": {"method": "cherry"},
    "length-controlled": {"method": "length-controlled"},
    "diverse": {"method": "diverse"},
    "quality-diverse": {"method": "quality-diverse", "by": "ifd"},
    "longest": {"by": "response_tokens"},
}
"""Name → options of `ifdkit.select`; `longest` is the control of 2402.04833."""
DTYPE = "bfloat16"
"""Half the time of float32 on a CPU that multiplies in it."""
RECIPES: dict[str, dict[str, Any]] = {
    "preset": {},
    "three-epochs": {"epochs": 3, "learning_rate": 1e-3},
    "three-epochs-1.4e-3": {"epochs": 3, "learning_rate": 1.4e-3},
    "three-epochs-2e-3": {"epochs": 3, "learning_rate": 2e-3},
}
"""Recipes of the first experiment → options of `ifdkit.train`."""
RESPONSES = ("real", "shuffled")
NLL, NLL_ALONE = "nll_response_conditional", "nll_response_direct"


class CpuClock:
    """CPU seconds of this process: elapsed time depends on what else the machine does."""

    def __init__(self) -> None:
        self._begin = time.process_time()

    @property
    def seconds(self) -> float:
        """Since it was made, over all threads."""
        return time.process_time() - self._begin


def split(data: Path, work: Path) -> None:
    """Write `held-out.json` and `pool.json`, which share no row."""
    rows = json.loads(data.read_text(encoding="utf-8"))
    order = np.random.default_rng(0).permutation(len(rows)).tolist()
    write(work / "held-out.json", [rows[i] for i in order[:N_HELD_OUT]])
    write(work / "pool.json", [rows[i] for i in order[N_HELD_OUT:]])


def shuffled(rows: Sequence[Mapping[str, Any]], seed: int) -> list[dict[str, Any]]:
    """The rows with each response moved to another row."""
    order = np.random.default_rng(seed).permutation(len(rows))
    target = np.empty_like(order)
    target[order] = np.roll(order, 1)  # one cycle: no response stays where it was
    return [{**row, "output": rows[int(i)]["output"]} for row, i in zip(rows, target, strict=True)]


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a JSON array."""
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")


def trained(
    data: Path, output: Path, held_out: Path, seed: int, recipe: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Train one model and return what it did, from an earlier run if there is one."""
    kept = result_of(output)
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    clock, begin = CpuClock(), time.perf_counter()
    done = ifdkit.train(
        data, output, preset="laptop", max_length=MAX_LENGTH, eval=held_out, seed=seed,
        checkpoint_minutes=2, dtype=DTYPE, **(recipe or {}),
    )  # fmt: skip
    found = {
        "elapsed_s": time.perf_counter() - begin,
        "cpu_s": clock.seconds,
        "examples": done.models[0].examples,
        "steps": done.models[0].steps,
        "tokens_trained": done.models[0].tokens_trained,
        "loss_first": done.models[0].loss_first,
        "loss_last": done.models[0].loss_last,
        "metrics": {
            one.metric: {
                "before": one.before,
                "after": one.after,
                "change": one.change.mean,
                "ci95_rows": one.change.ci95_rows,
            }
            for one in done.evaluated
        },
        "nll": held_out_nll(str(output), held_out, NLL),
        "nll_alone": held_out_nll(str(output), held_out, NLL_ALONE),
        "nll_before": held_out_nll(DEFAULT_MODEL, held_out, NLL),
        "nll_alone_before": held_out_nll(DEFAULT_MODEL, held_out, NLL_ALONE),
    }
    kept.write_text(json.dumps(found))
    return found


def result_of(output: Path) -> Path:
    """Where the result of a trained model is kept; names contain dots, so no `with_suffix`."""
    return output.with_name(f"{output.name}.result.json")


def held_out_nll(model: str, held_out: Path, metric: str) -> list[float | None]:
    """One NLL of each held-out row; the scores are in the store already."""
    scores = ifdkit.score(
        held_out, model=model, metrics="ifd", max_length=MAX_LENGTH, dtype=DTYPE, drift=0
    )
    return [None if x != x else float(x) for x in scores[metric]]


def learn(work: Path, recipes: Sequence[str], names: Sequence[str], seed: int = 0) -> None:
    """The first experiment, with some recipes, and with real responses, shuffled ones or both."""
    pool = json.loads((work / "pool.json").read_text(encoding="utf-8"))
    rows = [pool[i] for i in np.random.default_rng(1).permutation(len(pool))[:N_LEARN]]
    write(work / "learn-real.json", rows)
    write(work / "learn-shuffled.json", shuffled(rows, seed=2))
    for recipe in recipes:
        for name in names:
            output = work / f"learn-{recipe}-{name}"
            held_out = work / "held-out.json"
            trained(work / f"learn-{name}.json", output, held_out, seed, RECIPES[recipe])


def select(work: Path, seed: int) -> None:
    """The second experiment, for one seed: random rows are drawn anew, the others stay."""
    pool = json.loads((work / "pool.json").read_text(encoding="utf-8"))
    write(work / "select-pool.json", pool[:N_POOL])
    for name, options in SELECTIONS.items():
        best = work / f"select-{name}-{seed}.json"
        if not best.exists():
            ifdkit.select(
                work / "select-pool.json", best, top=N_SELECT, seed=seed, max_length=MAX_LENGTH,
                dtype=DTYPE, drift=0, **options,
            )  # fmt: skip
        held_out = work / "held-out.json"
        trained(best, work / f"select-{name}-{seed}", held_out, seed)


def results(work: Path, name: str) -> dict[str, Any] | None:
    """What one model did; None if it is not trained yet."""
    path = result_of(work / name)
    return json.loads(path.read_text()) if path.exists() else None


def report(work: Path, data: Path) -> str:
    """The report, from the results that are in the folder."""
    lines = [
        "# What fine-tuning does to held-out responses",
        "",
        "Made by `python -m benchmarks.training ../shared/data/alpaca_1k.json`, with the embedded",
        f"model in {DTYPE} and an adapter (`--preset laptop --max-length {MAX_LENGTH}`: LoRA of"
        " rank 16, batch 8, one epoch at 5e-4)",
        f"on {N_HELD_OUT} held-out rows of `{data.name}`. {machine()}.",
        "CPU time is over all threads; elapsed time is longer if other programs run too. "
        + "; ".join(f"`{name}` is with `{flags_of(name)}`" for name in RECIPES if RECIPES[name])
        + ".",
        "",
        *learn_lines(work),
        *select_lines(work),
    ]
    return "\n".join(lines) + "\n"


def flags_of(recipe: str) -> str:
    """The options of a recipe as those of the command."""
    return " ".join(f"--{key.replace('_', '-')} {x:g}" for key, x in RECIPES[recipe].items())


def learn_lines(work: Path) -> list[str]:
    """The section of the first experiment."""
    lines = [
        f"## {N_LEARN} rows, and the same rows with shuffled responses",
        "",
        "The NLL of a response alone says how far its style has become likelier. What remains of"
        " the change is",
        "about the instruction. Intervals are 95 %, over rows.",
        "",
        "| recipe | responses | steps | tokens trained | held-out NLL before | change |"
        " of the response alone | rest | CPU time | elapsed |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    verdicts = []
    for recipe in RECIPES:
        found = {name: results(work, f"learn-{recipe}-{name}") for name in RESPONSES}
        for name, one in found.items():
            if one is None:
                continue
            change = changes([one], "nll")
            alone = changes([one], "nll_alone")
            cells = [recipe, name, f"{one['steps']}", f"{one['tokens_trained']:,}",
                     fixed(one["metrics"][NLL]["before"], 4),
                     *(with_interval(crossed_mean(column, seed=0))
                       for column in (change, alone, change - alone)),
                     f"{one['cpu_s']:.0f} s", f"{one['elapsed_s']:.0f} s"]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
        real, control = found["real"], found["shuffled"]
        if real and control:
            difference = crossed_mean(columns([real]) - columns([control]), seed=0)
            verdicts.append(
                f"{recipe}: real minus shuffled {with_interval(difference)}."
                f" {verdict(real, control)}"
            )
    for one_verdict in verdicts:
        lines += ["", one_verdict]
    return [*lines, ""]


def changes(found: Sequence[Mapping[str, Any]], name: str) -> Any:
    """The change of an NLL by run and held-out row; NaN if undefined."""
    after, before = ([one[key] for one in found] for key in (name, f"{name}_before"))
    return np.array(after, dtype=np.float64) - np.array(before, dtype=np.float64)


def with_interval(found: CrossedMean) -> str:
    """A mean over rows and its interval."""
    return f"{signed(found.mean, 3)} ({interval(found.ci95_rows)})"


def verdict(real: Mapping[str, Any], control: Mapping[str, Any]) -> str:
    """In words what the intervals say."""
    falls = [one["metrics"][NLL]["ci95_rows"][1] < 0 for one in (real, control)]
    if not falls[0]:
        return "Held-out NLL does not fall with the real responses."
    if not falls[1]:
        return "Held-out NLL falls with the real responses, and does not with shuffled ones."
    return (
        "Held-out NLL falls with both: how such responses are written can be learnt from shuffled"
        " ones too.\nOnly the difference is about which response answers which instruction."
    )


def columns(found: Sequence[Mapping[str, Any]]) -> Any:
    """NLL by run and held-out row; NaN if undefined."""
    return np.array([one["nll"] for one in found], dtype=np.float64)


def select_lines(work: Path) -> list[str]:
    """The section of the second experiment, over the seeds that all selections have."""
    found = {
        name: [one for seed in range(N_SEEDS) if (one := results(work, f"select-{name}-{seed}"))]
        for name in SELECTIONS
    }
    found = {name: runs for name, runs in found.items() if runs}
    seeds = min(map(len, found.values()), default=0)
    if not seeds:
        return []
    lines = [
        f"## {N_SELECT} selected rows of {N_POOL} against {N_SELECT} random ones",
        "",
        f"{seeds} seeds; the rows of `random` are drawn anew for each. The number of examples and"
        " of steps is the same;",
        "the number of tokens is not. Below zero, the model answers the held-out instructions"
        " better.",
        "",
        "| rows | tokens trained | change of held-out NLL | minus random |"
        " 95 % CI, seeds and rows | rows alone | seeds alone |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, runs in found.items():
        runs = runs[:seeds]
        change = float(np.mean([one["metrics"][NLL]["change"] for one in runs]))
        tokens = round(np.mean([one["tokens_trained"] for one in runs]))
        cells = [name, f"{tokens:,}", signed(change, 4)]
        if name == "random":
            cells += ["", "", "", ""]
        else:
            cells += difference_cells(
                crossed_mean(columns(runs) - columns(found["random"][:seeds]), seed=0)
            )
        lines.append(f"| {' | '.join(cells)} |")
    missing = [name for name in SELECTIONS if name not in found]
    if missing:
        lines += ["", f"Not run yet: {', '.join(missing)}."]
    lines += ["", "`selective` is left out: it needs the output of `ifdkit reflect --select`."]
    cpu_s = sum(one["cpu_s"] for runs in found.values() for one in runs)
    lines += ["", *selection_verdict(found, seeds), "", f"CPU time of all: {cpu_s:,.0f} s."]
    return lines


def difference_cells(difference: CrossedMean) -> list[str]:
    """A difference with its three intervals."""
    return [
        signed(difference.mean, 4),
        interval(difference.ci95),
        interval(difference.ci95_rows),
        interval(difference.ci95_seeds),
    ]


def selection_verdict(found: Mapping[str, Sequence[Mapping[str, Any]]], seeds: int) -> list[str]:
    """Which selections differ from random rows, by the interval over seeds and rows."""
    better, worse = [], []
    for name, runs in found.items():
        if name == "random":
            continue
        ends = crossed_mean(columns(runs[:seeds]) - columns(found["random"][:seeds]), seed=0).ci95
        if ends is None:
            continue
        better += [name] if ends[1] < 0 else []
        worse += [name] if ends[0] > 0 else []
    better_names, worse_names = (", ".join(names) or "none" for names in (better, worse))
    return [
        f"By the interval over seeds and rows, better than random rows: {better_names}; worse:"
        f" {worse_names}.",
        "With so few seeds that interval is narrow; the one over seeds alone is the careful one.",
    ]


def main() -> None:
    """Run the experiments that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for models and results")
    parser.add_argument("--part", choices=["split", "learn", "select", "report"])
    parser.add_argument("--seed", type=int, help="with --part select: one seed")
    parser.add_argument("--only", choices=RESPONSES, help="with --part learn")
    parser.add_argument("--recipe", choices=RECIPES, action="append", help="with --part learn")
    given = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    given.work.mkdir(parents=True, exist_ok=True)
    if not (given.work / "pool.json").exists():
        split(given.data, given.work)
    if given.part in (None, "learn"):
        learn(given.work, given.recipe or list(RECIPES), [given.only] if given.only else RESPONSES)
    if given.part in (None, "select"):
        for seed in range(N_SEEDS) if given.seed is None else [given.seed]:
            select(given.work, seed)
    if given.part in (None, "report"):
        REPORT.write_text(report(given.work, given.data), encoding="utf-8")
        print(f"wrote {REPORT}")


if __name__ == "__main__":
    main()
