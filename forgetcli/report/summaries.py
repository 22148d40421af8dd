"""What commands say of their results, as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forgetcli.printable import printable
from forgetcli.receipt import Match, Receipt
from forgetcli.report.text import count, duration, figure, metrics, paragraph, size, sparkline, summary

if TYPE_CHECKING:
    from forgetcli.checkpoint import ModelInfo
    from forgetcli.config import TrainConfig
    from forgetcli.gradient import Standing
    from forgetcli.interactions import Heldout
    from forgetcli.interop import Exported, Imported
    from forgetcli.model import HistoryEntry, Model
    from forgetcli.records import RequestCounts, Resolution
    from forgetcli.tables import ReadResult
    from forgetcli.unlearn import ForgetResult
    from forgetcli.verification import Verification

CHEAPER = paragraph(
    "The model was trained anew: that costs no more here than a response step that reaches as much. "
    "--no-retrain takes the step."
)

TOO_MUCH = paragraph(
    "The model was trained anew: more than 40 % of its records are gone, which is more than a response step can take "
    "out as well. --no-retrain takes the step."
)


def retrained_summary(result: ForgetResult) -> str:
    """Why a model was trained anew that was not asked to be."""
    from forgetcli.unlearn import MOST_SHARE

    left = 0 if result.model.interactions is None else len(result.model.interactions)
    gone = result.counts.interactions
    return TOO_MUCH if gone > MOST_SHARE * (gone + left) else CHEAPER


def read_summary(read: ReadResult, held_out: Heldout | None) -> str:
    """What training data there is."""
    data = read.interactions
    what = "rating" if read.has_ratings else "interaction"
    parts = [f"{count(len(data), what)} of {count(data.n_items, 'item')} by {count(data.n_users, 'user')}"]
    if read.duplicates:
        parts.append(f"{count(read.duplicates, 'duplicate')} merged")
    if read.dropped_rows:
        parts.append(f"{count(read.dropped_rows, 'unusable row')} dropped")
    rows = [("Read", ", ".join(parts))]
    if held_out is not None:
        unknown = f"; {held_out.left_out:,} more have an unknown user or item" if held_out.left_out else ""
        rows.append(("Held out", f"{count(len(held_out), what)}{unknown}"))
    return summary(rows)


def train_summary(model: Model, seconds: float) -> str:
    """What training came to."""
    config, history = model.config, model.history
    course = _course(history)
    with_momentum = " with momentum" if config.acceleration == "momentum" else ""
    rows = [
        (
            "Trained",
            f"{_objective(config)}, {count(config.factors, 'factor')}, {count(len(history), 'sweep')}{with_momentum} "
            f"in {duration(seconds)}; objective {course}",
        )
    ]
    if history[-1].metrics:
        rows.append(("Validated", metrics(history[-1].metrics)))
    return summary(rows)


def import_summary(imported: Imported, form: str) -> str:
    """What was taken over, and how well it fits the data."""
    model, agreement = imported.model, imported.agreement
    rows = [
        (
            "Imported",
            f"{form} model: {_objective(model.config)}, {count(model.config.factors, 'factor')} of "
            f"{count(len(model.users), 'user')} and {count(len(model.items), 'item')}, "
            f"{count(model.config.sweeps, 'sweep')}",
        ),
        (
            "On data",
            f"users are {_share(agreement.users)} from their exact solutions, items {_share(agreement.items)}",
        ),
    ]
    left_out = _listed(
        (imported.left_out, "interaction"), (imported.idle_users, "idle user"), (imported.idle_items, "idle item")
    )
    if left_out != "nothing":
        rows.append(("Left out", left_out))
    return summary(rows)


def export_summary(exported: Exported, form: str, output: str) -> str:
    """What was written, and where."""
    vectors = f"{count(exported.users, 'user')} and {count(exported.items, 'item')}, {exported.columns} numbers each"
    return summary([("Exported", f"{vectors}, for {form} to {printable(output)}")])


def _share(value: float) -> str:
    return f"{100 * value:.2g} %" if value >= 1e-6 else "0 %"


def forget_summary(result: ForgetResult, seconds: float) -> str:
    """What was asked, found, erased, and what that reached."""
    counts = result.counts
    rows = [("Asked for", _listed((counts.pairs, "pair"), (counts.users, "whole user"), (counts.items, "whole item")))]
    if result.method is None or result.before is None or result.after is None:
        return summary([*rows, ("Found", "nothing of that: there is nothing to forget, and the model stays as it is")])
    rows.append(("Found", count(counts.interactions, "interaction")))
    if result.erased_users or result.erased_items:
        erased = _listed((result.erased_users, "user"), (result.erased_items, "item"))
        rows.append(("Erased", f"{erased} with nothing left"))
    rows.append(("Forgotten", f"by {_means(result)} in {duration(seconds)}; {_standings(result.before, result.after)}"))
    return summary(rows)


def verify_summary(found: Verification, seconds: float) -> str:
    """What is left of the records, beside the retrains' own."""
    memory = found.memory
    rows = [("Verified", f"with {count(found.retrains, 'retrain')} in {duration(seconds)}: {found.sentence}")]
    if memory is not None and memory.unlearned is not None and memory.retrained is not None:
        itself = f"{memory.retrained.mean:.4f}, standard deviation {memory.retrained.deviation or 0.0:.4f}"
        left_out = f"; {count(memory.left_out, 'pair')} could not be measured" if memory.left_out else ""
        rows.append(("Memory", f"{memory.unlearned:.4f}, the retrains' mean {itself}{left_out}"))
        chance = f"{100 * found.by_chance:.0f} %"
        rows.append(("", f"{chance} of models that never saw the pairs lie outside so few retrains' two deviations"))
    return summary(rows)


def retrain_summary(model: Model, resolution: Resolution, seconds: float) -> str:
    """What was left out, and what training without it came to."""
    left_out = count(resolution.counts.interactions, "interaction")
    if resolution.erased_users or resolution.erased_items:
        erased = _listed((resolution.erased_users, "user"), (resolution.erased_items, "item"))
        left_out += f", and {erased} with nothing left"
    return f"{summary([('Left out', left_out)])}\n{train_summary(model, seconds)}"


def unknown_text(counts: RequestCounts) -> str:
    """What of a request is not there; empty where everything is."""
    return _listed(
        (counts.unknown_pairs, "pair"), (counts.unknown_users, "user"), (counts.unknown_items, "item"), nothing=""
    )


def saved_summary(path: str, n_bytes: int) -> str:
    """Where the model is now."""
    return summary([("Saved", f"{printable(path)}, {size(n_bytes)}")])


def receipt_saved_summary(path: str) -> str:
    """Where the receipt is."""
    return summary([("Receipt", printable(path))])


def receipt_text(path: str, receipt: Receipt, model: str | None, match: Match | None) -> str:
    """What a receipt says, in some twenty lines, and whether it is the model's.

    model, match: the file that it was held against, and what that is to it; None without one.
    """
    told = receipt.document
    when = told["time"].translate({ord("T"): " ", ord("Z"): " UTC"})
    asked, gone, models = told["request"], told["forgotten"], told["model"]
    rows = [
        ("receipt", f"{printable(path)}, of forgetcli {told['forgetcli_version']}, forget {told['command']}"),
        ("time", when),
        ("asked for", _asked(asked)),
        ("forgotten", _listed(*((gone[f"{name}s"], name) for name in ("interaction", "user", "item")))),
        ("how", _how(told)),
        *_reached(told["before"], told["after"]),
    ]
    if told["verify"] is not None:
        rows.append(("verified", printable(told["verify"]["sentence"])))
    if told["seconds"]:
        taken = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in told["seconds"].items())
        rows.append(("took", taken))
    for number, digest in enumerate(asked["files"][:_LISTS_SHOWN]):
        rows.append(("" if number else "list", f"SHA-256 of {_octets(digest)}:"))
        rows.append(("", digest["sha256"]))
    if len(asked["files"]) > _LISTS_SHOWN:
        rows.append(("", f"and {len(asked['files']) - _LISTS_SHOWN:,} more lists"))
    rows += [
        ("before", f"SHA-256 of {_octets(models['before'])}:"),
        ("", models["before"]["sha256"]),
        ("after", f"SHA-256 of {_octets(models['after'])}, {_PLACES[models['replaced']]}:"),
        ("", models["after"]["sha256"]),
        ("checked", _checked(model, match)),
    ]
    return summary(rows)


def mismatch(path: str, model: str, match: Match) -> tuple[str, str]:
    """What is wrong with a model that a receipt does not fit, and what to do about it."""
    if match is Match.BEFORE:
        return (
            f"{model} is the model from before: it still holds what {path} says was forgotten",
            "a backup, perhaps, or the forgetting went to another file",
        )
    return (
        f"{model} is not the model of {path}: its SHA-256 is another",
        "forgetting once more changes a model too: look for the latest receipt",
    )


def info_text(path: str, info: ModelInfo) -> str:
    """What a model file is, in a dozen lines."""
    config = info.config
    scaled = " times each row's interactions" if config.reg_scaling == "count" else ""
    rows = [
        ("file", f"{printable(path)}, {size(info.file_size)}"),
        ("objective", _objective(config)),
        ("factors", f"{config.factors}, {config.dtype}"),
        ("lambda", f"{config.reg:g}{scaled}"),
    ]
    if config.objective == "implicit":
        confidence = f"{config.confidence_base:g} + {config.alpha:g} value"
        rows.append(("weights", f"{confidence}; {config.unobserved_weight:g} where not observed"))
    if config.inexact_steps is not None:
        rows.append(("solver", f"conjugate gradients, {count(config.inexact_steps, 'step')} a row"))
    rows += [
        ("users", f"{info.n_users:,} ({info.user_id_kind} ids)"),
        ("items", f"{info.n_items:,} ({info.item_id_kind} ids)"),
        ("data", _data(info)),
        ("seed", str(config.seed)),
        *([("sweeps", "with momentum")] if config.acceleration == "momentum" else []),
        ("history", _history(info.history)),
    ]
    if times := sum(entry.kind == "response" for entry in info.history):
        rows.append(("forgotten", f"{count(times, 'time')} since it was trained; {RETRAIN_AT}"))
    return summary(rows)


RETRAIN_AT = "train anew when that was 3 % of the data in all"
"""See `docs/forgetting.md`: what is left adds up from there on. The model keeps no count of what it forgot."""


_LISTS_SHOWN = 5

_PLACES = {True: "in its place", False: "in another file"}


def _asked(asked: dict[str, Any]) -> str:
    names = ("pair", "user", "item")
    text = _listed(*((asked[f"{name}s"], name if name == "pair" else f"whole {name}") for name in names))
    unknown = _listed(*((asked[f"unknown_{name}s"], name) for name in names), nothing="")
    named = f", {count(asked['options'], 'id')} of them by option" if asked["options"] else ""
    return f"{text}{named}; not in the model: {unknown}" if unknown else f"{text}{named}"


def _how(told: dict[str, Any]) -> str:
    if told["method"] is None:
        return "nothing was there to forget, and the model stayed as it was"
    parts = [told["method"], *([f"path {told['path']}"] if told["path"] else [])]
    if told["vectors"]:
        parts.append(count(told["vectors"], "Krylov vector"))
    return ", ".join([*parts, count(told["exact_sweeps"], "exact sweep")])


def _reached(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[tuple[str, str]]:
    if after is None:
        return []
    texts = []
    for name in ("objective", "relative_gradient"):
        course = [figure(each[name]) for each in (before, after) if each is not None and each[name] is not None]
        if course:
            texts.append(f"{name.replace('_', ' ')} {' → '.join(course)}")
    return [("reached", f"on what remains, {', '.join(texts)}")] if texts else []


def _octets(digest: dict[str, Any]) -> str:
    return count(digest["bytes"], "byte")


def _checked(model: str | None, match: Match | None) -> str:
    if model is None or match is None:
        return "against no model: --model FILE does that"
    name = printable(model)
    if match is Match.AFTER:
        return f"{name} is the model of this receipt, byte for byte"
    return f"{name} is {'the model from before' if match is Match.BEFORE else 'not the model of this receipt'}"


def _objective(config: TrainConfig) -> str:
    if config.objective == "implicit":
        return "implicit"
    biases = "explicit with biases" if config.biases else "explicit without biases"
    return biases if config.global_mean else f"{biases}, around 0 instead of the mean"


def _data(info: ModelInfo) -> str:
    if info.n_interactions is None:
        return "none: saved without its interactions"
    density = 100 * info.n_interactions / (info.n_users * info.n_items)
    share = f"{density:.2g}" if density < 10 else f"{density:.0f}"
    return (
        f"{count(info.n_interactions, 'interaction')}, {info.n_interactions / info.n_users:.3g} a user, "
        f"{info.n_interactions / info.n_items:.3g} an item, {share} % of all pairs"
    )


def _history(history: tuple[HistoryEntry, ...]) -> str:
    steps = [count(sum(entry.kind == kind for entry in history), kind) for kind in sorted({e.kind for e in history})]
    if not steps:
        return "none"
    known = [entry.objective for entry in history if entry.objective is not None]
    line = f"{', '.join(steps)}; objective {_course(history)} {sparkline(known)}" if known else ", ".join(steps)
    return f"{line.strip()}; {metrics(history[-1].metrics)}" if history[-1].metrics else line.strip()


def _course(history: tuple[HistoryEntry, ...]) -> str:
    known = [entry.objective for entry in history if entry.objective is not None]
    return figure(known[-1]) if len(known) == 1 else f"{figure(known[0])} → {figure(known[-1])}"


def _means(result: ForgetResult) -> str:
    sweeps = count(result.sweeps, "sweep")
    if result.path == "fallback":
        return f"{sweeps}, since the response step raised the objective or was not finite,"
    if result.method == "retrain":
        return f"a retrain of {sweeps}"
    if result.method == "response":
        end = f" and {sweeps}" if result.sweeps else ""
        return f"a response step of {count(result.vectors, 'Krylov vector')}{end}"
    return sweeps


def _standings(before: Standing, after: Standing) -> str:
    return (
        f"on what remains, objective {figure(before.objective)} → {figure(after.objective)}, "
        f"relative gradient {figure(before.relative_gradient)} → {figure(after.relative_gradient)}"
    )


def _listed(*things: tuple[int, str], nothing: str = "nothing") -> str:
    some = [count(number, name) for number, name in things if number]
    return ", ".join(some) or nothing
