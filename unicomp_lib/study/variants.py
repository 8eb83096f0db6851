"""What tables and figures say about a variant, derived from its method and parameters, never from its name."""

import difflib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unicomp_lib.figures import palette
from unicomp_lib.study import notebooks
from unicomp_lib.study.params import DENSE, RERUN, UNTRAINED, Compression, ParamsError, Profile, Pruning

Parameters = dict[str, Any]

# Parameters that the study fills in itself, so that they do not distinguish variants.
WIRED = ("checkpoint", "dense", "teacher", "model", "seed", "output")


def facts(profile: Profile) -> dict[str, dict[str, Any]]:
    """Facts about each compressed variant of a profile: label, sibling, rate, schedule, control.

    ``label`` is its name in figures. ``sibling`` is the variant it is compared with, which differs only in the
    calibration text ("" if there is none). ``rate`` is the share of weights pruned (None if none are). ``control``
    says why it is not a method of its own: dense evaluated a second time is a "rerun". ``schedule`` applies to
    networks and is "" here. Raises a ``ParamsError`` if two variants would have the same label, or if a given
    sibling is not valid.
    """
    parameters = {variant: _parameters(profile, entry) for variant, entry in profile.compressions.items()}
    labels = _labels(profile, parameters)
    table = {
        variant: _facts(
            labels[variant], sibling=_sibling(profile, variant, parameters), rate=_rate(parameters[variant])
        )
        for variant in profile.compressions
    }
    if any(evaluation.rerun for evaluation in profile.evaluations.values()):
        table[RERUN] = _facts(f"{labels[DENSE]}, rerun", control="rerun")
    return table


def vision_facts(profile: Profile) -> dict[str, dict[str, Any]]:
    """The same for the networks of the vision study (dense, untrained, each pruning); empty if there is none.

    ``schedule`` is "one-shot" or "iterative". ``control`` says what is left out or random, such as "as pruned" for
    a network that is not retrained, or how one differs from the first that is pruned like it, such as "epochs 8".
    Raises a ``ParamsError`` if two networks would have the same label.
    """
    if profile.vision is None:
        return {}
    table = {name: _facts(palette.method_name(name)) for name in (DENSE, UNTRAINED)}
    prunings = profile.vision.prunings
    parameters = {variant: _pruning_parameters(profile, entry) for variant, entry in prunings.items()}
    derived = {variant: _network_label(given) for variant, given in parameters.items() if not prunings[variant].label}
    details = _details(derived, parameters)
    firsts: dict[str, list[str]] = {}
    for variant, pruning in prunings.items():
        given, own = parameters[variant], details.get(variant, [])
        label = pruning.label or ", ".join([derived[variant], *own])
        first = firsts.setdefault(_network_label(given), own)
        control = _control(given) or ", ".join(word for word in own if word not in first)
        table[variant] = _facts(label, rate=float(given["rate"]), schedule=given["schedule"], control=control)
    _check_labels({variant: row["label"] for variant, row in table.items()}, f"vision.prunings of {profile.name}")
    return table


def _facts(
    label: str, *, sibling: str = "", rate: float | None = None, schedule: str = "", control: str = ""
) -> dict[str, Any]:
    return {"label": label, "sibling": sibling, "rate": rate, "schedule": schedule, "control": control}


def _parameters(profile: Profile, compression: Compression) -> Parameters:
    """All parameters that a compression's notebook receives, including its defaults."""
    allowed = notebooks.defaults(compression.notebook)
    shared = {name: value for name, value in profile.calibration.items() if name in allowed}
    given = {name: _either(value) for name, value in compression.parameters.items()}
    return _unwired(allowed | shared | given)


def _either(value: Any) -> Any:
    """A value as labels have it; of one for each model, all that there are: "1536 or 1200"."""
    return " or ".join(map(str, dict.fromkeys(value.values()))) if isinstance(value, dict) else value


def _pruning_parameters(profile: Profile, pruning: Pruning) -> Parameters:
    allowed = notebooks.defaults("vision/prune")
    shared = profile.vision.shared if profile.vision else {}
    return _unwired(allowed | {name: value for name, value in shared.items() if name in allowed} | pruning.parameters)


def _unwired(parameters: Parameters) -> Parameters:
    return {name: value for name, value in parameters.items() if name not in WIRED}


def _labels(profile: Profile, parameters: dict[str, Parameters]) -> dict[str, str]:
    """Labels of all compressions: as given, otherwise base, method, setting and what tells equal ones apart."""
    entries = profile.compressions
    derived = {name: _derived(entry, parameters[name]) for name, entry in entries.items() if not entry.label}
    # Compared within one base: on another base the same setting already has a different label.
    details = _details({name: (entries[name].base, setting) for name, setting in derived.items()}, parameters)
    labels: dict[str, str] = {}
    for variant, entry in entries.items():
        if entry.label:
            labels[variant] = entry.label
            continue
        own = ", ".join([derived[variant], *details[variant]])
        if text := _unusual_calibration(profile, entry, parameters[variant]):
            own += f", {text}" if details[variant] else f" {text}"
        labels[variant] = own if entry.base == DENSE else f"{labels.get(entry.base, entry.base)} + {own}"
    _check_labels(labels, f"compressions of {profile.name}")
    return labels


def _minitron(parameters: Parameters) -> str:
    ways = {
        "depth": parameters["layers"],
        "width": parameters["hidden"] or parameters["neurons"] or parameters["groups"],
    }
    return " and ".join(way for way, cut in ways.items() if cut)


def _quanto(parameters: Parameters) -> str:
    activations = f", activations {parameters['activations']}" if parameters["activations"] else ""
    return f"{parameters['weights']}{activations}"


def _cache(parameters: Parameters) -> str:
    keys, values = (parameters[name] or "full" for name in ("keys", "values"))
    return keys if keys == values else f"keys {keys}, values {values}"


# Setting shown after a method's name, for methods whose setting is neither a sparsity nor a number of bits.
SETTINGS: dict[str, Callable[[Parameters], str]] = {
    "smoothquant": lambda _: "W8A8",
    "quanto": _quanto,
    "cache": _cache,
    "quarot": lambda _: "W4A4KV4",
    "minitron": _minitron,
    "lrc": lambda parameters: str(parameters["hidden"]),
}


def _derived(entry: Compression, parameters: Parameters) -> str:
    """A method with its setting; of a checkpoint that was given, its name without owner and revision."""
    if not entry.is_given:
        return _setting(entry.method, parameters)
    source = entry.checkpoint if isinstance(entry.checkpoint, str) else next(iter(entry.checkpoint.values()), "")
    return f"{palette.method_name(entry.method)} {Path(source.partition('@')[0]).name}"


def _setting(method: str, parameters: Parameters) -> str:
    """A method with its main parameter: "Wanda 2:4", "GPTQ int4"; an unknown method goes by its name alone."""
    setting = ""
    if method in SETTINGS:
        setting = SETTINGS[method](parameters)
    elif parameters.get("pattern"):
        setting = parameters["pattern"]
    elif "sparsity" in parameters:
        setting = _percent(parameters["sparsity"])
    elif "bits" in parameters:
        setting = f"int{parameters['bits']}"
    return f"{palette.method_name(method)} {setting}".strip()


def _network_label(parameters: Parameters) -> str:
    schedule = "" if parameters["schedule"] == "one-shot" else parameters["schedule"]
    parts = (palette.method_name(parameters["method"]), _percent(parameters["rate"]), schedule, _control(parameters))
    return " ".join(str(part) for part in parts if part)


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _control(parameters: Parameters) -> str:
    """What a pruned network controls for: no retraining, or random choice in place of the criterion."""
    untouched = "recalibrated" if parameters["recalibrate"] else "as pruned"
    parts = ("random" if parameters["criterion"] == "random" else "", "" if parameters["epochs"] else untouched)
    return " ".join(part for part in parts if part)


def _details(derived: dict[str, Any], parameters: dict[str, Parameters]) -> dict[str, list[str]]:
    """For each variant that shares its derived label with others, the parameters in which they differ, in words.

    Calibration is left out: it is added to the label of each variant whose calibration is not the profile's.
    """
    details: dict[str, list[str]] = {}
    for variant, label in derived.items():
        alike = [parameters[other] for other in derived if derived[other] == label]
        names = [name for name in parameters[variant] if name != "calibration"]
        differing = [name for name in names if any(other.get(name) != parameters[variant][name] for other in alike)]
        details[variant] = [_in_words(name, parameters[variant][name]) for name in differing]
    return details


def _in_words(name: str, value: Any) -> str:
    words = name.replace("_", " ")
    if value is False or value == "":
        return f"no {words}"
    return words if value is True else f"{words} {value}"


def _unusual_calibration(profile: Profile, compression: Compression, parameters: Parameters) -> str:
    """The calibration text if it is not the profile's; for a file, its name without the extension."""
    default = notebooks.defaults(compression.notebook).get("calibration")
    given = parameters.get("calibration")
    if given is None or given == profile.calibration.get("calibration", default):
        return ""
    return Path(given).stem if str(given).endswith((".txt", ".jsonl")) else str(given)


def _check_labels(labels: dict[str, str], where: str) -> None:
    for label, count in Counter(labels.values()).items():
        if count > 1:
            first, second, *_ = (variant for variant in labels if labels[variant] == label)
            raise ParamsError(
                f"{where}: {first} and {second} would both be called {label!r} in figures; give one of them a label "
                "of its own, such as label: my variant"
            )


def _rate(parameters: Parameters) -> float | None:
    if parameters.get("pattern"):
        remaining, group = map(int, parameters["pattern"].split(":"))
        return 1 - remaining / group if group else None
    return float(parameters["sparsity"]) if "sparsity" in parameters else None


def _sibling(profile: Profile, variant: str, parameters: dict[str, Parameters]) -> str:
    """The given sibling, or the first preceding compression that differs only in the calibration."""
    compression = profile.compressions[variant]
    if compression.sibling:
        return _checked_sibling(profile, variant, compression)
    for other, entry in profile.compressions.items():
        if other == variant:
            break
        if (entry.method, entry.base) == (compression.method, compression.base):
            names = {*parameters[other], *parameters[variant]}
            differing = [name for name in names if parameters[other].get(name) != parameters[variant].get(name)]
            if differing == ["calibration"]:
                return other
    return ""


def _checked_sibling(profile: Profile, variant: str, compression: Compression) -> str:
    same = [name for name, entry in profile.compressions.items() if entry.method == compression.method]
    allowed = [name for name in same if name != variant]
    if compression.sibling in allowed:
        return compression.sibling
    known = compression.sibling in profile.compressions
    fault = f"not another variant of method {compression.method}" if known else "no variant of it"
    near = difflib.get_close_matches(compression.sibling, allowed, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(allowed) or 'none'}; correct or remove it"
    raise ParamsError(
        f"compressions.{variant} of profile {profile.name} has sibling {compression.sibling!r}, "
        f"which is {fault}; {hint}"
    )
